"""Which member of a composite model answers, and who after it: a pure choice over what is known at this moment.

The router plugin is asked first; then every rule that holds, in order, then the last one, which always holds. Each
names candidates; the first of all is picked and the others stand behind it. Members that are not well go to the end: they are
asked only when nobody else is left, since our own judgement may be the fault.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smartoken.domain.catalog import Composite, Model, Rule, Snapshot
from smartoken.engine.health import HealthBook
from smartoken.engine.routing import routes_of
from smartoken.errors import Refusal
from smartoken.plugin.types import Ask, Look, Member

log = logging.getLogger("smartoken.composite")

SAMPLE_OUTPUT = 500      # tokens that an answer is taken to have where the client names no limit
SPEAKING = 4000          # characters of the last message that are looked at for its language

# name: blocks of Unicode in which it is written. Kana beside Han is Japanese; what is left is told by most letters.
SCRIPTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "ja": ((0x3040, 0x30FF), (0x31F0, 0x31FF)),
    "zh": ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2FA1F)),
    "ko": ((0xAC00, 0xD7AF), (0x1100, 0x11FF)),
    "ru": ((0x0400, 0x052F),),
    "ar": ((0x0600, 0x06FF), (0x0750, 0x077F)),
    "he": ((0x0590, 0x05FF),),
    "el": ((0x0370, 0x03FF),),
    "hi": ((0x0900, 0x097F),),
    "th": ((0x0E00, 0x0E7F),),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)),
}


class Pick(NamedTuple):
    """A member, and why it."""

    slug: str
    reason: str


def language_of(text: str) -> str:
    """The script that most letters of a text are in, a name of SCRIPTS; '' for one without letters."""
    counts = dict.fromkeys(SCRIPTS, 0)
    for sign in text[:SPEAKING]:
        code = ord(sign)
        for name, blocks in SCRIPTS.items():
            if any(low <= code <= high for low, high in blocks):
                counts[name] += 1
                break
    if counts["ja"]:
        return "ja" if counts["ja"] * 10 >= counts["zh"] else "zh"
    name = max(counts, key=counts.__getitem__)
    return name if counts[name] else ""


def line_up(composite: Composite, look: Look, tokens: int, members: Sequence[Member],
            routed: tuple[str, str] | None = None) -> list[Pick]:
    """Members in the order in which they are to be asked; each stands there once. `tokens` is the prompt's estimate,
    `routed` what a router plugin said."""
    by_slug = {member.slug: member for member in members}
    able = [member for member in members if not member.context_length or tokens < member.context_length]
    able = able or list(members)
    found: dict[str, str] = {}
    if routed is not None and routed[0] in by_slug:
        found[routed[0]] = routed[1] or "the router chose it"
    language = language_of(look.said) if any(rule.languages for rule in composite.rules) else ""
    text = look.text.lower() if any(rule.keywords for rule in composite.rules) else ""
    for rule in composite.rules:
        why = _holds(rule, look, tokens, language, text)
        if why is None:
            continue
        candidates = _ordered(rule, [member for member in able if not rule.pick or member.slug in rule.pick])
        for member in candidates:
            found.setdefault(member.slug, "; ".join(filter(None, (rule.reason or why, _by(rule, candidates)))))
    well = [Pick(slug, reason) for slug, reason in found.items() if by_slug[slug].healthy]
    unwell = [Pick(slug, reason) for slug, reason in found.items() if not by_slug[slug].healthy]
    if well and unwell and next(iter(found)) == unwell[0].slug:
        # Say why it is not the first choice.
        well[0] = Pick(well[0].slug, f"{unwell[0].slug} ({unwell[0].reason}) is not well; next: {well[0].reason}")
    return well + unwell


def look_at(wire: Any, ask: Ask) -> Look:
    """What rules are asked about, as far as the wire can tell."""
    return wire.look(ask) if wire.look is not None else Look()


def members_now(model: Model, ask: Ask, snapshot: Snapshot, health: HealthBook, now_us: int, tokens: int,
                pin: str | None) -> list[Member]:
    """The members that can be reached by the ask's wire (and the pinned channel), as they are now."""
    found = []
    for slug in model.composite.members:
        member = snapshot.models[slug]
        try:
            routes = routes_of(member, ask.wire, pin)
        except Refusal:
            continue
        seen = [(route, health.of(route, slug)) for route in routes]
        usable = [one for route, one in seen if not health.resting_us(route, one, now_us)
                  and not health.ejected(one, now_us)]
        timed = [one.first_us for one in usable if one.first_us]
        output = ask.max_output or min(SAMPLE_OUTPUT, member.max_output or SAMPLE_OUTPUT)
        cost_u = (tokens * member.price.input_u + output * member.price.output_u) // 1000
        found.append(Member(slug, bool(usable), cost_u,
                            min(timed, default=0) // 1000, member.context_length, member.price.output_u))
    return found


def routed(routers: Mapping[str, Any], composite: Composite, ask: Ask,
           members: Sequence[Member]) -> tuple[str, str] | None:
    """What the router plugin says; a failure of it is logged, and the rules decide."""
    if not composite.router:
        return None
    try:
        said = routers[composite.router](ask, members)
        if said is None:
            return None
        slug, reason = said
        if slug in {member.slug for member in members}:
            return slug, str(reason)[:200]
        log.warning("the router '%s' chose '%s', which is no member; the rules decide", composite.router, slug)
    except Exception:                      # a plugin's own code, and whatever it answers
        log.exception("the router '%s' failed; the rules decide", composite.router)
    return None


def _holds(rule: Rule, look: Look, tokens: int, language: str, text: str) -> str | None:
    """None when it does not hold, else what it found, for a rule without words of its own."""
    why = []
    if rule.tools is not None:
        if rule.tools != look.tools:
            return None
        why.append("tools" if look.tools else "no tools")
    if rule.images is not None:
        if rule.images != bool(look.images):
            return None
        why.append("images" if look.images else "no images")
    if rule.min_input or rule.max_input:
        if tokens < rule.min_input or (rule.max_input and tokens > rule.max_input):
            return None
        why.append("a long prompt" if rule.min_input else "a short prompt")
    if rule.languages:
        if language not in rule.languages:
            return None
        why.append(f"language {language}")
    if rule.keywords:
        word = next((word for word in rule.keywords if word in text), None)
        if word is None:
            return None
        why.append(f"the word '{word}'")
    return ", ".join(why)


def _ordered(rule: Rule, members: list[Member]) -> list[Member]:
    if rule.max_output_u is not None:
        members = [member for member in members if member.output_u <= rule.max_output_u]
    if rule.max_first_ms:
        members = [member for member in members if member.first_ms <= rule.max_first_ms]
    if rule.order == "cheapest":
        return sorted(members, key=lambda member: member.cost_u)
    if rule.order == "fastest":
        return sorted(members, key=lambda member: member.first_ms)
    if rule.pick:
        place = {slug: number for number, slug in enumerate(rule.pick)}
        return sorted(members, key=lambda member: place[member.slug])
    return members


def _by(rule: Rule, candidates: list[Member]) -> str:
    """How it was picked among several."""
    if len(candidates) < 2 or rule.order == "listed":
        return ""
    return f"the {rule.order} member that is well"
