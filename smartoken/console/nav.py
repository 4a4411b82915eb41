"""The menu: what stands in it, in which order, and which permission shows it."""

from typing import Any, NamedTuple


class Entry(NamedTuple):
    """`key` marks the page that is open; `icon` is a symbol of static/icons.svg. `needs`: a table of the registry; the
    entry is there while a plugin puts something into it."""

    key: str
    label: str
    url: str
    icon: str
    permission: str
    needs: str = ""


MENU: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    ("", (Entry("overview", "Overview", "/console", "home", "usage.read"),
          Entry("usage", "Usage", "/console/usage", "chart", "usage.read"))),
    ("Catalog", (Entry("models", "Models", "/console/models", "cube", "catalog.read"),
                 Entry("channels", "Channels", "/console/channels", "route", "catalog.read"),
                 Entry("oauth", "Signed-in accounts", "/console/oauth", "user", "catalog.read", "sign_ins"),
                 Entry("storefront", "Storefront", "/console/storefront", "image", "catalog.read"))),
    ("Customers", (Entry("accounts", "Accounts", "/console/accounts", "wallet", "accounts.read"),
                   Entry("keys", "Keys", "/console/keys", "key", "accounts.read"),
                   Entry("vouchers", "Vouchers", "/console/vouchers", "ticket", "money.read"))),
    ("Operation", (Entry("system", "System", "/console/system", "pulse", "system.read"),
                   Entry("plugins", "Plugins", "/console/plugins", "plug", "system.read"),
                   Entry("people", "People", "/console/people", "people", "people.write"),
                   Entry("audit", "Audit log", "/console/audit", "scroll", "audit.read"))),
)


def menu(registry: Any) -> list[tuple[str, list[Entry]]]:
    """What stands in it with these plugins."""
    return [(group, [entry for entry in entries if not entry.needs or getattr(registry, entry.needs)])
            for group, entries in MENU]
