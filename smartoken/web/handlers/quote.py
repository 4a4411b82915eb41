"""POST /v1/quote: what would this call hold and cost at most? Nothing is called, held or charged.

The body is that of the call itself; `?path=` says which call it is, /v1/chat/completions unless told otherwise. The
most it can cost is a token for each byte of the prompt and all the output it allows; what it will probably be is less.
What nobody knows before is null: the output where neither client nor model limits it, and how often a composite model
will run its tools and go on. With `max_cost_micro_usd` the cost is known all the same.
Pictures and films have one price that is known before: what `?quote=1` on their own paths tells, too.
"""

from typing import Any

from smartoken.domain.account import empty
from smartoken.domain.hold import burning_order
from smartoken.domain.money import P_PER_U, ceil_u
from smartoken.engine import admission, funds, generate, routing
from smartoken.errors import Refusal, StoreAway, refuse
from smartoken.web.app import ApiHandler
from smartoken.web.caller import caller_of
from smartoken.web.schema import COUNT, STRING, TEXT, WORK_QUOTE, answer, many, ours

CHAT = "/v1/chat/completions"
MAYBE = {"type": ["integer", "null"], "minimum": 0}
OPENAPI = {"/v1/quote": {"post": {
    "summary": "What a call would hold and cost at most", "tags": ["Money"], "errors": ("key", "quote", "model"),
    "description": "The body is that of the call itself. Nothing is called, held or charged. Pictures and films have one "
                   "price; a cloned voice's is told by its own path with `?quote=1`. What nobody knows before is null: the "
                   "most output where neither the body nor the model limits it, and all of a composite model that may run "
                   "tools; with `max_cost_micro_usd` the most it can cost is known all the same.",
    "parameters": [{"name": "path", "in": "query", "schema": {"type": "string", "minLength": 1},
                    "description": f"Which call it is, {CHAT} unless told otherwise."}],
    "requestBody": {"required": True, "content": {"application/json": {
        "schema": {"type": "object", "additionalProperties": True, "required": ["model"],
                   "properties": {"model": TEXT}, "title": "QuoteRequest", "description": "The body of the call."},
        "example": {"model": "{llm}", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]}}}},
    "responses": answer({"anyOf": [WORK_QUOTE, ours("Quote", {
        "object": {"const": "quote"}, "model": TEXT, "price": STRING, "input_tokens_at_most": MAYBE,
        "output_tokens_at_most": MAYBE, "cost_at_most_micro_usd": MAYBE, "hold_micro_usd": COUNT,
        "pockets": many(STRING), "usable_micro_usd": {"type": "integer"}, "output_tokens_affordable": COUNT,
        "affordable": {"type": "boolean"}})]}, "The quote; of a picture or film its price",
        {"object": "quote", "model": "deepseek-chat", "price": "deepseek-chat@1", "input_tokens_at_most": 120,
         "output_tokens_at_most": 100, "cost_at_most_micro_usd": 76, "hold_micro_usd": 76, "pockets": ["main"],
         "usable_micro_usd": 5_000_000, "output_tokens_affordable": 100, "affordable": True})}}}


class Quote(ApiHandler):
    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway

    async def post(self) -> None:
        gateway = self.gateway
        key, account = await caller_of(gateway, self.request)
        path = self.get_query_argument("path", CHAT)
        if path in gateway.registry.job_paths:
            wire, door = gateway.registry.job_paths[path]
            ask = door.peek(self.request.body, self.request.headers.get("Content-Type", ""))
            _, _, held_u = generate.offer(gateway, generate.Order(self.rid, key, account, wire.kind, wire.name, path, ask))
            self.send({"object": "quote", "model": ask.slug, "cost_micro_usd": held_u})
            return
        paths = gateway.registry.paths
        wire = paths.get(path) or next((paths[start] for start in paths if start.endswith("/") and path.startswith(start)),
                                       None)
        if wire is None:
            known = sorted({one.paths[0] for one in paths.values() if one.paths} | {*gateway.registry.job_paths})
            raise refuse("invalid_request", f"No quote can be made for the path '{path[:100]}'; 'path' is one of: "
                         f"{', '.join(known)}.", code="unknown_path", param="path")
        body = self.request.body
        ask = wire.peek(body) if wire.peek_at is None else wire.peek_at("POST", path, "", body)
        model = admission.model_for(gateway.snapshots.current, key, ask.slug)
        routing.routes_of(model, ask.wire, None)
        admission.take_cost_limit(ask)
        need = admission.need_of(model, ask)
        try:
            head = await gateway.ledger.head(account.id)
        except StoreAway:
            raise refuse("upstream", "The balance cannot be read at the moment.", code="store_away",
                         retry_after_s=2) from None
        state, floor_u = head.state if head else empty(), account.overdraft_u
        order = burning_order(state, model.slug, gateway.clock.now_ms())
        usable_p = funds.usable_u(state, order, floor_u, {}) * P_PER_U
        turns = wire.turns is not None and model.composite is not None and bool(model.composite.tools)
        most = None if turns else admission.most_of(model, ask, need)
        most_p = ask.max_cost_p if most is None else most.full_p
        soft_p, span = admission.ceiling_p(model, gateway.estimate(model.slug), ask), need.span(ask.choices)
        hold_p = funds.likely_hold_p(state, order, floor_u, soft_p, span)
        self.send({"object": "quote", "model": model.slug, "price": model.price.rev,
                   "input_tokens_at_most": most and most.prompt, "output_tokens_at_most": most and most.output,
                   "cost_at_most_micro_usd": ceil_u(most_p) if most or most_p else None,
                   "hold_micro_usd": ceil_u(min(hold_p, most_p) if most_p else hold_p),
                   "pockets": order, "usable_micro_usd": usable_p // P_PER_U,
                   "output_tokens_affordable": (most or need).output_for(usable_p),
                   "affordable": usable_p >= span.least_p})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(cause, Refusal):
            self.gateway.metrics.refusal("/v1/quote", cause.status)
        super().write_error(status_code, **kwargs)


def routes(gateway: Any) -> list:
    return [(r"/v1/quote", Quote, {"gateway": gateway})]
