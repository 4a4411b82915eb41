"""Every other address below /console: says that nothing is there. The last row, after the plugins' pages."""

from smartoken.console.page import Page
from smartoken.errors import refuse


class Nothing(Page):
    """For whoever is signed in; others are sent to the sign-in."""

    async def get(self) -> None:
        raise refuse("not_found", "There is nothing at this path.", code="unknown_route")


def routes(gateway) -> list[tuple]:
    return [(r"/console/.*", Nothing, {"gateway": gateway})]
