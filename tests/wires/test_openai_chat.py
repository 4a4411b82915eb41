"""The wire openai.chat against golden bytes, cut at every byte: what is read, what passes, what is kept back."""

import json

import pytest
from smartoken_plugins.wire_openai import chat
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.errors import Refusal

USAGE = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23, "prompt_tokens_details": {"cached_tokens": 8}}


def event(**fields) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", **fields}, separators=(",", ":"),
                                  ensure_ascii=False).encode() + b"\n\n"


def delta(text: str, **more) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more)


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], usage=None)
FINISH = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
CHUNK = event(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
STREAM = ROLE + delta("He", usage=None) + delta('"usage":{', usage=None) + delta("狐", usage=None) + FINISH + CHUNK + DONE


def ask(**fields) -> chat.Ask:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return chat.peek(json.dumps(body).encode())


def run(stream: bytes, cuts: list[int], hide: bool, keep: bool = False):
    reader = chat.ChatReader(hide_usage=hide, keep_usage=keep)
    out, last = b"", 0
    for cut in [*cuts, len(stream)]:
        out += reader.feed(stream[last:cut])
        last = cut
    return reader, out + reader.close()


def test_a_stream_passes_byte_for_byte_wherever_it_is_cut():
    for cut in range(1, len(STREAM)):
        reader, out = run(STREAM, [cut], hide=False)
        assert out == STREAM, cut
        assert reader.counted == 3 and reader.ended and reader.finished and reader.failure is None
        assert reader.usage().input == 12 and reader.usage().cache_read == 8 and reader.usage().output == 3
    reader, out = run(STREAM, list(range(1, len(STREAM))), hide=False)
    assert out == STREAM and reader.counted == 3 and reader.usage().output == 3


@pytest.mark.parametrize("colon", [b":", b": "])
def test_an_empty_reason_is_no_end(colon):
    """SGLang 0.4.3 sends one in every chunk."""
    empty = b'"finish_reason"' + colon + b'""'
    going = STREAM[:STREAM.index(FINISH)].replace(b'"finish_reason": null', empty).replace(b'"finish_reason":null', empty)
    assert empty in going
    reader, _ = run(going, [len(going) // 2], hide=False)
    assert not (reader.finished or reader.ended)
    reader, _ = run(going + FINISH, [], hide=False)
    assert reader.finished


def test_several_choices_have_finished_when_the_last_has():
    def end(index):
        return event(choices=[{"index": index, "delta": {}, "finish_reason": "stop"}])
    for rest, closed in ((b"", True), (delta("more"), True), (end(1), True)):
        reader = chat.ChatReader(hide_usage=False, choices=2)
        reader.feed(ROLE + delta("He") + end(0))
        assert not reader.finished
        reader.feed(rest)
        assert reader.finished is (rest == end(1))
        reader.close()
        assert reader.finished is closed, "some servers make fewer choices than they were asked for"


def test_the_usage_chunk_is_kept_from_a_client_that_did_not_ask():
    without = STREAM.replace(CHUNK, b"").replace(b',"usage":null', b"")
    for cut in range(1, len(STREAM)):
        reader, out = run(STREAM, [cut], hide=True)
        assert out == without, cut
        assert reader.counted == 3 and reader.usage().output == 3
    assert run(STREAM, list(range(1, len(STREAM))), hide=True)[1] == without


def test_nothing_is_delayed_past_its_own_event():
    reader = chat.ChatReader(hide_usage=True)
    assert reader.feed(ROLE) != b""
    assert reader.feed(delta("a")) == delta("a")
    assert reader.feed(b": keep-alive\n\n") == b": keep-alive\n\n"


def test_cost_is_told_in_the_usage_chunk_before_done():
    reader, _ = run(STREAM, [100], hide=False, keep=True)
    reader = chat.ChatReader(hide_usage=False, keep_usage=True)
    first = reader.feed(STREAM)
    assert CHUNK not in first and DONE not in first
    cost = reader.cost_event(chat.add_cost, 42)
    assert json.loads(cost[6:])["usage"] == {**USAGE, "cost_micro_usd": 42}
    assert reader.close() == DONE


@pytest.mark.parametrize("stream", [
    b'data: {"error":{"message":"no","type":"server_error","code":"overloaded"}}\n\n',
    b': ping\n\ndata: {"error":{"message":"no","code":503}}\n\n',
    b"data: [DONE]\n\n",
    b"data: {not json\n\n",
    b'data: "text"\n\n',
    b'data: {"base_resp":{"status_code":1002,"status_msg":"rate"}}\n\n',
])
def test_a_bad_first_event_never_reaches_the_client(stream):
    for cut in range(1, len(stream)):
        reader, out = run(stream, [cut], hide=False)
        assert out == b"" and reader.failure is not None and not reader.started, cut


def test_comments_wait_for_the_first_event():
    reader = chat.ChatReader(hide_usage=False)
    assert reader.feed(b": OPENROUTER PROCESSING\n\n") == b"" and not reader.started
    assert reader.feed(ROLE) == b": OPENROUTER PROCESSING\n\n" + ROLE and reader.started


def test_an_error_in_the_middle_is_seen_and_passed_on():
    broken = event(error={"message": "died", "code": 502}, choices=[{"delta": {"content": ""}, "finish_reason": "error"}])
    reader, out = run(ROLE + delta("a") + broken, [30], hide=False)
    assert out.endswith(broken) and reader.failure.message == "died" and reader.counted == 1


@pytest.mark.parametrize("tail", [
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]) + DONE,            # Moonshot
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]) + CHUNK + DONE,    # both
    event(choices=[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], usage=USAGE) + DONE,  # Zhipu
    FINISH + event(choices=[], x_groq={"usage": {**USAGE, "queue_time": 0.1}}, usage=USAGE) + DONE,        # Groq
    delta("", usage={**USAGE, "completion_tokens": 2}) + FINISH + CHUNK,                                   # no [DONE]
    FINISH + CHUNK[:-2],                                                                                  # no last blank
])
def test_usage_is_found_wherever_a_vendor_puts_it_and_counted_once(tail):
    reader, out = run(ROLE + delta("a") + tail, [50, 90], hide=False)
    assert out == ROLE + delta("a") + tail
    assert (reader.usage().input, reader.usage().cache_read, reader.usage().output) == (12, 8, 3)
    assert reader.finished


def test_crlf_and_spaced_json_are_read_as_well():
    stream = STREAM.replace(b"\n", b"\r\n").replace(b'":', b'": ')
    reader, out = run(stream, [7, 200], hide=False)
    assert out == stream and reader.counted == 3 and reader.usage().output == 3


def test_an_endless_event_is_a_failure():
    reader = chat.ChatReader(hide_usage=False)
    reader.feed(ROLE)
    for _ in range(70):
        reader.feed(b"x" * 65536)
    assert reader.failure.code == "event_too_large"


def test_only_the_model_is_rewritten_and_usage_asked_for():
    data = (b'{ "model":"a/b", "x_unknown":{"b": 1.50,"a":[1]},"messages":[{"role":"user","content":"\\u4f60"}],'
            b'"stream":true,"enable_thinking":true,"stream_options":{"include_obfuscation":false}}')
    seen = chat.peek(data)
    assert seen.slug == "a/b" and seen.stream and not seen.usage_wanted
    sent = chat.body(seen, "real-name", {})
    assert sent == (b'{"model":"real-name","x_unknown":{"b": 1.50,"a":[1]},"messages":[{"role":"user","content":"\\u4f60"}],'
                    b'"stream":true,"enable_thinking":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}')
    assert chat.body(seen, "a/b", {"stream_usage": "always"}) == data.replace(b"{ ", b"{").replace(b', "x', b',"x')


def test_two_fields_of_one_name_reach_the_upstream_as_the_one_we_read():
    sent = chat.body(chat.peek(b'{"model":"dear","messages":[1],"mod\\u0065l":"cheap"}'), "cheap", {})
    assert json.loads(sent)["model"] == "cheap" and sent.count(b"model") == 1


@pytest.mark.parametrize("data", [
    b"", b"[]", b"{", b'{"model":"m"}', b'{"messages":[1]}', b'{"model":"","messages":[1]}', b'{"model":1,"messages":[1]}',
    b'{"model":"m","messages":[]}', b'{"model":"m","messages":"x"}', b'{"model":"m","messages":[1],"stream":1}',
    b'{"model":"m","messages":[1],"max_tokens":0}', b'{"model":"m","messages":[1],"max_tokens":true}',
    b'{"model":"m","messages":[1],"max_tokens":1.5}', b'{"model":"m","messages":[1],"n":129}',
    b'{"model":"m","messages":[NaN]}', b'{"model":"m","messages":["\xff"]}',
    b'{"model":"m","messages":[' + b"[" * 70 + b"]" * 70 + b"]}",
    b'{"model":"m","messages":[1],"stream":true,"stream_options":1}',
])
def test_bad_bodies_are_400(data):
    with pytest.raises(Refusal) as caught:
        chat.peek(data)
    assert caught.value.status == 400 and caught.value.message


def test_limits_count_all_choices():
    assert ask(max_tokens=10, n=3).max_output == 30
    assert ask(max_completion_tokens=7, max_tokens=5).max_output == 7
    assert ask(n=3).max_output is None


@pytest.mark.parametrize("data, code", [
    (b'{"error":{"message":"m","code":"1302"}}', "1302"), (b"not json", "not_json"), (b'{"id":1}', "no_choices"),
    (b'{"choices":[{"mess', "not_json"), (b"[]", "not_json"), (b'{"code":"Throttling","message":"slow"}', "Throttling"),
])
def test_a_complete_answer_that_is_a_failure(data, code):
    usage, failure, counted = chat.whole(data, ask(), {})
    assert usage is None and failure.code == code and counted == 0


def test_a_complete_answer_with_and_without_usage():
    answer = {"choices": [{"message": {"content": "x" * 40}}], "usage": USAGE}
    usage, failure, counted = chat.whole(b"\n\n" + json.dumps(answer).encode(), ask(), {})
    assert failure is None and usage.output == 3 and counted == 0
    del answer["usage"]
    usage, failure, counted = chat.whole(json.dumps(answer).encode(), ask(), {})
    assert usage is None and failure is None and counted == 10


@pytest.mark.parametrize("found, expected", [
    ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0, 0)),
    ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}, (2, 3, 2)),
    ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None, "cached_tokens": 9}, (0, 5, 2)),
    ({"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}, (4, 1, 2)),
    ({"prompt_tokens": -1, "completion_tokens": 2}, None), ({"prompt_tokens": 10**18, "completion_tokens": 2}, None),
    ({"prompt_tokens": 1.5, "completion_tokens": 2}, None), ({"prompt_tokens": True, "completion_tokens": 2}, None),
    ({}, None),
])
def test_usage_figures(found, expected):
    usage = usage_of(found)
    assert (usage and (usage.input, usage.cache_read, usage.output)) == expected


def test_an_operators_fields_are_dropped_filled_in_and_set():
    quirks = {"drop": ["user"], "default": {"top_p": 0.9, "seed": 1}, "set": {"region": "eu", "temperature": 1}}
    asked = ask(user="u", seed=7, temperature=0, n=1)
    sent = json.loads(chat.body(asked, "up", quirks))
    assert sent == {"model": "up", "messages": [{"role": "user", "content": "hi"}], "seed": 7, "temperature": 1, "n": 1,
                    "top_p": 0.9, "region": "eu"}
    assert json.loads(chat.body(asked, "m", {}))["user"] == "u", "and the client's own are as they were"
