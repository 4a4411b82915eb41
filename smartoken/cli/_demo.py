"""What `smartoken serve --demo` makes before the workers start: a catalog, an account with some money, a key.

Made once and kept: a later start finds them, adds only what is missing and changes nothing that an operator changed.
"""

import asyncio
import os
import secrets
from importlib.resources import files
from pathlib import Path

from smartoken.adapters.clock import SystemClock
from smartoken.cli._books import Books, opened
from smartoken.conf import Conf
from smartoken.domain.money import usd_to_u
from smartoken.engine import catalogfile
from smartoken.engine.issue import create_account, issue_key
from smartoken.engine.keytext import digest_of
from smartoken.engine.ledger import Ledger
from smartoken.engine.people import first_run_token
from smartoken.errors import ConfigError
from smartoken.plugin import loader

ACCOUNT = "demo"
FILE = "demo.env"
SANDBOX = "sandbox"


def prepare(conf: Conf) -> dict[str, str]:
    """Make or find the demo and write <data>/demo.env (mode 0600); its lines: BASE_URL, API_KEY, ADMIN_URL, MODEL."""
    if SANDBOX not in (plugin.name for plugin in loader.choose(conf, loader.available(conf.plugins.paths))):
        raise ConfigError(f"{conf.file}: 'plugins.enabled': the demo needs the plugin '{SANDBOX}'; add it, or serve "
                          "without --demo")
    file = conf.data_folder / FILE
    made = asyncio.run(_make(conf, _read(file)))
    _write(file, made)
    return made


async def _make(conf: Conf, known: dict[str, str]) -> dict[str, str]:
    async with opened(conf) as books:
        wanted = catalogfile.read((files("smartoken_conf") / "catalog.toml").read_text("utf-8"), "conf/catalog.toml")
        differences = await catalogfile.compare(books.catalog, wanted)
        await catalogfile.apply(books.catalog, [one for one in differences if one.action == catalogfile.ADD])
        if await books.catalog.get("accounts", ACCOUNT) is None:
            await create_account(books.catalog, "Demo", id=ACCOUNT)
        ledger = Ledger(books.store, "cli", SystemClock())
        await ledger.topup(ACCOUNT, usd_to_u(conf.demo.credit_usd), "topup:demo", "demo credit")
        first = await first_run_token(books.store, conf.data_folder)
        return {"BASE_URL": f"{conf.base_url}/v1", "API_KEY": await _key(books, known.get("API_KEY", "")),
                "ADMIN_URL": f"{conf.admin_url}/welcome?token={first}" if first else conf.admin_url, "MODEL": wanted["models"][0].slug}


async def _key(books: Books, known: str) -> str:
    """The key of an earlier start while it still opens the door, else a new one."""
    pepper = await books.pepper()
    stored = await books.catalog.get("keys", digest_of(pepper, known.encode()).hex()) if known else None
    if stored is not None and stored["active"]:
        return known
    text, _ = await issue_key(books.catalog, pepper, ACCOUNT, name="demo")
    return text


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    rows = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {name: value for name, equals, value in rows if equals}


def _write(file: Path, made: dict[str, str]) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.writelines(f"{name}={value}\n" for name, value in made.items())
    os.replace(draft, file)
