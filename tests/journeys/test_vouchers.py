"""Vouchers from making to burning, refunds and adjustments: by the command line and the API of a running gateway."""

import asyncio
import csv
import json
import re
import subprocess

import aiohttp
import openai
import pytest

from smartoken.domain.money import P_PER_U
from smartoken.testing.process import UpstreamProcess
from tests.harness import COMMAND, Gateway, channel, model, until
from tests.journeys.conftest import SAY, rid_of, sdk_of


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), workers=2)
    slugs = ("m", "other")
    gateway.apply(*(model(slug) for slug in slugs), channel("c", upstream.at("c"), {slug: slug for slug in slugs}))
    gateway.start()
    yield gateway
    gateway.check_books()
    gateway.close()


def voucher(gateway, usd, *options):
    return json.loads(gateway.run("voucher", "create", usd, "--json", *options))[0]


def redeem(gateway, client, code):
    status, _, body = gateway.post("/v1/vouchers/redeem", {"code": code}, client.key)
    return status, json.loads(body)


def ask(gateway, client, slug="m"):
    """The record of one call."""
    with sdk_of(gateway, client.key) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(model=slug, messages=SAY, max_tokens=20)
    return gateway.record(rid_of(raw.headers))


def refused(gateway, client, slug):
    with pytest.raises(openai.APIStatusError) as error:
        ask(gateway, client, slug)
    return error.value.status_code, error.value.code


def test_a_voucher_pays_for_its_models_only(gateway):
    client = gateway.client("restricted", "")
    made = voucher(gateway, "2", "--model", "m", "--until", "2999-12-31")
    assert refused(gateway, client, "m") == (402, "insufficient_balance")
    status, answer = redeem(gateway, client, made["code"].lower().replace("0", "o").replace("-", " "))
    assert (status, answer["amount_micro_usd"], answer["models"]) == (200, 2_000_000, ["m"]), answer
    assert not answer["redeemed_before"] and answer["balance_micro_usd"] == 2_000_000
    record = ask(gateway, client)
    assert record.split == {f"voucher:{made['id']}:1": record.cost_p}
    assert refused(gateway, client, "other") == (403, "voucher_not_applicable")
    status, answer = redeem(gateway, client, made["code"])
    assert (status, answer["redeemed_before"]) == (200, True)


@pytest.fixture
def alone(tmp_path, upstream):
    """One process: what is leased to another one burns there."""
    gateway = Gateway(tmp_path)
    gateway.apply(model("m"), channel("c", upstream.at("c"), {"m": "m"}))
    gateway.start()
    yield gateway
    gateway.check_books()
    gateway.close()


def test_the_order_of_burning(alone):
    """prio, soonest expiry, narrowest list, oldest; main last."""
    gateway = alone
    client = gateway.client("burner", "1")
    made = {}
    for name, options in {"late": ["--until", "2999-12-31"], "soon": ["--until", "2998-12-31"], "never": [],
                          "never-narrow": ["--model", "m"], "first": ["--prio", "-1"]}.items():
        made[name] = voucher(gateway, "0.00005", *options)
        assert redeem(gateway, client, made[name]["code"])[0] == 200
    names = {f"voucher:{one['id']}:1": name for name, one in made.items()} | {"main": "main"}
    burnt = []
    for _ in range(12):
        burnt += [names[pocket] for pocket in ask(gateway, client).split]
        if "main" in burnt:
            break
    assert list(dict.fromkeys(burnt)) == ["first", "soon", "late", "never-narrow", "never", "main"]


def test_a_batch_is_a_csv_of_codes(gateway):
    file = gateway.folder / "codes.csv"
    gateway.run("voucher", "create", "1.50", "--count", "25", "--csv", str(file), "--days", "30")
    rows = list(csv.DictReader(file.open()))
    assert len({row["code"] for row in rows}) == 25 and {row["usd"] for row in rows} == {"1.500000"}
    assert file.stat().st_mode & 0o077 == 0, "whoever reads it can spend it"
    gateway.run("voucher", "create", "1", "--csv", str(file), code=2)
    again = [gateway.run("voucher", "create", "2", "--count", "3", "--op", "lost") for _ in range(2)]
    assert again[0] == again[1], "under the same op they are the same"
    gateway.run("voucher", "create", "2", "--count", "2", "--op", "lost", code=2)
    client = gateway.client("batched", "")
    assert "1.50 USD redeemed" in gateway.run("voucher", "redeem", rows[7]["code"], client.acct)
    listed = json.loads(gateway.run("voucher", "list", "--batch", rows[0]["batch"], "--json"))
    assert [one["redeemed_by"] for one in listed if one["redeemed_by"]] == [[client.acct]]
    assert not any(row["code"] in json.dumps(listed) for row in rows)
    assert gateway.account(client)["balance_u"] == 1_500_000


def test_codes_that_could_not_be_shown_can_be_had_again(gateway):
    """The disk is full, the pipe is broken: the command says under which name they were made."""
    with open("/dev/full", "w") as full:
        lost = subprocess.run([COMMAND, "voucher", "create", "1", "--count", "3"], cwd=gateway.folder, env=gateway.env,
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert lost.returncode == 2 and "Traceback" not in lost.stderr
    op = re.search(r"--op (cli-[0-9a-f]+)", lost.stderr)[1]
    rows = list(csv.DictReader(gateway.run("voucher", "create", "1", "--count", "3", "--op", op).splitlines()))
    assert len(json.loads(gateway.run("voucher", "list", "--batch", rows[0]["batch"], "--json"))) == 3


def test_what_is_wrong_with_a_code_is_said(gateway):
    client, other = gateway.client("asker", ""), gateway.client("other-asker", "")
    made, stopped = voucher(gateway, "1"), voucher(gateway, "1")
    old = voucher(gateway, "1", "--until", "2020-01-01")
    gateway.run("voucher", "stop", stopped["id"])
    assert redeem(gateway, other, made["code"])[0] == 200
    wrong = made["code"][:-1] + ("0" if made["code"][-1] != "0" else "1")
    for code, status, said in ((wrong, 404, "voucher_not_found"), ("", 404, "voucher_not_found"),
                               (made["code"], 400, "voucher_used_up"), (stopped["code"], 400, "voucher_stopped"),
                               (old["code"], 400, "voucher_expired")):
        got, answer = redeem(gateway, client, code)
        assert (got, answer["error"]["code"], answer["error"]["param"]) == (status, said, "code")
    assert redeem(gateway, client, 5)[0] == 400
    statuses = {redeem(gateway, client, wrong)[0] for _ in range(30)}
    assert statuses == {404, 429}, "guessing is slow"
    assert gateway.post("/v1/vouchers/redeem", {"code": made["code"]})[0] == 401


def test_one_use_has_one_owner_however_many_race_for_it(gateway):
    """Two processes, six accounts at once, two uses."""
    made = voucher(gateway, "1", "--uses", "2")
    clients = [gateway.client(f"racer-{number}", "") for number in range(6)]

    async def race() -> list[int]:
        async def one(client) -> list[int]:
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {client.key}"}) as http:
                async def again() -> int:
                    async with http.post(f"{gateway.url}/v1/vouchers/redeem", json={"code": made["code"]}) as answer:
                        return answer.status
                return await asyncio.gather(again(), again(), again())
        return await asyncio.gather(*map(one, clients))

    statuses = asyncio.run(race())
    winners = [client for client, got in zip(clients, statuses, strict=True) if 200 in got]
    assert len(winners) == 2 and all(set(got) in ({200}, {400}) for got in statuses)
    assert [gateway.account(client)["balance_u"] for client in clients].count(1_000_000) == 2


def test_refunds_go_back_to_the_pockets_that_paid_and_never_exceed_the_cost(gateway):
    client = gateway.client("refunded", "1")
    made = voucher(gateway, "0.00004")
    assert redeem(gateway, client, made["code"])[0] == 200
    until(lambda: len(ask(gateway, client).split) == 2, "a call that two pockets pay")
    record = next(row for row in gateway.records(client) if len(row.split) == 2)
    charged_u = record.cost_p // P_PER_U

    def refund(*words, code=0):
        gateway.run("account", "refund", client.acct, record.rid, "--reason", "a broken answer", *words, code=code)

    before_u = gateway.account(client)["balance_u"]
    refund("--key", "r-1", "--amount", "0.000005")
    refund("--key", "r-1", "--amount", "0.000005")
    assert gateway.account(client)["balance_u"] == before_u + 5, "the same key, once"
    refund("--key", "r-1", "--amount", "0.000006", code=2)
    refund("--key", "r-2", "--amount", "1", code=2)
    refund("--key", "r-3")
    assert gateway.account(client)["balance_u"] == before_u + charged_u, "never more than it cost"
    refund("--key", "r-4", code=2)
    gateway.run("account", "refund", client.acct, "0" * 31, "--key", "r-5", "--reason", "x", code=2)
    stranger = gateway.client("stranger", "")
    gateway.run("account", "refund", stranger.acct, record.rid, "--key", "r-6", "--reason", "x", code=2)


def test_adjustments_need_a_key_and_a_reason(gateway):
    client = gateway.client("adjusted", "1")

    def adjust(*words, code=0):
        gateway.run("account", "adjust", client.acct, *words, code=code)
        return gateway.account(client)["balance_u"]

    adjust("1", code=2)
    adjust("1", "--key", "a", code=2)
    assert adjust("--key", "a-1", "--reason", "goodwill", "0.25") == 1_250_000
    assert adjust("--key", "a-1", "--reason", "goodwill", "0.25") == 1_250_000
    assert adjust("--key", "a-1", "--reason", "goodwill", "0.50", code=2) == 1_250_000
    assert adjust("--key", "a-2", "--reason", "slip", "--", "-0.75") == 500_000
    assert adjust("--key", "a-3", "--reason", "slip", "--", "-0.75", code=2) == 500_000
    assert adjust("--key", "a-4", "--reason", "chargeback", "--below-zero", "--", "-0.75") == -250_000
    assert refused(gateway, client, "m") == (402, "insufficient_balance")
    gateway.run("account", "topup", client.acct, "1", "--op", "invoice-7")
    gateway.run("account", "topup", client.acct, "1", "--op", "invoice-7")
    assert gateway.account(client)["balance_u"] == 750_000, "the same event, once"
    assert ask(gateway, client).status == "ok"
