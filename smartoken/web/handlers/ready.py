"""GET /readyz: 200 while this process takes paid requests, 503 with the reason while it does not.

A store that is away does not take a node out: calls go on from leases and keys in memory, and taking every node out at
once would turn a store's outage into everybody's.
"""

from smartoken.web.app import ApiHandler


class ReadyHandler(ApiHandler):
    """For load balancers."""

    def initialize(self, gateway) -> None:
        self.gateway = gateway

    def get(self) -> None:
        gateway = self.gateway
        reasons = [reason for reason, good in (("starting or draining", gateway.ready),
                                               ("the journal cannot be written", gateway.journal.healthy)) if not good]
        self.set_status(503 if reasons else 200)
        self.finish({"ready": not reasons, "reasons": reasons, "node": gateway.node})


def routes(gateway) -> list:
    return [(r"/readyz", ReadyHandler, {"gateway": gateway})]
