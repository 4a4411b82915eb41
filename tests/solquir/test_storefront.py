"""The shop window: what is shown, in which order, to whom it stays hidden, and what it costs to ask again."""

import json
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest

from smartoken.engine.storefront import per_token

SHOP = "/api/v1/storefront"


def fetched(gateway, path, method="GET", **headers):
    """(status, headers in lower case, body)."""
    request = urllib.request.Request(gateway.url + path, method=method,
                                     headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


def slugs(gateway, query=""):
    status, _, data = fetched(gateway, f"{SHOP}/listings{query}")
    assert status == 200, data
    return [row["slug"] for row in json.loads(data)["data"]]


def test_models_have_the_fields_of_the_reference(gateway):
    status, headers, data = fetched(gateway, "/api/v1/models")
    found = {row["id"]: row for row in json.loads(data)["data"]}
    assert status == 200 and headers["x-solquir-trace-id"]
    assert {name: value for name, value in found["solquir-v1"].items() if name != "created"} == {
        "id": "solquir-v1", "object": "model", "owned_by": "solquir", "displayName": "Solquir V1",
        "description": "通用对话旗舰模型", "kind": "chat", "saleInputMicroUsdPerToken": 2,
        "saleOutputMicroUsdPerToken": 8, "currency": "USD", "modality": "text", "isActive": True}
    assert type(found["solquir-v1"]["created"]) is int
    assert (found["plain-a"]["saleInputMicroUsdPerToken"], found["plain-a"]["displayName"]) == (0.3, "plain-a")
    assert "hidden" not in found and "off" not in found


@pytest.mark.parametrize("price_u", [0, 1, 27, 999_999, 1_000_000, 280_000, 2_500_000, 123_456_789, 9_223_372_036_853])
def test_prices_per_token_are_exact(price_u):
    assert Decimal(repr(per_token(price_u))) * 1_000_000 == price_u
    assert json.loads(json.dumps(per_token(price_u))) == per_token(price_u)


def test_categories_in_their_order_without_the_inactive(gateway):
    rows = json.loads(fetched(gateway, f"{SHOP}/categories")[2])["data"]
    assert [(row["slug"], row["listings"]) for row in rows] == [("chat", 2), ("art", 1)]


@pytest.mark.parametrize("query, expected", [
    ("", ["v1", "small", "big"]), ("?category=chat", ["v1", "small"]), ("?category=art", ["big"]),
    ("?tag=flagship", ["v1"]), ("?kind=chat&limit=2", ["v1", "small"]), ("?kind=image", []),
    ("?limit=1&offset=1", ["small"]), ("?offset=9", []), ("?order=price", ["small", "big", "v1"]),
    ("?order=-price", ["v1", "big", "small"]), ("?order=title", ["big", "small", "v1"])])
def test_listings_are_filtered_paged_and_ordered(gateway, query, expected):
    assert slugs(gateway, query) == expected


def test_a_page_says_whether_there_is_more(gateway):
    page = json.loads(fetched(gateway, f"{SHOP}/listings?limit=2")[2])
    assert (page["object"], page["total"], page["offset"], page["limit"], page["has_more"]) == ("list", 3, 0, 2, True)
    assert json.loads(fetched(gateway, f"{SHOP}/listings?limit=2&offset=2")[2])["has_more"] is False


@pytest.mark.parametrize("query, status", [("?limit=0", 400), ("?limit=101", 400), ("?limit=x", 400),
                                           ("?offset=-1", 400), ("?order=random", 400), ("?limit=²", 400),
                                           ("?category=secret", 404), ("?category=none", 404)])
def test_bad_queries_are_told(gateway, query, status):
    from urllib.parse import quote

    found, headers, data = fetched(gateway, f"{SHOP}/listings{quote(query, safe='?=&')}")
    assert found == status and json.loads(data)["error"]["param"]
    assert headers["access-control-allow-origin"] == "*"


def test_a_listing_shows_its_model(gateway):
    found = json.loads(fetched(gateway, f"{SHOP}/listings/v1")[2])
    assert found["model"]["id"] == "solquir-v1" and found["category"] == {"slug": "chat", "title": "Chat"}
    assert found["pricing"]["microUsdPerToolCall"] == {"search": 3000} and found["featured"] is True


@pytest.mark.parametrize("slug", ["of-secret", "of-off", "of-hidden", "not-active", "none", "%00", ".."])
def test_what_is_hidden_stays_hidden(gateway, slug):
    assert fetched(gateway, f"{SHOP}/listings/{slug}")[0] == 404
    assert slug not in slugs(gateway, "?limit=100")


@pytest.mark.parametrize("path", ["/api/v1/models", f"{SHOP}/categories", f"{SHOP}/listings?category=chat",
                                  f"{SHOP}/listings/v1"])
def test_a_second_read_is_304(gateway, path):
    status, headers, _ = fetched(gateway, path)
    assert status == 200 and headers["cache-control"].startswith("public, max-age=")
    status, again, body = fetched(gateway, path, If_None_Match=headers["etag"])
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert again["x-solquir-trace-id"] != headers["x-solquir-trace-id"]
    assert fetched(gateway, path, If_None_Match='"other"')[0] == 200
    assert fetched(gateway, path, method="HEAD")[1]["etag"] == headers["etag"]


@pytest.mark.parametrize("path", ["/api/v1/models", f"{SHOP}/listings", f"{SHOP}/listings/v1"])
def test_any_origin_may_read_and_ask_before(gateway, path):
    status, headers, body = fetched(gateway, path, method="OPTIONS", Origin="https://shop.example",
                                    Access_Control_Request_Method="GET",
                                    Access_Control_Request_Headers="if-none-match")
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == "*" and "GET" in headers["access-control-allow-methods"]
    assert "if-none-match" in headers["access-control-allow-headers"].lower()
    assert int(headers["access-control-max-age"]) > 0
    assert "ETag" in fetched(gateway, path, Origin="https://shop.example")[1]["access-control-expose-headers"]


def test_an_edit_shows_within_seconds(gateway):
    gateway.apply('[[categories]]\nslug = "new"\ntitle = "Brand new"\norder = 3\n', name="more.toml")
    end = time.monotonic() + 20
    while "Brand new" not in fetched(gateway, f"{SHOP}/categories")[2].decode():
        assert time.monotonic() < end, "the new category did not come"
        time.sleep(0.05)
    gateway.apply('[[categories]]\nslug = "new"\ntitle = "Brand new"\norder = 3\nactive = false\n', name="less.toml")
    while "Brand new" in fetched(gateway, f"{SHOP}/categories")[2].decode():
        assert time.monotonic() < end, "the hidden category did not go"
        time.sleep(0.05)


def test_export_writes_them_back(gateway):
    text = gateway.run("catalog", "export")
    assert "[[categories]]" in text and 'slug = "v1"' in text and "[[listings]]" in text
    assert "tools were brought along" in text
    gateway.apply(text, name="again.toml")
    assert "No difference" in gateway.run("catalog", "diff", "again.toml")
