"""Channels: list, write (a credential only ever goes in), live figures, and a test by a real call."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.domain.documents import SEALED, ChannelDoc, from_store
from smartoken.engine import figures
from smartoken.engine.audit import MASK, URLS
from smartoken.engine.changes import Conflict
from smartoken.engine.probe import probe
from smartoken.errors import refuse
from smartoken.secrets import is_ours
from smartoken.strict import Strict, decode
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation


class ChannelBody(Strict):
    """`credential`: env:NAME, file:path, or the secret itself, which is sealed; None keeps the one there is and ''
    removes it. `channel` has every other field. `rev` is the revision that is replaced (0: it is new)."""

    channel: dict[str, Any]
    rev: Annotated[int, Field(ge=0)]
    credential: str | None = Field(default=None, repr=False)


class TestBody(Strict):
    """`model`: the name at the provider; '' takes the first that the channel names. `wire`: '' takes the first."""

    model: str = ""
    wire: str = ""


async def list_channels(desk: Desk) -> dict[str, Any]:
    """Every channel, with its live figures over all processes."""
    live = await _live(desk)
    return {"channels": [_shown(desk, stored, live) for stored in await desk.gateway.catalog.all("channels")]}


async def get_channel(desk: Desk, name: str) -> dict[str, Any]:
    return _shown(desk, await _stored(desk, name), await _live(desk))


async def put_channel(desk: Desk, name: str, body: ChannelBody) -> dict[str, Any]:
    """Refusals: 401 `prove_again` for another credential, proxy or settings (see POST /me/proof); 400
    `credential_again` where the credential that is there would be shown to somebody else."""
    catalog = desk.gateway.catalog
    old = await catalog.get("channels", name)
    if body.rev != (old["rev"] if old else 0):
        raise Conflict(f"channels '{name}' is not at revision {body.rev}; read it again")
    was = from_store(ChannelDoc, old) if old else ChannelDoc(name=name, provider="none")
    doc = decode(ChannelDoc, {**body.channel, **_unmasked(desk.gateway, body.channel, was), "name": name,
                              "credential": was.credential if body.credential is None else body.credential},
                 "the channel")
    if body.credential is not None or (doc.proxy, doc.settings) != (was.proxy, was.settings):
        desk.proved()
    _guarded(desk.gateway, doc, was, again=body.credential is not None)
    new = await catalog.put("channels", doc, body.rev)
    await desk.audit("channels.put", f"channels/{name}", old, new)
    await desk.renew()
    return await get_channel(desk, name)


def _unmasked(gateway: Any, channel: dict[str, Any], was: ChannelDoc) -> dict[str, str]:
    """URLs that came back as they were shown, with the user and password that they have."""
    found = {}
    for field in sorted(URLS):
        given, kept = channel.get(field), getattr(was, field)
        if not isinstance(given, str) or f"://{MASK}" not in given:
            continue
        if given.rstrip("/") != gateway.audit.masked(kept):
            raise refuse("invalid_request", "The user and password in this URL are masked; write them again with "
                         "another one.", code="masked", param=field)
        found[field] = kept
    return found


def _guarded(gateway: Any, doc: ChannelDoc, was: ChannelDoc, again: bool) -> None:
    """A credential only ever goes in, so nobody may have it sent to a server of theirs either: whoever lets somebody
    else see the one that is there types it `again`. And the gateway's own secrets are nobody's credential."""
    if was.credential and not again and _seen_by(gateway, doc) != _seen_by(gateway, was):
        raise refuse("invalid_request", "Another provider, base URL or proxy would be shown the credential that is "
                     "there; give the credential again, too.", code="credential_again", param="credential")
    conf = gateway.conf
    own = (conf.secrets.key_ring, conf.secrets.pepper, conf.money.topup_secret)
    if again and is_ours(doc.credential, conf.data_folder, own):
        raise refuse("invalid_request", "This reference leads to a secret of the gateway itself; a credential stands "
                     "in a variable or a file of its own, outside the data folder.", code="own_secret",
                     param="credential")


def _seen_by(gateway: Any, doc: ChannelDoc) -> tuple[str, str, str]:
    """Who is shown a channel's credential; a proxy only where nothing is known to be within TLS."""
    provider = gateway.registry.providers.get(doc.provider)
    url = doc.base_url or (provider.base_url if provider is not None else "")
    hidden = isinstance(url, str) and url.startswith("https://")
    return doc.provider, doc.base_url, "" if hidden else doc.proxy


async def remove_channel(desk: Desk, name: str) -> None:
    old = await _stored(desk, name)
    await desk.gateway.catalog.remove("channels", name)
    await desk.audit("channels.remove", f"channels/{name}", old)
    await desk.renew()


async def test_channel(desk: Desk, name: str, body: TestBody) -> dict[str, Any]:
    """One real call to the provider, which it may charge for; nobody's account is."""
    outcome = await probe(desk.gateway, await _stored(desk, name), body.wire, body.model)
    await desk.audit("channels.test", f"channels/{name}", note="ok" if outcome["ok"] else outcome["failure"][:200])
    return outcome


async def health(desk: Desk) -> dict[str, Any]:
    """Live figures of every channel: {channel: {model: …, alarm}}."""
    return {"channels": await _live(desk)}


async def providers(desk: Desk) -> dict[str, Any]:
    """What a channel can be made of."""
    return {"providers": [{"slug": one.slug, "title": one.title or one.slug, "speaks": sorted(one.speaks),
                           "base_url": one.base_url if isinstance(one.base_url, str) else "",
                           "needs_credential": one.needs_credential, "docs": one.docs}
                          for one in sorted(desk.gateway.registry.providers.values(), key=lambda one: one.slug)],
            "bridges": sorted({source for source, _ in desk.gateway.registry.bridges})}


async def _live(desk: Desk) -> dict[str, dict[str, Any]]:
    """{channel: {inflight, first_ms, good, bad, state, rest_ms, alarm, models}} over all processes that are up."""
    gateway = desk.gateway
    documents = [doc for doc in await figures.nodes(gateway.store, gateway.clock.now_ms())
                 if doc["up"] and doc["_id"] != gateway.node]
    documents.append({"health": figures.health(gateway), "alarms": gateway.health.alarms})
    found: dict[str, dict[str, Any]] = {}
    for doc in documents:
        for row in doc["health"]:
            one = found.setdefault(row["channel"], _blank())
            for name in ("inflight", "good", "bad"):
                one[name] += row[name]
            for name in ("first_ms", "rest_ms", "out_ms"):
                one[name] = max(one[name], row[name])
            one["probing"] = one["probing"] or row.get("ejected", False)
            one["models"].append(row)
        for channel, alarm in doc["alarms"].items():
            found.setdefault(channel, _blank())["alarm"] = alarm
    for one in found.values():
        one["state"] = ("out of service" if one["out_ms"] else "resting" if one["rest_ms"] else
                        "being tried" if one["probing"] else "up")
    return found


def _blank() -> dict[str, Any]:
    return {"inflight": 0, "good": 0, "bad": 0, "first_ms": 0, "rest_ms": 0, "out_ms": 0, "probing": False, "state": "",
            "alarm": "",
            "models": []}


async def _stored(desk: Desk, name: str) -> dict[str, Any]:
    stored = await desk.gateway.catalog.get("channels", name)
    if stored is None:
        raise missing("channel", name)
    return stored


def _shown(desk: Desk, stored: dict[str, Any], live: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the operator pays there is for those who may see money; a password in a URL for nobody."""
    doc = from_store(ChannelDoc, stored)
    fields = doc.model_dump(mode="json") | ({} if desk.sees_money else {"costs": {}})
    fields |= {field: desk.gateway.audit.masked(fields[field]) for field in URLS}
    name, sealed = doc.name, doc.credential.startswith(SEALED)
    compiled = desk.gateway.snapshots.current.channels.get(name)
    return {**fields, "rev": stored["rev"],
            "credential": f"sealed ({desk.gateway.audit.fingerprint(doc.credential)})" if sealed else doc.credential,
            "wires": sorted(compiled.wires) if compiled else [], "live": live.get(name, _blank()),
            "problems": [problem.what for problem in desk.gateway.snapshots.problems
                         if problem.where == f"channel '{name}'"]}


OPERATIONS = [
    Operation("GET", "/channels", "catalog.read", "All channels, with live figures", list_channels),
    Operation("GET", "/channels/{name}", "catalog.read", "One channel", get_channel),
    Operation("PUT", "/channels/{name}", "catalog.write", "Create or change a channel", put_channel, ChannelBody),
    Operation("DELETE", "/channels/{name}", "catalog.write", "Remove a channel", remove_channel),
    Operation("POST", "/channels/{name}/test", "catalog.write", "One real call through a channel", test_channel,
              TestBody),
    Operation("GET", "/health", "catalog.read", "Live figures of all channels", health),
    Operation("GET", "/providers", "catalog.read", "Providers and bridges that plugins brought", providers),
]
