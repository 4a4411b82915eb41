"""The first page: what was sold, what went wrong, what wants attention."""

from smartoken.console.page import Page


class Overview(Page):
    """Of the last days."""

    key = "overview"
    permission = "usage.read"

    async def get(self) -> None:
        self.render("overview.html", title=self.locale.translate("Overview"))


def routes(gateway) -> list[tuple]:
    return [(r"/console/?", Overview, {"gateway": gateway})]
