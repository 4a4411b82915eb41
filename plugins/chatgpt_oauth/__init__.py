"""An operator's own ChatGPT account as a channel: provider `chatgpt`, credential "oauth:<id>". Off unless named.

The backend is not a documented API and the account's terms are OpenAI's: see issuer.CHATGPT.terms, which every set-up
shows.
We call ourselves smartoken there, keep its limits, and do not pool accounts around them. The backend only streams,
stores nothing and refuses some fields: the quirks say so, and the wire openai.responses acts on them.
"""

import logging
import socket
from dataclasses import replace

from smartoken_plugins.chatgpt_oauth.accounts import Accounts, sign_in_of
from smartoken_plugins.chatgpt_oauth.commands import register
from smartoken_plugins.chatgpt_oauth.issuer import CHATGPT, Issuer
from smartoken_plugins.chatgpt_oauth.keeper import Keeper
from smartoken_plugins.chatgpt_oauth.vault import Vault

from smartoken.plugin import (
    BROKE,
    CALLER,
    COOL,
    ELSEWHERE,
    MISSING,
    RETRY,
    ConfigError,
    PluginConf,
    Provider,
    StoreAway,
    hookimpl,
)

log = logging.getLogger("smartoken.oauth")

PROVIDER, PREFIX = "chatgpt", "oauth:"
QUIRKS = {
    "stream_only": True,
    "developer_role": True,
    "set": {"store": False},
    "default": {"instructions": ""},
    "drop": ["max_output_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty",
             "presence_penalty", "prompt_cache_retention", "user", "safety_identifier", "metadata", "stream_options",
             "truncation", "background"],
}
# not_json is what a page of the guard in front of the host reads as: no word about our credential.
ERRORS = {"usage_limit_reached": COOL, "usage_not_included": BROKE, "rate_limit_exceeded": COOL,
          "server_is_overloaded": COOL, "slow_down": COOL, "service_unavailable_error": COOL,
          "invalid_encrypted_content": ELSEWHERE, "context_length_exceeded": CALLER, "cyber_policy": CALLER,
          "model_not_found": MISSING, "not_json": RETRY}


class Conf(PluginConf):
    """Only tests and mirrors need other than these."""

    issuer: str = CHATGPT.url
    base_url: str = "https://chatgpt.com/backend-api/codex"


conf = Conf()
_keeper: Keeper | None = None
_accounts: Accounts | None = None


def issuer() -> Issuer:
    """ChatGPT's issuer, where the configuration says it is."""
    return replace(CHATGPT, url=conf.issuer.rstrip("/"))


def headers_of(credential: str) -> tuple[tuple[str, str], ...]:
    """The account's id and its access token, out of what vault.credential_of put together."""
    _, account, access = credential.split(" ")
    named = () if account == "-" else (("ChatGPT-Account-Id", account),)
    return (("Authorization", f"Bearer {access}"), *named)


async def renew(credential: str) -> bool:
    """See Provider.renew."""
    return _keeper is not None and await _keeper.renew(credential)


def heard(credential: str, headers) -> None:
    """See Provider.heard."""
    if _keeper is not None:
        _keeper.heard(credential, headers)


def opened() -> Accounts:
    """Of this process, once it is open."""
    if _accounts is None:
        raise ConfigError("oauth accounts are opened by a serving process only")
    return _accounts


@hookimpl
def smartoken_sign_ins():
    return [sign_in_of(issuer, opened, PROVIDER, PREFIX)]


@hookimpl
def smartoken_providers():
    return [Provider(PROVIDER, title="ChatGPT account (own, OAuth)", base_url=lambda: conf.base_url, auth=headers_of,
                     headers=(("originator", "smartoken"),), speaks={"openai.responses": "/responses"},
                     errors=ERRORS, quirks=QUIRKS, renew=renew, heard=heard,
                     session_header="session-id")]


@hookimpl
def smartoken_secret(ref):
    if not ref.startswith(PREFIX):
        return None
    if _keeper is None:
        raise ConfigError("oauth accounts are opened by a serving process only")
    return _keeper.credential(ref.removeprefix(PREFIX))


@hookimpl
def smartoken_commands(cli, books):
    register(cli, books, issuer)


@hookimpl
async def smartoken_open(gateway):
    global _keeper, _accounts

    async def changed() -> None:
        try:
            await gateway.snapshots.refresh()
        except StoreAway as away:      # the catalog's own following tries again
            log.warning("the catalog waits for the store with its newer credential: %s", away)

    vault = Vault(gateway.store, gateway.sealer, gateway.conf.data_folder / "oauth", socket.gethostname())
    _keeper = Keeper(vault, {"chatgpt": issuer()}, changed)
    await _keeper.open()
    _accounts = Accounts(vault, gateway.store, gateway.sealer, _keeper.look)


@hookimpl
async def smartoken_close(gateway):
    global _keeper, _accounts
    keeper, _keeper, _accounts = _keeper, None, None
    if keeper is not None:
        await keeper.close()
