"""The second channel takes over until the first byte has reached the client, never after it."""

import openai
import pytest

from smartoken.testing.answers import words
from tests.journeys.conftest import PAIRS, SAY, ask, rid_of

# What is no fault in a stream or out of it: an empty stream is noticed, a truncated one has begun.
ONLY_WHOLE = {"fo-truncated"}
FAILING = (*PAIRS, "fo-refused")


@pytest.fixture(scope="module")
def taken(gateway, sdk):
    """{(model, stream): (lines, trace id)}; retries are rationed, so a few calls that need none go before each."""
    answers = {}
    for slug in FAILING:
        for stream in (False, True):
            for _ in range(5):
                ask(sdk, model="renamed", max_tokens=1)
            answers[slug, stream] = ask(sdk, model=slug, max_tokens=4, stream=stream and slug not in ONLY_WHOLE)
    return answers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slug", FAILING)
def test_the_second_channel_takes_over(gateway, taken, slug, stream):
    lines, rid = taken[slug, stream]
    assert " aaa" in "".join(lines)
    record = gateway.record(rid)
    assert (record.status, record.channel, record.usage.output) == ("ok", f"{slug}-2", 4)
    assert record.attempts[-1].result == "ok"


def test_a_pin_goes_where_it_says_and_nowhere_else(gateway, sdk, upstream_process):
    def went(**more):
        raw = sdk.chat.completions.with_raw_response.create(model="two-ways", messages=SAY, **more)
        return gateway.record(rid_of(raw.headers)).channel

    assert went() == "first"
    assert went(extra_query={"channel": "second"}) == "second"
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model="fo-500", messages=SAY, extra_query={"channel": "fo-500-1"})
    assert caught.value.status_code == 503


@pytest.mark.parametrize("slug", ["dies-mid", "error-mid"])
def test_after_the_first_byte_the_error_is_in_the_stream(gateway, sdk, slug):
    with sdk.chat.completions.with_raw_response.create(
            model=slug, messages=SAY, max_tokens=30, stream=True).parse() as stream:
        got = []
        with pytest.raises(openai.APIError):
            for chunk in stream:
                got += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        rid = rid_of(stream.response.headers)
    assert got == list(words(30))[:len(got)] and got
    record = gateway.record(rid)
    # The SDK hangs up at an error event, which may be before the upstream's own end is here: then it is a cut.
    assert record.status in {"dies-mid": ("broken",), "error-mid": ("broken", "cut")}[slug]
    assert len(got) <= record.usage.output <= 30
    assert [attempt.channel for attempt in record.attempts] == [f"c-{slug}"], "no retry after the first byte"
