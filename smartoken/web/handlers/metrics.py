"""GET /metrics: Prometheus figures over all workers of this node.

It tells models, channels and traffic, so it answers this machine only; a proxy on it is this machine, too, unless
`trusted_proxies` names it.
"""

import ipaddress

from prometheus_client import CONTENT_TYPE_LATEST

from smartoken.errors import refuse
from smartoken.web.app import ApiHandler


class MetricsHandler(ApiHandler):
    """Operators only."""

    def initialize(self, gateway) -> None:
        self.gateway = gateway

    async def get(self) -> None:
        if not ipaddress.ip_address(self.request.remote_ip or "0.0.0.0").is_loopback:
            raise refuse("permission", "Metrics are answered on this machine only.", code="local_only")
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(await self.gateway.metrics.page(self.gateway))


def routes(gateway) -> list:
    return [(r"/metrics", MetricsHandler, {"gateway": gateway})]
