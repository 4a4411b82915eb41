"""How a plugin reaches out of its own accord: by the guard that keeps requests out of our own network.

Imported when it is called: most plugins never do, and the command line should not wait for it.
"""

from typing import Any


def check_url(url: str, allow_http: bool = False, allow_private: bool = False) -> Any:
    """The URL (a yarl.URL), or upstream.guard.Blocked (an OSError): only https, no private address, no odd spelling."""
    from smartoken.upstream import guard

    return guard.check_url(url, allow_http, allow_private)


def guarded_session(allow_private: bool = False, timeout_s: float = 10.0) -> Any:
    """An aiohttp.ClientSession whose every connection is checked; call check_url on each URL first, and follow no
    redirect unchecked."""
    from smartoken.upstream import guard

    return guard.guarded_session(allow_private, timeout_s)
