"""May this key ask this of this model, and what must be set aside for it? Plain functions; the money comes after."""

import inspect
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from smartoken.domain.catalog import Account, Channel, Key, Model, Snapshot
from smartoken.domain.money import MAX_U, P_PER_U, ceil_u
from smartoken.engine.estimate import MOST_OUTPUT, Estimate
from smartoken.engine.funds import Span
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import Ask
from smartoken.ports import Limiter, Want

MAX_COST = "max_cost_micro_usd"
CHANNEL_BURST_S = 5


def model_for(snapshot: Snapshot, key: Key, slug: str) -> Model:
    """The model, if it exists and the key may use it."""
    model = snapshot.models.get(slug)
    if model is None:
        raise refuse("not_found", f"The model '{slug[:200]}' does not exist.", code="model_not_found", param="model")
    if key.models and slug not in key.models:
        raise refuse("permission", f"This key may not use the model '{slug}'.", code="model_not_allowed", param="model")
    return model


LEAST_OUTPUT = 16          # a poor account's call that could not even have so many tokens is refused
LINK_TOKENS = 4096         # what a picture or file that a body only points to may add to a prompt
LINKS = (b'"image_url"', b'"input_image"', b'"input_file"', b'"file_url"', b'"file_data"', b'"video_url"',
         b'"fileData"', b'"type":"image"', b'"type": "image"')


class Need(NamedTuple):
    """What a call can use at most. `prompt`: tokens of its prompt, `prompt_p` their pUSD; `output`: tokens of output,
    `token_u`: pUSD of one. True as long as the upstream keeps to the limit of output that it is told."""

    prompt: int
    prompt_p: int
    output: int
    token_u: int

    @property
    def full_p(self) -> int:
        """pUSD that it can cost at most."""
        return self.prompt_p + self.output * self.token_u

    def span(self, choices: int) -> Span:
        """What a poor account's call may hold."""
        return Span(self.prompt_p + min(self.output, LEAST_OUTPUT * choices) * self.token_u, self.full_p)

    def output_for(self, amount_p: int) -> int:
        """Tokens of output that an amount pays for, the prompt first."""
        return self.output if not self.token_u else min(self.output, max(0, amount_p - self.prompt_p) // self.token_u)


def need_of(model: Model, ask: Ask) -> Need:
    """The Need of a call. Refusal 400 when its own `max_cost_micro_usd` does not pay for a token of output."""
    if ask.free:
        return Need(0, 0, 0, 0)
    price, most = model.price, output_at_most(model, ask)
    prompt = prompt_at_most(model, ask)
    prompt_p = prompt * max(price.input_u, price.cache_write_u, price.cache_read_u) + spoken_p(model, ask)
    need = Need(prompt, prompt_p, most, price.output_u)
    if not ask.max_cost_p or need.full_p <= ask.max_cost_p:
        return need
    output = need.output_for(ask.max_cost_p)
    if output < ask.choices or need.prompt_p > ask.max_cost_p:      # the second where output is free: speech and the like
        least_u = ceil_u(need.prompt_p + ask.choices * need.token_u)
        what = "this prompt and one token of output" if need.token_u else "this"
        raise cost_too_low(ask, f"{what} may cost {least_u}")
    return need._replace(output=output)


def cost_too_low(ask: Ask, price: str) -> Refusal:
    """The refusal of a call that its own `max_cost_micro_usd` does not pay for; `price` ends with the µUSD."""
    return refuse("invalid_request", f"'{MAX_COST}' is {ask.max_cost_p // P_PER_U}, but {price} µUSD.",
                  code="max_cost_too_low", param=MAX_COST)


def output_at_most(model: Model, ask: Ask) -> int:
    """Tokens that all choices may write: as the client or the model limits them, else MOST_OUTPUT each. The last is no
    limit of an account with money enough: nothing tells its upstream to stop there."""
    most = ask.max_output or (model.max_output or MOST_OUTPUT) * ask.choices
    return min(most, model.max_output * ask.choices) if model.max_output else most


def most_of(model: Model, ask: Ask, need: Need) -> Need | None:
    """What a rich account's call can use at most, for those who ask before: where nobody limits its output, as much as
    the model reads and writes at once. None when the model does not list that either."""
    if ask.free or ask.max_cost_p or ask.max_output is not None or model.max_output:
        return need
    return need._replace(output=model.context_length * ask.choices) if model.context_length else None


def ceiling_p(model: Model, estimate: Estimate, ask: Ask) -> int:
    """pUSD that a rich account sets aside: the prompt as large as it may be, the output as long as it is likely or
    allowed to get."""
    if ask.free:
        return 0
    price = model.price
    output = estimate.output(model.max_output) if ask.max_output is None else ask.max_output
    if model.max_output:
        output = min(output, model.max_output * ask.choices)
    held_p = (estimate.input_at_most(len(ask.body)) * max(price.input_u, price.cache_write_u)
              + output * price.output_u + spoken_p(model, ask))
    return min(held_p, ask.max_cost_p) if ask.max_cost_p else held_p


def spoken_p(model: Model, ask: Ask) -> int:
    """pUSD of text to be spoken and of recordings sent in: known before the call."""
    price = model.price
    return ask.characters * price.characters_u + ask.audio_ms * price.audio_second_u * (P_PER_U // 1000)


def prompt_at_most(model: Model, ask: Ask) -> int:
    """Tokens that a prompt can have: one a byte (true for every tokenizer that works on bytes), more for what the body
    only points to, never more than the model reads at once."""
    tokens = len(ask.body) + 8 + LINK_TOKENS * sum(ask.body.count(link) for link in LINKS)
    if ask.follows:
        tokens = max(tokens, model.context_length)
    return min(tokens, model.context_length) if model.context_length else tokens


def take_cost_limit(ask: Ask) -> None:
    """Move the client's `max_cost_micro_usd` out of the body, for it is ours, into `ask.max_cost_p`. Refusal 400."""
    given = ask.fields.pop(MAX_COST, None)
    if given is None or bytes(given) == b"null":
        return
    try:
        limit_u = msgspec.json.decode(given, type=int)
    except msgspec.DecodeError:
        limit_u = 0
    if not 1 <= limit_u <= MAX_U:
        raise refuse("invalid_request", f"'{MAX_COST}' must be a whole number of µUSD from 1 to {MAX_U}.",
                     code="invalid_value", param=MAX_COST)
    ask.max_cost_p = limit_u * P_PER_U


def wants_of(key: Key, account: Account, model: Model, tokens: int) -> tuple[Want, ...]:
    """The limits that a request takes from. A model's RPM and TPM hold for each account by itself."""
    if not (key.rpm or key.tpm or account.rpm or account.tpm or model.rpm or model.tpm):
        return ()
    wants = []
    for name, rpm, tpm in ((f"key:{key.kid}", key.rpm, key.tpm), (f"acct:{account.id}", account.rpm, account.tpm),
                           (f"acct:{account.id}:{model.slug}", model.rpm, model.tpm)):
        if rpm:
            wants.append(Want(f"{name}:rpm", rpm, 1))
        if tpm:
            if tokens > tpm:
                raise refuse("invalid_request", f"This request may use {tokens} tokens, more than the limit of {tpm} "
                             "tokens a minute; ask for less output or send less input.", code="request_too_large")
            wants.append(Want(f"{name}:tpm", tpm, tokens))
    return tuple(wants)


def channel_wants(channel: Channel, tokens: int) -> tuple[Want, ...]:
    """What a call takes of a channel's own limits: a few seconds' worth at once. A call larger than that takes all of
    it; the rest is booked when its usage is known, so the long run is exact."""
    wants = []
    if channel.rpm:
        wants.append(Want(f"channel:{channel.name}:rpm", channel.rpm, 1, max(CHANNEL_BURST_S, -(-60 // channel.rpm))))
    if channel.tpm:
        burst_s = max(CHANNEL_BURST_S, -(-60 // channel.tpm))
        wants.append(Want(f"channel:{channel.name}:tpm", channel.tpm, min(tokens, channel.tpm * burst_s // 60), burst_s))
    return tuple(wants)


def take_request(limiter: Limiter, channel: Channel) -> int:
    """Take a request of a channel's own limit, for work that is not counted in tokens; microseconds until there is one
    to take, 0 when it was taken."""
    wants = [want for want in channel_wants(channel, 0) if want.cost] if channel.rpm else ()
    refused = limiter.take(wants) if wants else None
    return refused[1] if refused is not None else 0


def channels_full(slug: str, wait_us: int) -> Refusal:
    """What a call is told when no channel of its model has room; `wait_us` is that of the first to have some again."""
    return refuse("upstream", f"Every channel for the model '{slug}' is at its limit.", code="channels_full",
                  retry_after_s=wait_s(wait_us))


def wait_s(wait_us: int) -> int:
    """A wait as Retry-After says it: rounded up, a second at least."""
    return max(1, -(-wait_us // 1_000_000))


def give_back(limiter: Limiter, wants: Sequence[Want], tokens: int = 0) -> None:
    """What was really used of the token limits; requests are not given back."""
    for want in wants:
        if want.key.endswith(":tpm"):
            limiter.correct(want, tokens)


def take(limiter: Limiter, wants: Sequence[Want]) -> None:
    """Take all limits at once, or refuse with the wait of the one that is full."""
    refused = limiter.take(wants)
    if refused is not None:
        raise limit_of(*refused)


def limit_of(want: Want, wait_us: int) -> Refusal:
    """The 429 of a want that has to wait."""
    what = "tokens" if want.key.endswith(":tpm") else "requests"
    seconds = wait_s(wait_us)
    return refuse("rate_limit", f"The limit of {want.limit} {what} a minute is reached; try again in {seconds} s.",
                  code=f"{what}_per_minute", retry_after_s=seconds)


def limit_headers(limiter: Limiter, wants: Sequence[Want]) -> bytes:
    """`x-ratelimit-*` lines of the tightest limits, ready to send."""
    lines = b""
    for kind, what in ((":rpm", b"requests"), (":tpm", b"tokens")):
        mine = [want for want in wants if want.key.endswith(kind)]
        if not mine:
            continue
        left, want = min(((limiter.left(want), want) for want in mine), key=lambda pair: pair[0][0])
        lines += b"x-ratelimit-limit-%s: %d\r\nx-ratelimit-remaining-%s: %d\r\nx-ratelimit-reset-%s: %ds\r\n" % (
            what, want.limit, what, left[0], what, -(-left[1] // 1_000_000))
    return lines


def run_gates(gates, key: Key, ask: Ask) -> None:
    """Policies of plugins, in order; the first refusal counts. TypeError, a fault of ours to the client, when one
    gives anything else than None: a gate that cannot be understood lets nobody in."""
    for gate in gates:
        refusal = gate(key, ask)
        if isinstance(refusal, Refusal):
            raise refusal
        if refusal is not None:
            name, given = getattr(gate, "__qualname__", gate), type(refusal).__name__
            if inspect.iscoroutine(refusal):   # nobody awaits it
                refusal.close()
            raise TypeError(f"the gate '{name}' gave {given}, where None or a Refusal belongs")
