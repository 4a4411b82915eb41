"""Vouchers are made once, redeemed exactly once for each of their uses, and never lost half-way.

The op that vouchers are made under gives their codes, so whoever lost the answer asks again and gets the same ones.
Redeeming is two steps on the store: a claim is inserted under `<voucher>:<n>` (so the n-th use has one owner for ever),
then the ledger gets `voucher:<voucher>:<n>`, which makes the pocket. A claim names its owner; what a crash leaves
between the two is finished by `finish`, or by the owner who tries again.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from smartoken.domain.account import Declined, change
from smartoken.domain.money import MAX_U, is_amount
from smartoken.domain.voucher import Voucher, batch_of, code_of, digest_of, letters_of
from smartoken.engine.ledger import Ledger
from smartoken.errors import ConfigError, Refusal, StoreAway, refuse
from smartoken.ports import Clock, Entry, Store

USES_MOST, BATCH_MOST = 10_000, 100_000
PAGE = 500
CLAIMED, BOOKED = "claimed", "booked"


@dataclass(frozen=True, slots=True)
class Redeemed:
    """`again`: this account had redeemed it before, and nothing has happened now."""

    voucher: Voucher
    pocket: str
    entry: Entry
    again: bool


class Vouchers:
    """Of one process. `pepper` is the node's, as for keys."""

    def __init__(self, store: Store, ledger: Ledger, pepper: bytes, clock: Clock):
        self._store, self._ledger, self._pepper, self._clock = store, ledger, pepper, clock

    async def create(self, op: str, face_u: int, count: int = 1, *, models: Sequence[str] = (), prio: int = 0,
                     exp_ms: int = 0, days: int = 0, uses: int = 1, until_ms: int = 0,
                     note: str = "") -> list[tuple[str, Voucher]]:
        """`count` vouchers alike: (code, voucher) each. Under the same `op` again they are the same, whatever became of
        the first time; nobody can see the codes without it. ConfigError, StoreAway, Refusal 409 op_taken."""
        for name, value, most in (("amount", face_u, MAX_U), ("uses", uses, USES_MOST), ("count", count, BATCH_MOST)):
            if not is_amount(value) or not 1 <= value <= most:
                raise ConfigError(f"A voucher's {name} is a whole number from 1 to {most}, not {value!r}.")
        batch, now_ms = batch_of(self._pepper, op), self._clock.now_ms()
        made = []
        for n in range(count):
            code = code_of(self._pepper, op, n)
            wanted = Voucher(f"v-{secrets.token_hex(6)}", face_u, list(models), prio, exp_ms, days, uses, until_ms,
                             batch=batch, count=count, note=note, created_ms=now_ms)
            doc = {"_id": digest_of(self._pepper, letters_of(code)), "rev": 1, **msgspec.structs.asdict(wanted)}
            voucher = _voucher(await self._insert("vouchers", doc))
            same = msgspec.structs.replace(wanted, id=voucher.id, created_ms=voucher.created_ms, active=voucher.active)
            if voucher != same:
                raise Refusal(409, "conflict_error", f"Under the name '{op}' other vouchers were made before; these need "
                              "another name.", code="op_taken", param="op")
            made.append((code, voucher))
        return made

    async def all(self, batch: str = "") -> list[Voucher]:
        """Every voucher (of a batch), without its code."""
        found, after = [], ""
        while docs := await self._store.find("vouchers", {"batch": batch} if batch else None, after=after, limit=PAGE):
            after = docs[-1]["_id"]
            found += map(_voucher, docs)
        return sorted(found, key=lambda voucher: (voucher.created_ms, voucher.id))

    async def claims(self, voucher: Voucher) -> list[dict[str, Any]]:
        """Who redeemed it: {acct, n, at_ms, state}."""
        return [doc async for doc in self._pages({"voucher": voucher.id})]

    async def stop(self, id: str) -> Voucher:
        """No more redeeming of a voucher; what was redeemed stays. ConfigError when there is none."""
        docs = await self._store.find("vouchers", {"id": id}, limit=1)
        if not docs:
            raise ConfigError(f"There is no voucher '{id}'; 'smartoken voucher list' shows those there are.")
        doc = docs[0]
        if doc["active"]:
            new = {**doc, "active": False, "rev": doc["rev"] + 1}
            if not await self._store.replace("vouchers", new, doc["rev"]):
                return await self.stop(id)
            doc = new
        return _voucher(doc)

    async def redeem(self, text: str, acct: str) -> Redeemed:
        """Make a pocket of a voucher's credit for an account. To repeat it is harmless.

        Refusal 404 voucher_not_found, 400 voucher_expired, voucher_stopped or voucher_used_up. StoreAway.
        """
        letters = letters_of(text)
        doc = await self._store.get("vouchers", digest_of(self._pepper, letters)) if letters else None
        if doc is None:
            raise refuse("not_found", "There is no such voucher; check the code.", code="voucher_not_found",
                         param="code")
        voucher, now_ms = _voucher(doc), self._clock.now_ms()
        claims = await self.claims(voucher)
        mine = next((claim for claim in claims if claim["acct"] == acct), None)
        again = mine is not None
        n = len(claims) + 1
        while mine is None:
            # Each use is looked at before the next is tried, so that no account ever gets two of them.
            if not voucher.active:
                raise refuse("invalid_request", "This voucher was stopped.", code="voucher_stopped", param="code")
            if any(end and end <= now_ms for end in (voucher.until_ms, voucher.exp_ms)):
                raise refuse("invalid_request", "This voucher has expired.", code="voucher_expired", param="code")
            if n > voucher.uses:
                raise refuse("invalid_request", "This voucher was redeemed already.", code="voucher_used_up",
                             param="code")
            claim = {"_id": f"{voucher.id}:{n}", "rev": 1, "voucher": voucher.id, "n": n, "acct": acct,
                     "at_ms": now_ms, "state": CLAIMED, "pocket_exp_ms": voucher.pocket_exp_ms(now_ms)}
            there = await self._insert("claims", claim)
            if there["acct"] == acct:
                mine = there
            n += 1
        entry = await self._book(voucher, mine)
        return Redeemed(voucher, f"voucher:{mine['_id']}", entry, again and mine["state"] == BOOKED)

    async def _book(self, voucher: Voucher, claim: dict[str, Any]) -> Entry:
        name = f"voucher:{claim['_id']}"
        delta = {"pocket": name, "u": voucher.face_u, "models": voucher.models, "prio": voucher.prio,
                 "exp_ms": claim["pocket_exp_ms"]}
        entry = await self._ledger.commit(claim["acct"], name, "redeem", change("redeem", **delta))
        if claim["state"] == CLAIMED:
            # Should this be lost, `finish` comes to the same entry again.
            await self._store.replace("claims", {**claim, "state": BOOKED, "rev": claim["rev"] + 1}, claim["rev"])
        return entry

    async def finish(self) -> int:
        """Book claims that a crash left without their pocket; how many. StoreAway."""
        known: dict[str, Voucher] = {}
        finished = 0
        async for claim in self._pages({"state": CLAIMED}):
            if claim["voucher"] not in known:
                docs = await self._store.find("vouchers", {"id": claim["voucher"]}, limit=1)
                if not docs:
                    continue
                known[claim["voucher"]] = _voucher(docs[0])
            try:
                await self._book(known[claim["voucher"]], claim)
            except Declined as declined:
                raise StoreAway(f"claim {claim['_id']} cannot be booked: {declined}") from None
            finished += 1
        return finished

    async def _pages(self, where: dict[str, str | int]):
        after = ""
        while docs := await self._store.find("claims", where, after=after, limit=PAGE):
            after = docs[-1]["_id"]
            for doc in docs:
                yield doc

    async def _insert(self, collection: str, doc: dict[str, Any]) -> dict[str, Any]:
        """What is under the `_id` afterwards: `doc`, or what was there before. A lost reply is looked up."""
        try:
            if await self._store.insert(collection, doc):
                return doc
        except StoreAway:
            if (there := await self._store.get(collection, doc["_id"])) is not None:
                return there
            raise
        there = await self._store.get(collection, doc["_id"])
        if there is None:
            raise StoreAway(f"{collection} '{doc['_id']}' was there and is gone")
        return there


def _voucher(doc: dict[str, Any]) -> Voucher:
    return msgspec.convert(doc, Voucher)
