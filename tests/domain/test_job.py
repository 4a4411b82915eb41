"""A job's states, its document and its price; what a model offers."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from smartoken.domain import job as states
from smartoken.domain.catalog import Model
from smartoken.domain.job import Job, Kept, cost_p, from_store, full_cost_p, to_store
from smartoken.domain.offer import fit, unit_u
from smartoken.domain.price import Price
from smartoken.errors import Refusal
from smartoken.plugin.types import Ask

PRICE = Price(image_u=20_000, image_by_size_u={"512x256": 30_000, "512x256/hd": 60_000},
              video_second_u={"720P": 50_000, "1080P": 100_000})
PICTURES = Model("p", "text2image", PRICE, {}, {}, sizes=("256x256", "512x256"))
FILMS = Model("f", "text2video", PRICE, {}, {}, ratios=("16:9", "9:16"), durations=(3, 5))
KEPT = Kept("k", "image/png", 1, "s")


def job(**fields):
    return Job(**{"id": "1", "acct": "a", "key": "k", "wire": "openai.videos", "door": "/v1/videos", "kind": "video",
                  "model": "m", "at_ms": 0, "unit_u": 50_000, "seconds": 5, **fields})


def ask(**fields):
    return Ask(wire="w", slug="m", stream=False, body=b"", fields={}, **fields)


def test_every_state_leads_to_an_end():
    reach = dict(states.GOES_ON)
    for state in reach:
        seen, fresh = set(), {state}
        while fresh:
            seen |= fresh
            fresh = set().union(*(reach[one] for one in fresh)) - seen
        assert seen & states.ENDED, state
        assert (not reach[state]) == (state in states.ENDED)


def test_a_document_comes_back_whole():
    one = job(links=[states.Link("https://x")], kept=[KEPT], fault=states.Fault("t", "m"), tokens={"a": 1})
    doc = msgspec.json.decode(msgspec.json.encode(to_store(one)))
    assert doc["_id"] == "1" and from_store({**doc, "field_of_a_newer_version": 1}) == one


@given(some.one_of(some.none(), some.integers(-10_000, 10**9)))
def test_a_film_never_costs_more_than_is_held_nor_less_than_nothing(video_ms):
    one = job()
    assert 0 <= cost_p(one, video_ms) <= full_cost_p(one)


def test_prices():
    assert full_cost_p(job()) == 250_000_000_000 == cost_p(job(), 5000) == cost_p(job(), None)
    assert cost_p(job(), 4960) == 248_000_000_000
    pictures = job(kind="image", images=3, unit_u=20_000)
    assert full_cost_p(pictures) == 60_000_000_000
    assert cost_p(msgspec.structs.replace(pictures, kept=[KEPT]), None) == 20_000_000_000
    assert cost_p(msgspec.structs.replace(pictures, kept=[KEPT] * 5), None) == 60_000_000_000


@pytest.mark.parametrize(("size", "quality", "expected"), [
    ("", "", 20_000), ("256x256", "", 20_000), ("512*256", "", 30_000), ("512X256", "hd", 60_000)])
def test_pictures_by_size_and_quality(size, quality, expected):
    assert unit_u(PICTURES, fit(PICTURES, ask(images=1, size=size, quality=quality), "image"), "image") == expected


def test_the_first_size_is_the_usual_one():
    assert fit(PICTURES, ask(images=1), "image").size == "256x256"


def test_films():
    fitted = fit(FILMS, ask(resolution="720p", seconds=3, ratio="16:9"), "video")
    assert fitted.resolution == "720P" and unit_u(FILMS, fitted, "video") == 50_000


@pytest.mark.parametrize(("model", "kind", "fields", "named"), [
    (PICTURES, "image", {"images": 1, "size": "1x1"}, "256x256, 512x256"), (PICTURES, "image", {"images": 11}, "1 to 10"),
    (FILMS, "video", {"seconds": 3}, "720P, 1080P"), (FILMS, "video", {"resolution": "8K", "seconds": 3}, "720P, 1080P"),
    (FILMS, "video", {"resolution": "720P"}, "3, 5"), (FILMS, "video", {"resolution": "720P", "seconds": 4}, "3, 5"),
    (FILMS, "video", {"resolution": "720P", "seconds": 3, "ratio": "1:1"}, "16:9, 9:16"),
    (dataclasses.replace(PICTURES, settings={"max_images": 2}), "image", {"images": 3}, "1 to 2")])
def test_what_is_not_offered(model, kind, fields, named):
    with pytest.raises(Refusal) as refused:
        fit(model, ask(**fields), kind)
    assert refused.value.status == 400 and named in refused.value.message
