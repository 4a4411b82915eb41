"""Each refusal of the contract, raised by the official SDK as its own typed exception."""

import json
import urllib.request

import openai
import pytest

from smartoken.testing.plays import REFUSALS
from tests.journeys.conftest import SAY, sdk_of


def refused(kind, sdk, **asked):
    """The exception that a chat call raises, which must be of `kind` and be whole."""
    with pytest.raises(kind) as caught:
        sdk.chat.completions.create(**{"model": "renamed", "messages": SAY, **asked})
    error = caught.value
    assert error.response.headers["x-request-id"] and error.request_id
    assert set(error.body) >= {"message", "type", "code", "param"} and error.body["message"]
    return error


def test_400_for_a_field_out_of_range(sdk):
    error = refused(openai.BadRequestError, sdk, extra_body={"max_tokens": "many"})
    assert error.body["type"] == "invalid_request_error" and "max_tokens" in error.body["message"]
    assert refused(openai.BadRequestError, sdk, messages=[]).status_code == 400


def test_400_for_bad_json(gateway, client):
    status, _, body = gateway.post("/v1/chat/completions", b'{"model": "renamed", ', client.key)
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")


def test_400_for_a_pin_that_does_not_serve_the_model(sdk):
    error = refused(openai.BadRequestError, sdk, model="two-ways", extra_query={"channel": "c-renamed"})
    assert error.body["type"] == "invalid_request_error"


@pytest.mark.parametrize("key", ["", "nonsense", "stk-live-" + "a" * 46])
def test_401_for_no_key_and_for_none_of_ours(gateway, key):
    status, _, body = gateway.post("/v1/chat/completions", {"model": "renamed", "messages": SAY}, key)
    assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")
    if key:
        with sdk_of(gateway, key) as sdk:
            assert refused(openai.AuthenticationError, sdk).body["type"] == "authentication_error"


def test_402_for_an_account_that_cannot_pay(gateway):
    with sdk_of(gateway, gateway.client("poor", usd="").key) as sdk:
        error = refused(openai.APIStatusError, sdk)
    assert (error.status_code, error.body["type"]) == (402, "insufficient_balance")


def test_403_for_a_model_that_the_key_may_not_use(gateway):
    limited = gateway.client("limited", "1", "--model", "two-ways")
    with sdk_of(gateway, limited.key) as sdk:
        assert refused(openai.PermissionDeniedError, sdk).body["type"] == "permission_error"
        assert sdk.chat.completions.create(model="two-ways", messages=SAY).choices


def test_404_for_an_unknown_model_and_an_unknown_route(gateway, sdk):
    assert refused(openai.NotFoundError, sdk, model="no-such-model").body["type"] == "not_found_error"
    status, headers, body = gateway.get("/v1/no/such/route")
    assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error") and headers["x-request-id"]


def test_405_is_json_and_names_what_is_allowed(gateway):
    status, headers, body = gateway.get("/v1/chat/completions")
    assert (status, headers["allow"]) == (405, "POST")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_413_for_a_body_over_the_limit(sdk):
    error = refused(openai.APIStatusError, sdk, messages=[{"role": "user", "content": "x" * 1_100_000}])
    assert (error.status_code, error.body["type"]) == (413, "invalid_request_error")


def test_429_over_the_models_rate_with_the_time_to_wait(gateway):
    # A limit of one process: with two workers the second call may meet the other's, so ask until both have had one.
    with sdk_of(gateway, gateway.client("hasty", "1").key) as sdk:
        error = None
        for _ in range(20):
            try:
                sdk.chat.completions.create(model="one-a-minute", messages=SAY, max_tokens=1)
            except openai.RateLimitError as caught:
                error = caught
                break
    assert error is not None and error.body["type"] == "rate_limit_error"
    assert 0 < int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["x-ratelimit-limit-requests"] == "1"


def test_503_when_every_channel_failed(sdk):
    error = refused(openai.InternalServerError, sdk, model="all-fail")
    assert (error.status_code, error.body["type"]) == (503, "upstream_error")
    assert int(error.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_upstreams_word_about_the_request_is_passed_on(sdk, status):
    error = refused(openai.APIStatusError, sdk, model=f"refuses-{status}")
    assert error.status_code in (status, 400) and REFUSALS[status][2] in error.body["message"]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_an_upstreams_word_about_our_credential_is_not(sdk, status):
    error = refused(openai.InternalServerError, sdk, model=f"refuses-{status}")
    assert (error.status_code, error.body["type"]) == (503, "upstream_error")
    assert REFUSALS[status][2] not in error.body["message"]


def test_refusals_cost_nothing(gateway):
    frugal = gateway.client("frugal", "1")
    with sdk_of(gateway, frugal.key) as sdk:
        for slug in ("all-fail", "refuses-400", "refuses-401", "no-such-model"):
            refused(openai.APIStatusError, sdk, model=slug)
    assert gateway.account(frugal)["balance_u"] == 1_000_000


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/healthz", "/v1/quote", "/v1/models/x", "/api/v1/models",
                                  "/v1/images/generations", "/v1/chat/completions", "/v1/vouchers/redeem"])
def test_405_says_which_methods_there_are(gateway, path):
    status, headers, body = gateway._open(urllib.request.Request(gateway.url + path, method="PATCH"))
    error = json.loads(body)["error"]
    assert (status, error["code"], headers["content-type"]) == (405, "method_not_allowed", "application/json")
    assert headers["allow"] and headers["x-request-id"]
