"""May this key ask this of this model, and what must be set aside for it? Plain functions; the money comes after."""

from typing import Sequence

from smartoken.domain.catalog import Account, Key, Model, Snapshot
from smartoken.domain.money import P_PER_U
from smartoken.engine.estimate import Estimate
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import Ask
from smartoken.ports import Limiter, Want


def model_for(snapshot: Snapshot, key: Key, slug: str) -> Model:
    """The model, if it exists and the key may use it."""
    model = snapshot.models.get(slug)
    if model is None:
        raise refuse("not_found", f"The model '{slug[:200]}' does not exist.", code="model_not_found", param="model")
    if key.models and slug not in key.models:
        raise refuse("permission", f"This key may not use the model '{slug}'.", code="model_not_allowed", param="model")
    return model


def ceiling_p(model: Model, estimate: Estimate, ask: Ask) -> int:
    """pUSD to hold: the prompt as large as it may be, the output as long as it is likely or allowed to get."""
    if ask.free:
        return 0
    price = model.price
    dearest_input_u = max(price.input_u, price.cache_write_u)
    output = estimate.output(model.max_output) if ask.max_output is None else ask.max_output
    if model.max_output:
        output = min(output, model.max_output)
    return (estimate.input_at_most(len(ask.body)) * dearest_input_u + output * price.output_u
            + ask.characters * price.characters_u + ask.audio_ms * price.audio_second_u * (P_PER_U // 1000))


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


def take(limiter: Limiter, wants: Sequence[Want]) -> None:
    """Take all limits at once, or refuse with the wait of the one that is full."""
    refused = limiter.take(wants)
    if refused is None:
        return
    want, wait_us = refused
    what = "requests" if want.key.endswith(":rpm") else "tokens"
    wait_s = max(1, -(-wait_us // 1_000_000))
    raise refuse("rate_limit", f"The limit of {want.limit} {what} a minute is reached; try again in {wait_s} s.",
                 code=f"{what}_per_minute", retry_after_s=wait_s)


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
    """Policies of plugins, in order; the first refusal counts."""
    for gate in gates:
        refusal = gate(key, ask)
        if isinstance(refusal, Refusal):
            raise refusal
