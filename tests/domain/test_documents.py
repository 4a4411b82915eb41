"""What an operator may write, and what he is told otherwise."""

import pytest

from smartoken.domain.documents import ChannelDoc, ModelDoc, from_store, is_clear, to_store
from smartoken.domain.money import MAX_U, usd_to_u
from smartoken.domain.pricing import Pricing, jumps
from smartoken.errors import ConfigError
from smartoken.strict import decode

CHAT = {"slug": "acme/chat", "pricing": {"input_per_mtok": "0.28", "output_per_mtok": 420_000}}


def model(**fields) -> ModelDoc:
    return decode(ModelDoc, {**CHAT, **fields}, "x.toml")


def refused(cls, data) -> str:
    with pytest.raises(ConfigError) as told:
        decode(cls, data, "x.toml")
    return str(told.value)


def test_money_as_text_is_exact_usd_and_as_a_number_micro_usd():
    pricing = model().pricing
    assert (pricing.input_per_mtok, pricing.output_per_mtok) == (280_000, 420_000)
    assert model(pricing={"input_per_mtok": "0.000001", "output_per_mtok": "0"}).pricing.input_per_mtok == 1


@pytest.mark.parametrize("value", [0.28, True, None, "0.0000001", "1e3", "-1", -1, "", "NaN", "1_0", MAX_U + 1, [1]])
def test_other_money_is_refused_by_name(value):
    told = refused(ModelDoc, {**CHAT, "pricing": {"input_per_mtok": value, "output_per_mtok": 1}})
    assert "x.toml" in told and "pricing" in told


def test_a_float_is_told_how_to_be_written():
    told = refused(ModelDoc, {**CHAT, "pricing": {"input_per_mtok": 0.28, "output_per_mtok": 1}})
    assert '"0.28"' in told and "float" in told


@pytest.mark.parametrize(("text", "amount_u"), [("12.50", 12_500_000), ("0.000001", 1), ("1.0000000", 1_000_000),
                                                ("-3", -3_000_000), (" 7 ", 7_000_000)])
def test_usd(text, amount_u):
    assert usd_to_u(text) == amount_u


@pytest.mark.parametrize("text", ["1.0000000000000000000000000000000001", "sNaN", "1e999999999", "٣", "0x1", "1.", ".5",
                                  "99999999999999999999"])
def test_not_usd(text):
    with pytest.raises(ValueError):
        usd_to_u(text)


def test_unknown_keys_name_the_nearest():
    told = refused(ModelDoc, {**CHAT, "pricing": {"imput_per_mtok": 1, "output_per_mtok": 1}, "activ": True})
    assert "input_per_mtok" in told and "'active'" in told


@pytest.mark.parametrize("fields", [
    {"pricing": {}},
    {"pricing": {"input_per_mtok": 1}},
    {"type": "text2image", "pricing": {"per_image_by_size": {"1x1": 5}}},
    {"type": "text2image", "pricing": {"per_image_by_size": {"1x1": 5}}, "available_sizes": ["1x1", "2x2"]},
    {"type": "text2video", "pricing": {"per_image": 1}, "available_durations": [5]},
    {"type": "text2video", "pricing": {"video_price_per_second_by_resolution": {"720P": 1}}},
    {"type": "embedding", "pricing": {"output_per_mtok": 1}},
    {"type": "speech", "pricing": {"input_per_mtok": 1}},
])
def test_nothing_is_given_away_by_omission(fields):
    assert "needs" in refused(ModelDoc, {**CHAT, **fields})


def test_free_is_an_explicit_zero():
    assert model(pricing={"input_per_mtok": 0, "output_per_mtok": 0}).pricing.price("x@1").output_u == 0


def test_cached_input_costs_what_input_costs_unless_priced():
    assert model().pricing.price("x@1").cache_read_u == 280_000
    cached = model(pricing={**CHAT["pricing"], "cache_read_per_mtok": 0}).pricing.price("x@1")
    assert (cached.cache_read_u, cached.cache_write_u) == (0, 280_000)


@pytest.mark.parametrize(("old", "new", "steep"), [(100, 5000, False), (100, 5001, True), (100, 2, False),
                                                   (100, 1, True), (100, 0, True), (0, 9999, False)])
def test_jumps(old, new, steep):
    assert bool(jumps(Pricing(input_per_mtok=old), Pricing(input_per_mtok=new))) is steep


def test_channel_names_and_lists():
    channel = decode(ChannelDoc, {"name": "a", "provider": "p", "wire_api": ["chat", "acme.odd"],
                                  "models": ["x/y"], "base_url": "https://h/v1/"}, "x.toml")
    assert channel.wire_api == ["openai.chat", "acme.odd"]
    assert channel.models == {"x/y": "x/y"} and channel.base_url == "https://h/v1"


@pytest.mark.parametrize("credential", [12345678, ["sk-canary-1"], "sk-canary-1" * 10_000])
def test_a_wrong_credential_is_not_repeated(credential):
    told = refused(ChannelDoc, {"name": "a", "provider": "p", "credential": credential})
    assert "credential" in told and "canary" not in told and "12345678" not in told


def test_the_credential_is_not_in_the_repr():
    assert "canary" not in repr(ChannelDoc(name="a", provider="p", credential="sk-canary"))


@pytest.mark.parametrize(("text", "clear"), [("", False), ("env:X", False), ("file:x", False), ("v1.a.b.c", False),
                                             ("sk-x", True)])
def test_is_clear(text, clear):
    assert is_clear(text) is clear


def test_through_the_store_and_back():
    doc = model(available_sizes=["1x1"], settings={"a": {"b": 1}})
    stored = to_store(doc)
    assert stored["_id"] == "acme/chat" and "slug" not in stored
    assert from_store(ModelDoc, stored) == doc


def test_a_newer_nodes_fields_are_passed_over():
    assert from_store(ModelDoc, {**to_store(model()), "from_the_future": 1}) == model()
