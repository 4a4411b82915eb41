"""The attempts of a call: its line of channels, one after the other, until one has given something good.

Functions on a Call (engine/relay.py), for its state is one. Nothing was sent to the client yet: as long as that is so,
the next channel may be tried, and of a composite model the next member.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from smartoken.engine import admission, composite, routing
from smartoken.engine.client import NOTHING, header
from smartoken.engine.endpoint import head_for
from smartoken.engine.health import rest_s
from smartoken.engine.masking import masked_failure
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import CALLER, CREDENTIAL, ELSEWHERE, Failure
from smartoken.upstream.origin import header_line


def line_up(call: Any, tokens: int) -> None:
    """The routes to ask. A composite model's are its members', one member after the other."""
    gateway, model, ask = call.gateway, call.model, call.ask
    if model.composite is None:
        call.served = model
        call.routes = routing.routes_of(model, ask.wire, call.pin)
        call.stages = [{"stage": "route", "picked": model.slug, "reason": "the model that was asked for"}]
        return
    if call.line is None:
        members = composite.members_now(model, ask, gateway.snapshots.current, gateway.health,
                                        gateway.clock.mono_us(), tokens, call.pin)
        if not members:
            routing.routes_of(model, ask.wire, call.pin)
            raise refuse("upstream", f"No member of the model '{model.slug}' is served at the moment.",
                         code="no_channel", retry_after_s=30)
        said = composite.routed(gateway.registry.routers, model.composite, ask, members)
        look = call.look or composite.look_at(call.wire, ask)
        call.line = composite.line_up(model.composite, look, tokens, members, said)
    call.behind = list(call.line)
    _next_member(call, "")


def _next_member(call: Any, silent: str) -> bool:
    """Turn to the next member in line after one that was silent; False when there is none."""
    if not call.behind:
        return False
    picked = call.behind.pop(0)
    call.served = call.gateway.snapshots.current.models[picked.slug]
    call.routes = routing.routes_of(call.served, call.ask.wire, call.pin)
    call.tried.clear()
    reason = f"{silent} did not answer; next: {picked.reason}" if silent else picked.reason
    call.stages = [{"stage": "route", "picked": picked.slug, "reason": reason}]
    return True


def send(call: Any) -> None:
    """To the best route that is left; where there is none, the call is given up."""
    gateway = call.gateway
    now_us = gateway.clock.mono_us()
    ask = call.ask
    affinity = f"{call.account.id}|{ask.affinity}" if ask.affinity else ""
    while True:
        found = routing.pick(gateway.health, call.served.slug, call.routes, call.tried, now_us, affinity)
        while found is None and _next_member(call, call.served.slug):
            found = routing.pick(gateway.health, call.served.slug, call.routes, call.tried, now_us, affinity)
        if found is None:
            _give_up(call)
            return
        call.route, call.health = route, _ = found
        call.tried.append(route)
        channel = route.channel
        wants = admission.channel_wants(channel, call.tokens) if channel.rpm or channel.tpm else ()
        full = gateway.limiter.take(wants) if wants else None
        if full is not None:
            call.full_us = min(call.full_us or full[1], full[1])  # as good as not there: the next one
            continue
        call.channel_wants = wants
        body = _body(call)
        if body is not None:
            break
    call.reader = None
    call.parts.clear()
    call.status = 0
    call.attempt_us = now_us
    gateway.health.began(call.health)
    endpoint = route.endpoint
    head, asked = endpoint.head, call.wire_up.pass_headers
    if asked or ask.suffix or (ask.session and channel.provider.session_header):
        head = head_for(endpoint, ask.method, route.upstream_name, ask.suffix, _header_lines(call, asked))
    call.exchange = gateway.pool.send(endpoint.origin, head, body, call, endpoint.limits)


def _body(call: Any) -> bytes | None:
    """What the route is sent; None where its wire cannot say this request, which another's may."""
    route, ask, quirks = call.route, call.ask, call.route.channel.settings
    if call.cap is not None:
        ask = msgspec.structs.replace(ask, fields=call.wire.cap(ask, call.cap, quirks))
    try:
        if route.bridge is None:
            return call.wire.body(ask, route.upstream_name, quirks)
        return route.bridge.request(ask, route.upstream_name, quirks)
    except Refusal as refusal:
        call.unsaid = call.unsaid or refusal
        _unused(call)
        return None


def _unused(call: Any) -> None:
    """Give the channel's limits back whole: nothing was sent, or it was turned away at the door."""
    for want in call.channel_wants:
        call.gateway.limiter.correct(want, 0)
    call.channel_wants = ()


def _header_lines(call: Any, asked: Mapping[bytes, bytes]) -> bytes:
    """The client's headers that belong to the upstream's wire, or what is sent in their place."""
    theirs = call.passed if call.route.bridge is None else NOTHING
    values = ((name, theirs.get(name, default)) for name, default in asked.items())
    lines = b"".join(header_line(name, value) for name, value in values if value)
    session = call.route.channel.provider.session_header
    return lines + header_line(session.encode(), call.ask.session) if session and call.ask.session else lines


def failed(call: Any, meaning: str, failure: Failure) -> None:
    """Before anything was committed: the next channel, or the end."""
    gateway, now_us = call.gateway, call.gateway.clock.mono_us()
    failure = masked_failure(call.route.channel, failure)
    renew = call.route.channel.provider.renew
    if meaning == CREDENTIAL and renew is not None and call.renewal is None and not call.left:
        call.attempted("renewing")
        _unused(call)
        call.renewal = asyncio.get_running_loop().create_task(_renew(call, renew, failure))
        return
    wait_s = failure.rest_s
    if wait_s is None and call.status:
        wait_s = rest_s(header(call.headers, b"retry-after"))
    gateway.health.failed(call.route, call.health, now_us, meaning, wait_s, failure.message)
    call.attempted(failure.code or failure.type or meaning)
    admission.give_back(gateway.limiter, call.channel_wants)
    call.channel_wants = ()
    if meaning == CALLER:
        status = failure.status or (call.status if call.status >= 400 else 400)
        call.refuse(Refusal(status, "invalid_request_error", failure.message or "The upstream refused the request.",
                            code=failure.code or None), "refused")
        return
    call.foreign = failure if meaning == ELSEWHERE else None
    if call.left or not _may_go_on(call) or not gateway.retries.retry(now_us):
        _give_up(call)
        return
    send(call)


def _may_go_on(call: Any) -> bool:
    """Whether one more attempt is left: three for a model, and for each member that a composite model turns to."""
    if call.pin is None and len(call.tried) < routing.MAX_ATTEMPTS:
        return True
    return _next_member(call, call.served.slug)


async def _renew(call: Any, renew: Callable[[str], Awaitable[bool]], failure: Failure) -> None:
    """The credential has expired: once per call a newer one is asked for, and the same channel tried with that."""
    try:
        renewed = await renew(call.route.channel.credential)
        if call.done:
            return
        model = call.gateway.snapshots.current.models.get(call.served.slug)
        if not renewed or model is None:
            failed(call, CREDENTIAL, failure)
            return
        others = {route.channel.name for route in call.tried} - {call.route.channel.name}
        call.served = model
        call.routes = routing.routes_of(model, call.ask.wire, call.pin)
        call.tried = [route for route in call.routes if route.channel.name in others]
        send(call)
    except Refusal as refusal:
        call.refuse(refusal)
    except Exception:
        call.fault()


def _forget(call: Any, foreign: Failure) -> bool:
    """Nobody is left who can read what another channel made: once per call the request goes to one of them without
    it. False where that is not possible."""
    forget = call.wire.forget
    fields = forget(call.ask, foreign) if forget is not None and not (call.forgot or call.left) else None
    if fields is None:
        return False
    call.forgot, call.foreign = True, None
    call.ask = msgspec.structs.replace(call.ask, fields=fields)
    call.tried.clear()
    send(call)
    return True


def _give_up(call: Any) -> None:
    """No channel is left. Where the last one could not read what another had made, that is the answer."""
    gateway, foreign = call.gateway, call.foreign
    if foreign is not None:
        if not _forget(call, foreign):
            call.refuse(refuse("invalid_request", foreign.message, code=foreign.code or None))
        return
    if call.unsaid is not None and not (call.attempts or call.full_us):
        call.refuse(call.unsaid)
        return
    now_us = gateway.clock.mono_us()
    if routing.resting_long(gateway.health, call.served.slug, call.routes, now_us):
        wait_s = routing.soonest_s(gateway.health, call.served.slug, call.routes, now_us)
        call.refuse(refuse("rate_limit", f"The model '{call.model.slug}' is used up until its limit is reset.",
                           code="usage_limit_reached", retry_after_s=wait_s, should_retry=False), "failed")
        return
    wait_s = routing.soonest_s(gateway.health, call.served.slug, call.routes, gateway.clock.mono_us())
    if call.full_us:
        if not call.attempts:
            call.refuse(admission.channels_full(call.model.slug, call.full_us), "failed")
            return
        wait_s = min(wait_s, admission.wait_s(call.full_us))
    where = f"Channel '{call.pin}'" if call.pin is not None else "Every channel"
    call.refuse(refuse("upstream", f"{where} failed for the model '{call.model.slug}'.", code="upstream_failed",
                       retry_after_s=wait_s), "failed")
