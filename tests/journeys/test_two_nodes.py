"""Two nodes of two workers each on one MongoDB and one Redis: one set of books, one limit, one revocation."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.harness import Gateway, channel, model, until

BODY = {"model": "acme/chat", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 8}
LIMIT = 120                # a minute: a burst of so many, then two a second
REVOKED_S = 3              # the promise of the contract; the rest is for a slow machine to ask 8 times


def test_two_nodes(tmp_path, mongo_url, redis_url, upstream_process):
    nodes = [Gateway(tmp_path, workers=2, node=name, store=mongo_url, conf=f'[limiter]\nurl = "{redis_url}"\n')
             for name in ("one", "two")]
    one, two = nodes
    one.apply(model("acme/chat"), channel("acme", upstream_process.at("two-nodes"), {"acme/chat": "up"}))
    free, few = one.client("Free"), one.client("Few", "10", "--rpm", str(LIMIT))
    try:
        for node in nodes:
            node.start()
            until(node.all_ready, "every worker")
        with ThreadPoolExecutor(8) as crowd:
            # Two nodes and two workers on each: a burst is shared by all four.
            started = time.monotonic()
            answers = Counter(crowd.map(lambda n: nodes[n % 2].post("/v1/chat/completions", BODY, few.key)[0],
                                        range(3 * LIMIT)))
            allowed = LIMIT + LIMIT * (time.monotonic() - started) / 60 + 1
            assert set(answers) == {200, 429} and LIMIT // 4 < answers[200] <= allowed, (answers, allowed)

            spent = Counter(crowd.map(lambda n: nodes[n % 2].post("/v1/chat/completions", BODY, free.key)[0],
                                      range(80)))
            assert spent == {200: 80}

        two.run("key", "revoke", free.kid)
        revoked = time.monotonic()
        while time.monotonic() - revoked < REVOKED_S:
            time.sleep(0.1)
        late = Counter(node.post("/v1/chat/completions", BODY, free.key)[0] for node in nodes for _ in range(8))
        assert late == {401: 16}

        for node in nodes:
            until(lambda node=node: node.metric("smartoken_calls_inflight") == 0, "the end of all calls")
            node.stop()
        code, page = one.reconcile()
        assert code == 0, page
        shown = {client: one.account(client) for client in (free, few)}
        assert shown == {client: two.account(client) for client in (free, few)}
    finally:
        for node in nodes:
            node.close()
