"""Documents to a snapshot: which channel serves what, what the public sees, what is left out and why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from smartoken.domain.documents import to_store
from smartoken.engine.compile import compile_snapshot
from smartoken.engine.seal import Sealer
from smartoken.secrets import resolve
from tests.engine.catalog_kit import GIFTS, channel, model

SEALER = Sealer({"k": b"k" * 32})


def snapshot(models, channels):
    stored = lambda docs: [doc if isinstance(doc, dict) else to_store(doc) for doc in docs]
    return compile_snapshot({"models": stored(models), "channels": stored(channels)}, GIFTS, SEALER,
                            lambda ref: ref.upper() if ref.startswith("env:") else resolve(ref))


def names(made, wire, slug="acme/chat"):
    return [route.channel.name for route in made.models[slug].routes.get(wire, ())]


def ref(name="acme", **fields):
    return channel(name, credential="env:key", **fields)


def test_order_by_priority_then_name():
    made, problems = snapshot([model()], [ref("c", priority=1), ref("b"), ref("a", priority=2), ref("d")])
    assert names(made, "openai.chat") == ["b", "d", "c", "a"] and not problems
    assert made.channels["a"].credential == "ENV:KEY" and "ENV:KEY" not in repr(made)


def test_responses_only_where_the_channel_names_it():
    made, _ = snapshot([model()], [ref("plain"), ref("named", wire_api=["responses"])])
    assert names(made, "openai.responses") == ["named"]
    assert names(made, "openai.chat") == ["plain"]


def test_native_before_bridged_and_bridged_only_where_switched_on():
    made, problems = snapshot([model()], [ref("bridged", wire_api=["chat"], bridges=["responses"], priority=-5),
                                          ref("off", wire_api=["chat"]), ref("native", wire_api=["responses", "chat"],
                                                                             bridges=["responses"])])
    routes = made.models["acme/chat"].routes["openai.responses"]
    assert [(route.channel.name, route.wire, route.bridge is not None) for route in routes] == [
        ("native", "openai.responses", False), ("bridged", "openai.chat", True)]
    assert routes[1].path == "/chat/completions" and not problems


def test_models_are_served_where_they_are_named_under_the_providers_name():
    made, problems = snapshot([model(), model("acme/other")], [ref("map", models={"acme/chat": "chat-v2"}),
                                                               ref("list", models=["acme/chat"])])
    assert [route.upstream_name for route in made.models["acme/chat"].routes["openai.chat"]] == ["acme/chat", "chat-v2"]
    assert names(made, "openai.chat", "acme/other") == []
    assert [problem.where for problem in problems] == ["model 'acme/other'"]


def test_a_wire_carries_models_of_its_type_only():
    image = model("acme/paint", type="text2image", pricing={"per_image": 5})
    made, _ = snapshot([model(), image], [ref()])
    assert set(made.models["acme/chat"].routes) == {"openai.chat"}
    assert set(made.models["acme/paint"].routes) == {"openai.images"}


@pytest.mark.parametrize(("broken", "said"), [
    (channel("bad", provider="acne", credential="env:key"), "did you mean 'acme'"),
    (channel("bad", credential=""), "needs a credential"),
    (channel("bad", credential="file:/nowhere/at/all"), "cannot be read"),
    (channel("bad", credential="v1.gone.AAAA.AAAA"), "not on the key ring"),
    (channel("bad", provider="lost", credential=""), "cannot tell its base URL"),
    (channel("bad", credential="env:key", wire_api=["openai.chta"]), "did you mean 'openai.chat'"),
    (channel("bad", credential="env:two\nlines"), "credential"),
    (channel("bad", credential="env:key", base_url="http://[::1"), "URL"),
    ({"_id": "bad", "rev": 1, "provider": 5}, "provider"),
])
def test_what_is_broken_is_left_out_and_the_rest_serves(broken, said):
    made, problems = snapshot([model()], [broken, ref("good")])
    assert names(made, "openai.chat") == ["good"] and "bad" not in made.channels
    assert said in " ".join(map(str, problems)) and "channel 'bad'" in str(problems[0])


def test_a_broken_model_is_left_out():
    made, problems = snapshot([{"_id": "bad", "rev": 1}, model()], [ref()])
    assert set(made.models) == {"acme/chat"} and problems[0].where == "model 'bad'"


def test_an_unknown_wire_or_bridge_beside_good_ones_is_only_reported():
    made, problems = snapshot([model()], [ref(wire_api=["chat", "nope"], bridges=["nope"])])
    assert names(made, "openai.chat") == ["acme"] and len(problems) == 2


def test_inactive_is_not_there_and_hidden_is_sold_but_not_listed():
    made, _ = snapshot([model("a/off", active=False), model("a/hidden", public=False), model("a/shown")],
                       [ref(), ref("off", active=False)])
    assert set(made.models) == {"a/hidden", "a/shown"} and set(made.channels) == {"acme"}
    assert [one["id"] for one in json.loads(made.models_json)["data"]] == ["a/shown"]


def test_no_credential_where_none_is_needed():
    made, problems = snapshot([model()], [channel(provider="open", credential="")])
    assert made.channels["acme"].credential == "" and not problems


def test_the_public_object():
    video = model("acme/film", type="text2video", available_durations=[5], available_ratios=["16:9"], created=7,
                  owned_by="acme", pricing={"video_price_per_second_by_resolution": {"720P": "0.1"}})
    chat = model(context_length=1000, pricing={"input_per_mtok": "0.28", "output_per_mtok": "0.42"})
    made, _ = snapshot([video, chat], [ref()])
    listed = json.loads(made.models_json)
    assert listed["object"] == "list"
    assert listed["data"][1] == {
        "id": "acme/film", "object": "model", "created": 7, "owned_by": "acme", "model_type": "text2video",
        "pricing": {"input_per_mtok": 0, "output_per_mtok": 0, "cache_read_per_mtok": 0, "per_image": 0},
        "video_price_per_second_by_resolution": {"720P": 100_000}, "available_sizes": [],
        "available_ratios": ["16:9"], "available_durations": [5], "context_length": None}
    assert listed["data"][0]["pricing"] == {"input_per_mtok": 280_000, "output_per_mtok": 420_000,
                                            "cache_read_per_mtok": 280_000, "per_image": 0}
    assert listed["data"][0]["context_length"] == 1000


@given(some.permutations([ref("a", priority=1), ref("b"), ref("c", bridges=["responses"]),
                          ref("d", wire_api=["chat"])]))
def test_the_order_of_documents_does_not_matter(channels):
    made, _ = snapshot([model()], channels)
    assert names(made, "openai.chat") == ["b", "c", "d", "a"]
    assert made.models_json == snapshot([model()], channels[::-1])[0].models_json


def test_a_missing_secret_says_so_without_the_channel_going_in(monkeypatch):
    monkeypatch.delenv("SMARTOKEN_T_NONE", raising=False)
    made, problems = compile_snapshot(
        {"models": [], "channels": [to_store(channel(credential="env:SMARTOKEN_T_NONE"))]}, GIFTS, SEALER, resolve)
    assert not made.channels and "SMARTOKEN_T_NONE is not set" in str(problems[0])


