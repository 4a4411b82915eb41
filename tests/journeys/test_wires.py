"""Official clients against a running gateway: Responses, Messages, Gemini and embeddings, native and over bridges."""

import asyncio
import json
import urllib.error
import urllib.request

import agents
import anthropic
import openai
import pydantic
import pytest
from google import genai

from tests.harness import Gateway, model

TOOL = {"type": "function", "name": "look_up", "description": "Where to.", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CHAT_TOOL = {"type": "function", "function": {name: TOOL[name] for name in ("name", "description", "parameters")}}


def way(name: str, provider: str, base_url: str, models: list[str], wires: list[str], **more: object) -> str:
    """A [[channels]] table."""
    fields = {"name": name, "provider": provider, "base_url": base_url, "models": models, "wire_api": wires, **more}
    if provider != "vllm":
        fields["credential"] = "env:UPSTREAM_KEY"
    return "[[channels]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    """A channel for each wire; those of chat, responses and messages serve the clients of the other two as well."""
    at = upstream_process.at
    gateway = Gateway(tmp_path_factory.mktemp("wires"), workers=2)
    gateway.env["UPSTREAM_KEY"] = "secret"
    llms = ["resp", "chat", "msg", "gem", "tool-resp", "tool-chat", "tool-msg", "gem-tool", "only-stream", "only-resp",
            "broken", "cut", "over", "gem-chat"]
    others = {"responses": ["chat", "messages"], "chat": ["responses", "messages"], "messages": ["chat", "responses"]}
    tables = [model(slug) for slug in llms]
    tables += [f'[[models]]\nslug = "{slug}"\ntype = "embedding"\npricing = {{ input_per_mtok = 270000 }}\n'
               for slug in ("embed", "gem-embed")]
    tables += [
        way("resp", "vllm", at("resp"), ["resp"], ["responses"], bridges=others["responses"]),
        way("tool-resp", "vllm", at("tr", "ok?tools=1&reasoning=2"), ["tool-resp"], ["responses"], bridges=others["responses"]),
        way("chat", "vllm", at("chat"), ["chat"], ["chat"], bridges=others["chat"]),
        way("tool-chat", "vllm", at("tc", "ok?tools=1&reasoning=2"), ["tool-chat"], ["chat"], bridges=others["chat"]),
        way("msg", "anthropic", at("msg"), ["msg"], ["messages"], bridges=others["messages"]),
        way("tool-msg", "anthropic", at("tm", "ok?tools=1&reasoning=2"), ["tool-msg"], ["messages"],
            bridges=others["messages"]),
        way("gem", "gemini", at("gem"), ["gem"], ["gemini"]),
        way("gem-tool", "gemini", at("gt", "ok?tools=1"), ["gem-tool"], ["gemini"]),
        way("embed", "vllm", at("embed"), ["embed"], ["embeddings"]),
        way("only-resp", "vllm", at("or"), ["only-resp"], ["responses"]),
        way("only-stream", "vllm", at("os"), ["only-stream"], ["responses"], bridges=["chat", "messages"],
            ) + "settings = { stream_only = true }\n",
        way("cut", "vllm", at("cut", "close?after=7"), ["cut"], ["responses"], bridges=["chat", "messages"]),
        way("gem-chat-1", "gemini", at("gc1", "400?error=google&code=API_KEY_INVALID"), ["gem-chat"], ["chat"], priority=0),
        way("gem-chat-2", "gemini", at("gc2"), ["gem-chat"], ["chat"], priority=1),
        way("gem-embed", "gemini", at("ge"), ["gem-embed"], ["embeddings"]),
        way("over-1", "vllm", at("o1", "error_first"), ["over"], ["responses"], priority=0),
        way("over-2", "vllm", at("o2"), ["over"], ["responses"], priority=1),
    ]
    gateway.apply(*tables)
    gateway.start()
    yield gateway
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def client(gateway):
    return gateway.client("wires")


@pytest.fixture
def oai(gateway, client):
    with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0, timeout=60) as sdk:
        yield sdk


@pytest.fixture
def ant(gateway, client):
    with anthropic.Anthropic(api_key=client.key, base_url=gateway.url, max_retries=0, timeout=60) as sdk:
        yield sdk


@pytest.mark.parametrize("slug", ["resp", "chat", "msg", "only-stream"])
def test_responses_create_and_stream(oai, slug):
    whole = oai.responses.create(model=slug, input="Say something.")
    assert whole.status in ("completed", "incomplete") and whole.output_text.startswith(" aaa aab")
    assert whole.usage.output_tokens > 0
    with oai.responses.stream(model=slug, input="Say something.") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds.count("response.output_text.delta") > 10
    assert final.output_text == whole.output_text and final.usage == whole.usage


@pytest.mark.parametrize("slug", ["tool-resp", "tool-chat", "tool-msg"])
def test_responses_tools_loop(oai, slug):
    turns = [{"role": "user", "content": "Where is Oslo?"}]
    with oai.responses.stream(model=slug, input=turns, tools=[TOOL], reasoning={"effort": "low"}) as stream:
        first = stream.until_done().get_final_response()
    call = next(item for item in first.output if item.type == "function_call")
    assert call.name == "look_up" and json.loads(call.arguments) == {"city": "Oslo"}
    turns += [item.model_dump(exclude_none=True) for item in first.output if item.type == "function_call"]
    turns += [{"type": "function_call_output", "call_id": call.call_id, "output": "Norway"}]
    again = oai.responses.create(model=slug.removeprefix("tool-"), input=turns, tools=[TOOL])
    assert again.output_text


class City(pydantic.BaseModel):
    name: str


@pytest.mark.parametrize("slug", ["resp", "chat", "msg"])
def test_structured_output_is_asked_of_the_upstream(oai, gateway, upstream_process, slug):
    schema = {"type": "json_schema", "name": "city", "strict": True, "schema": City.model_json_schema()}
    oai.responses.create(model=slug, input="A city.", text={"format": schema})
    sent = json.loads(upstream_process.seen()[-1]["body"])
    asked = {"resp": lambda: sent["text"]["format"]["schema"], "msg": lambda: sent["output_config"]["format"]["schema"],
             "chat": lambda: sent["response_format"]["json_schema"]["schema"]}[slug]()
    assert asked == City.model_json_schema()


@pytest.mark.parametrize("slug", ["resp", "chat", "msg"])
def test_agents_sdk_runs_a_tool(gateway, client, slug):
    called = []

    @agents.function_tool
    def look_up(city: str) -> str:
        """Where a city is."""
        called.append(city)
        return "Norway"

    async def main():
        agents.set_tracing_disabled(True)
        sdk = openai.AsyncOpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0)
        made = agents.OpenAIResponsesModel(model=slug, openai_client=sdk)
        agent = agents.Agent(name="a", instructions="Be brief.", model=made, tools=[look_up],
                             model_settings=agents.ModelSettings(tool_choice="required"))
        try:
            return await agents.Runner.run(agent, "Where is Oslo?", max_turns=4)
        finally:
            await sdk.close()

    done = asyncio.run(main())
    assert called == ["Oslo"] and done.final_output


@pytest.mark.parametrize("slug", ["msg", "chat", "resp", "only-stream"])
def test_messages_create_and_stream(ant, slug):
    whole = ant.messages.create(model=slug, max_tokens=20, messages=[{"role": "user", "content": "Say something."}])
    assert whole.content[0].text.startswith(" aaa aab") and whole.usage.output_tokens > 0
    with ant.messages.stream(model=slug, max_tokens=20, messages=[{"role": "user", "content": "Say something."}]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text and final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens and final.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("slug", ["tool-msg", "tool-chat", "tool-resp"])
def test_messages_tools_loop(ant, slug):
    tool = {"name": "look_up", "input_schema": TOOL["parameters"]}
    said = [{"role": "user", "content": "Where is Oslo?"}]
    with ant.messages.stream(model=slug, max_tokens=3000, messages=said, tools=[tool]) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    use = next(block for block in first.content if block.type == "tool_use")
    assert use.name == "look_up" and use.input == {"city": "Oslo"}
    said += [{"role": "assistant", "content": [block.model_dump() for block in first.content if block.type == "tool_use"]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Norway"}]}]
    again = ant.messages.create(model=slug.removeprefix("tool-"), max_tokens=50, messages=said, tools=[tool])
    assert again.content[0].text


@pytest.mark.parametrize("slug", ["resp", "msg", "only-stream"])
def test_chat_over_a_bridge(oai, slug):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}]
    whole = oai.chat.completions.create(model=slug, messages=said, max_tokens=20)
    assert whole.choices[0].message.content.startswith(" aaa aab") and whole.usage.completion_tokens > 0
    chunks = list(oai.chat.completions.create(model=slug, messages=said, max_tokens=20, stream=True,
                                              stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content and chunks[-1].usage == whole.usage
    silent = list(oai.chat.completions.create(model=slug, messages=said, max_tokens=20, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in silent)


@pytest.mark.parametrize("slug", ["tool-resp", "tool-msg"])
def test_chat_tools_over_a_bridge(oai, slug):
    said = [{"role": "user", "content": "Where is Oslo?"}]
    with oai.chat.completions.stream(model=slug, messages=said, tools=[CHAT_TOOL]) as stream:
        for _ in stream:
            pass
        done = stream.get_final_completion()
    call = done.choices[0].message.tool_calls[0]
    assert done.choices[0].finish_reason == "tool_calls" and json.loads(call.function.arguments) == {"city": "Oslo"}


def test_gemini(gateway, client):
    sdk = genai.Client(api_key=client.key, http_options={"base_url": gateway.url})
    whole = sdk.models.generate_content(model="gem", contents="Say something.", config={"max_output_tokens": 20})
    assert whole.text.startswith(" aaa aab") and whole.usage_metadata.candidates_token_count == 20
    parts = list(sdk.models.generate_content_stream(model="gem", contents="Say something.",
                                                    config={"max_output_tokens": 20}))
    assert "".join(part.text for part in parts) == whole.text and len(parts) == 20
    assert sdk.models.count_tokens(model="gem", contents="Say something.").total_tokens > 0
    call = sdk.models.generate_content(model="gem-tool", contents="Where is Oslo?").function_calls[0]
    assert call.name == "look_up" and call.args == {"city": "Oslo"}
    with pytest.raises(genai.errors.ClientError) as caught:
        sdk.models.generate_content(model="nobody", contents="?")
    assert caught.value.code == 404 and caught.value.status == "NOT_FOUND"


def shown_credential(call: dict) -> dict:
    """The headers of a call upstream that carry our credential."""
    return {name: value for name, value in call["headers"] if "secret" in value}


def test_gemini_is_shown_our_key_as_each_of_its_wires_wants_it(gateway, client, oai, upstream_process):
    """And what its OpenAI-compatible door says of a bad one, in a list and as a 400, lets the next channel try."""
    sdk = genai.Client(api_key=client.key, http_options={"base_url": gateway.url})
    sdk.models.generate_content(model="gem", contents="x")
    assert shown_credential(upstream_process.seen()[-1]) == {"x-goog-api-key": "secret"}
    for _ in range(10):                     # attempts again are rationed
        oai.chat.completions.create(model="chat", messages=SAID, max_tokens=1)
    raw = oai.chat.completions.with_raw_response.create(model="gem-chat", messages=SAID)
    assert raw.parse().choices[0].message.content
    assert shown_credential(upstream_process.seen()[-1]) == {"authorization": "Bearer secret"}
    first, second = gateway.record(raw.headers["x-request-id"]).attempts
    assert (first.channel, first.result, second.channel, second.result) == (
        "gem-chat-1", "API_KEY_INVALID", "gem-chat-2", "ok")
    oai.embeddings.create(model="gem-embed", input="x")
    assert shown_credential(upstream_process.seen()[-1]) == {"authorization": "Bearer secret"}


def test_embeddings_in_floats_and_base64(oai):
    floats = oai.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    packed = oai.embeddings.create(model="embed", input=["a", "b"])
    assert floats.data[1].embedding == pytest.approx(packed.data[1].embedding) and floats.usage.prompt_tokens > 0


def test_stored_responses_are_found_by_every_worker_and_their_owner_alone(gateway, client, oai):
    first = oai.responses.create(model="resp", input="Say something.")
    for _ in range(6):                      # a new connection each: either of the two workers
        with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0) as sdk:
            assert sdk.responses.create(model="resp", input="Go on.", previous_response_id=first.id).output_text
    stranger = gateway.client("stranger")
    with openai.OpenAI(api_key=stranger.key, base_url=f"{gateway.url}/v1", max_retries=0) as sdk:
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(model="resp", input="Go on.", previous_response_id=first.id)
        assert caught.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            sdk.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            sdk.responses.delete(first.id)


def test_counting_costs_nothing(ant, gateway, upstream_process):
    poor = gateway.client("counter", "0.01")
    with anthropic.Anthropic(api_key=poor.key, base_url=gateway.url, max_retries=0) as sdk:
        counted = sdk.messages.count_tokens(model="msg", messages=[{"role": "user", "content": "How long am I?"}])
    assert counted.input_tokens > 0
    assert upstream_process.seen()[-1]["target"].endswith("/messages/count_tokens")


def test_a_model_that_the_wire_does_not_serve(oai, ant):
    with pytest.raises(openai.BadRequestError) as caught:
        oai.chat.completions.create(model="only-resp", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "wire_not_served" and "openai.responses" in str(caught.value)
    with pytest.raises(anthropic.BadRequestError) as caught:
        ant.messages.create(model="only-resp", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert caught.value.body["error"]["details"]["error_code"] == "wire_not_served"


def test_each_sdk_raises_its_own_exception(gateway, oai):
    with anthropic.Anthropic(api_key="stk-live-nobody", base_url=gateway.url, max_retries=0) as sdk:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            sdk.messages.create(model="msg", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert caught.value.request_id == caught.value.body["request_id"]
    with pytest.raises(openai.BadRequestError) as refused:
        oai.responses.create(model="chat", input="x", tools=[{"type": "web_search"}])
    assert refused.value.param == "tools" and "web_search" in refused.value.message


def test_a_stream_without_its_last_event_is_a_failure(oai, ant):
    with pytest.raises(openai.APIError):
        list(oai.responses.create(model="cut", input="x", stream=True))
    with pytest.raises(openai.APIError):
        list(oai.chat.completions.create(model="cut", messages=[{"role": "user", "content": "x"}], stream=True))
    with pytest.raises(anthropic.APIError):
        with ant.messages.stream(model="cut", max_tokens=20, messages=[{"role": "user", "content": "x"}]) as stream:
            stream.until_done()


def test_an_error_after_the_opening_lets_the_next_channel_try(oai):
    events = list(oai.responses.create(model="over", input="x", stream=True))
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("path, body, read", [
    ("/v1/responses", {"model": "chat", "input": "x", "stream": True},
     lambda event: (event.get("response") or {}).get("usage")),
    ("/v1/responses", {"model": "resp", "input": "x", "stream": True},
     lambda event: (event.get("response") or {}).get("usage")),
    ("/v1/messages", {"model": "chat", "max_tokens": 20, "messages": [{"role": "user", "content": "x"}], "stream": True},
     lambda event: event.get("usage")),
    ("/v1/messages", {"model": "msg", "max_tokens": 20, "messages": [{"role": "user", "content": "x"}], "stream": True},
     lambda event: event.get("usage")),
    ("/v1/chat/completions", {"model": "resp", "messages": [{"role": "user", "content": "x"}], "stream": True},
     lambda event: event.get("usage")),
    ("/v1beta/models/gem:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "x"}]}]},
     lambda event: event.get("usageMetadata") if "finishReason" in event["candidates"][0] else None),
])
def test_cost_is_told_at_the_end_of_every_stream(gateway, client, path, body, read):
    url = f"{gateway.url}{path}{'&' if '?' in path else '?'}cost=1"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {client.key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        events = [json.loads(line[5:]) for line in answer.read().splitlines()
                  if line.startswith(b"data:") and b"[DONE]" not in line]
    assert [usage for usage in map(read, events) if usage][-1]["cost_micro_usd"] > 0


SAID = [{"role": "user", "content": "Where is Oslo?"}]
STREAMS = {"responses": ("/v1/responses", {"input": SAID, "tools": [TOOL]}),
           "messages": ("/v1/messages", {"messages": SAID, "max_tokens": 4000, "tools": [
               {"name": "look_up", "input_schema": TOOL["parameters"]}]}),
           "chat": ("/v1/chat/completions", {"messages": SAID, "tools": [CHAT_TOOL],
                                             "stream_options": {"include_usage": True}})}


def told(gateway, client, path: str, body: dict) -> list[tuple[str, dict]]:
    """(what it is, the event) of a stream; of a chat chunk the choice's parts stand for its name."""
    status, _, data = gateway.post(path, body | {"stream": True}, client.key)
    assert status == 200, data
    lines = [line[6:] for line in data.splitlines() if line.startswith(b"data: ")]
    events = [json.loads(line) for line in lines if line != b"[DONE]"]
    return [(event.get("type") or _parts_of(event), event) for event in events]


def _parts_of(chunk: dict) -> str:
    choice = chunk["choices"][0] if chunk["choices"] else {"delta": {}, "finish_reason": None}
    names = [name for name, value in choice["delta"].items() if value]
    return " ".join(names + (["finish"] if choice["finish_reason"] else []) + (["usage"] if chunk.get("usage") else []))


@pytest.mark.parametrize("tools", ["", "tool-"])
@pytest.mark.parametrize("slug", ["resp", "chat", "msg"])
@pytest.mark.parametrize("wire", STREAMS)
def test_showing_the_cost_changes_no_streams_order(gateway, client, wire, slug, tools):
    """Over every pair of wires; what is open is closed before the event that tells usage, as Codex wants it."""
    path, body = STREAMS[wire]
    body = body | {"model": f"{tools}{slug}"}
    plain, shown = told(gateway, client, path, body), told(gateway, client, f"{path}?cost=1", body)
    assert [kind for kind, _ in shown] == [kind for kind, _ in plain]
    last = shown[-2 if wire == "messages" else -1][1]
    assert last.get("response", last)["usage"]["cost_micro_usd"] > 0
    if wire == "responses":
        done = [event["item"]["id"] for kind, event in shown if kind == "response.output_item.done"]
        assert done and done == [item["id"] for item in shown[-1][1]["response"]["output"]]
        assert [event["sequence_number"] for _, event in shown] == list(range(len(shown)))


@pytest.mark.parametrize("slug", ["resp", "msg", "only-stream"])
def test_over_a_bridge_the_last_chunk_tells_cost_and_thinking(gateway, client, slug):
    shown = told(gateway, client, "/api/v1/chat/completions", {"model": slug, "messages": SAID, "max_tokens": 5})
    assert [kind for kind, _ in shown[-2:]] == ["finish", "usage"]
    assert shown[-1][1]["usage"]["cost_micro_usd"] > 0 and shown[-1][1]["thinking"]


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v1/messages", 405), ("POST", "/v1/responses/resp_1", 405), ("GET", "/v1/responses", 405),
    ("GET", "/v1/responses/resp_nobody", 404), ("GET", "/v1/responses/a/b", 404), ("DELETE", "/v1/responses/..%2f", 404),
    ("POST", "/v1beta/models/gem:fly", 404), ("POST", "/v1beta/models/gem:streamGenerateContent", 400),
    ("GET", "/v1beta/models/gem:generateContent", 404), ("GET", "/v1/models/nobody", 404),
])
def test_what_is_not_served(gateway, client, method, path, status):
    request = urllib.request.Request(gateway.url + path, b"{}" if method == "POST" else None, method=method,
                                     headers={"x-api-key": client.key})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == status and "error" in json.loads(caught.value.read())
