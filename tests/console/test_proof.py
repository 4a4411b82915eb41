"""Who signed in a while ago types the password again before money or secrets go in."""

import asyncio
import time

import pytest

from smartoken.cli._books import open_store
from smartoken.conf import load
from tests.console.kit import PASSWORD, Person

LONG_MS = 11 * 60_000


async def _age(conf: str, admin: str) -> None:
    """Let the newest session of somebody be one whose password was typed long ago, as time would."""
    store = open_store(load(conf))
    await store.open()
    try:
        session = max(await store.find("sessions", {"admin": admin}), key=lambda one: one["created_ms"])
        aged = {**session, "rev": session["rev"] + 1, "proved_ms": session["proved_ms"] - LONG_MS}
        assert await store.replace("sessions", aged, session["rev"])
    finally:
        await store.close()


@pytest.fixture
def stale(console):
    """A person whose session is older than the password's ten minutes, and an account's id."""
    person = Person(console).sign_in("ada")
    acct = person.api("POST", "/accounts", {"name": "stale"}).json()["id"]
    asyncio.run(_age(str(console.conf), "ada"))
    person.proved = time.monotonic()           # the kit would type it again by itself
    yield person, acct
    person.close()


def refused(answer):
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "prove_again", answer.text


def test_money_and_secrets_ask_again_and_everything_else_goes_on(console, stale):
    person, acct = stale
    channel = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "models": {"proof": "x"}}
    refused(person.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "proof-1"}))
    refused(person.api("POST", "/accounts", {"name": "lent", "overdraft_u": "5"}))
    refused(person.api("PATCH", f"/accounts/{acct}", {"rev": 1, "overdraft_u": "5"}))
    renamed = person.api("PATCH", f"/accounts/{acct}", {"rev": 1, "name": "stale still", "overdraft_u": 0})
    assert renamed.status_code == 200, "the overdraft it has is no change"
    refused(person.api("POST", "/vouchers", {"op": "v-1", "face_u": "5"}))
    refused(person.api("PUT", "/channels/proof", {"channel": channel, "rev": 0, "credential": "sk-proof"}))
    assert person.api("GET", f"/accounts/{acct}").json()["balance_u"] == 0
    assert person.api("PUT", "/channels/proof", {"channel": channel, "rev": 0}).status_code == 200
    for more in ({"proxy": "http://127.0.0.1:9"}, {"settings": {"stream_only": True}}):
        refused(person.api("PUT", "/channels/proof", {"channel": {**channel, **more}, "rev": 1}))
    assert person.api("GET", "/models").status_code == 200

    wrong = person.api("POST", "/me/proof", {"password": "wrong horse battery"})
    assert wrong.status_code == 401 and wrong.json()["error"]["code"] == "password"
    refused(person.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "proof-1"}))
    assert person.api("POST", "/me/proof", {"password": PASSWORD}).status_code == 204
    for _ in range(4):                         # whichever worker is asked
        done = person.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "proof-1"})
        assert done.status_code == 200 and done.json()["balance_u"] == 5_000_000
    assert person.api("PUT", "/channels/proof", {"channel": channel, "rev": 1, "credential": "sk-x"}).status_code == 200
    assert person.api("DELETE", "/channels/proof").status_code in (200, 204)


def test_the_page_asks_in_the_form_itself(console, stale):
    person, acct = stale
    place = f"/console/accounts/{acct}"
    assert "f-topup-password" in person.page(place)
    again = person.form(place, do="topup", amount="7", op="proof-2")
    assert again.status_code == 401 and "Enter your password again" in again.text
    assert person.form(place, do="topup", amount="7", op="proof-2", password="wrong horse").status_code == 401
    lent = person.form(place, do="change", rev="1", name="stale", overdraft="9")
    assert lent.status_code == 401 and "f-change-password" in lent.text
    assert person.api("GET", f"/accounts/{acct}").json()["overdraft_u"] == 0
    lent = person.form(place, do="change", rev="1", name="stale", overdraft="9", password=PASSWORD)
    assert lent.status_code == 303 and person.api("GET", f"/accounts/{acct}").json()["overdraft_u"] == 9_000_000
    asyncio.run(_age(str(console.conf), "ada"))
    done = person.form(place, do="topup", amount="7", op="proof-2", password=PASSWORD)
    assert done.status_code == 303, done.text
    assert "f-topup-password" not in person.page(place) and "$7.00" in person.page(place)
