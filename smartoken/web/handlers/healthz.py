"""GET /healthz: the process is alive and its loop turns. It asks nobody else, so that a sick store kills no node."""

from smartoken.web.app import ApiHandler


class Healthz(ApiHandler):
    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.send({"status": "ok"})


def routes(gateway) -> list:
    return [(r"/healthz", Healthz)]
