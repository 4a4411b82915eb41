"""The server-side tool `search`: asks a search engine of your choice and gives the model titles, links and snippets.

In conf/smartoken.toml:

    [plugins.search]
    url = "https://searx.example.com/search"    # "" (the default): there is no such tool
    kind = "searxng"                            # searxng, tavily or bing: how it is asked, and how it answers
    key = "env:SEARCH_KEY"                      # where its key is, if it wants one
    results = 5
    timeout_s = 10
    allow_private = false                       # true: it may be on a private address, or speak plain http

Every connection goes through the guard against requests into our own network, redirects are not followed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, field_validator

from smartoken.plugin import Flag, PluginConf, Tool, Whole, check_url, guarded_session, hookimpl, resolve_secret

ANSWER_MAX = 1 << 20     # bytes of an engine's answer
SNIPPET_MAX = 600        # characters of one result
QUERY_MAX = 400
PARAMETERS = {"type": "object", "required": ["query"], "additionalProperties": False,
              "properties": {"query": {"type": "string", "description": "What to look for, in a few words."}}}


@dataclass(frozen=True, slots=True)
class Kind:
    """One manner of search engine. ask(query, results, key) -> (method, query parameters, headers, JSON body)."""

    ask: Callable[[str, int, str], tuple[str, dict[str, str], dict[str, str], Any]]
    rows: Callable[[Mapping[str, Any]], list[Any]]
    fields: tuple[str, str, str]       # of a row: title, link, snippet


KINDS = {
    "searxng": Kind(lambda query, results, key: ("GET", {"q": query, "format": "json"},
                                                 {"Authorization": f"Bearer {key}"} if key else {}, None),
                    lambda found: found.get("results") or [], ("title", "url", "content")),
    "tavily": Kind(lambda query, results, key: ("POST", {}, {"Authorization": f"Bearer {key}"},
                                                {"query": query, "max_results": results}),
                   lambda found: found.get("results") or [], ("title", "url", "content")),
    "bing": Kind(lambda query, results, key: ("GET", {"q": query, "count": str(results)},
                                              {"Ocp-Apim-Subscription-Key": key}, None),
                 lambda found: (found.get("webPages") or {}).get("value") or [], ("name", "url", "snippet")),
}


class Conf(PluginConf):
    """See the module."""

    url: str = ""
    kind: Literal["searxng", "tavily", "bing"] = "searxng"
    key: str = ""
    results: Annotated[Whole, Field(ge=1, le=20)] = 5
    timeout_s: Annotated[Whole, Field(ge=1, le=60)] = 10
    allow_private: Flag = False

    @field_validator("url")
    @classmethod
    def _whole(cls, url: str) -> str:
        if url and not (url.startswith(("https://", "http://")) and urlsplit(url).hostname):
            raise ValueError("write the engine's URL, such as https://searx.example.com/search")
        return url


conf = Conf()


async def search(arguments: Mapping[str, Any]) -> str:
    """The results as a JSON array of {title, url, snippet}. ValueError where nothing can be looked for."""
    query = arguments.get("query")
    if not isinstance(query, str) or not query.strip():
        raise ValueError("'query' must be a text")
    kind = KINDS[conf.kind]
    method, params, headers, body = kind.ask(query.strip()[:QUERY_MAX], conf.results,
                                             resolve_secret(conf.key) if conf.key else "")
    url = check_url(conf.url, allow_http=conf.allow_private, allow_private=conf.allow_private)
    async with guarded_session(conf.allow_private, conf.timeout_s) as session, \
            session.request(method, url.update_query(params), headers=headers, json=body,
                            allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"the search engine answered with status {answer.status}")
        data = b""
        async for piece in answer.content.iter_chunked(65_536):
            data += piece
            if len(data) > ANSWER_MAX:
                raise ValueError("the search engine's answer is too long")
    return msgspec.json.encode(results_in(data, kind, conf.results)).decode()


def results_in(data: bytes, kind: Kind, most: int) -> list[dict[str, str]]:
    """The first results of an engine's answer. ValueError when it is none."""
    found = msgspec.json.decode(data)
    rows = kind.rows(found) if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise ValueError("the search engine's answer has no list of results")
    names = dict(zip(("title", "url", "snippet"), kind.fields, strict=True))
    return [{name: str(row.get(field) or "")[:SNIPPET_MAX] for name, field in names.items()}
            for row in rows[:most] if isinstance(row, dict)]


@hookimpl
def smartoken_tools():
    if not conf.url:
        return []
    return [Tool("search", "Search the web. Use it for whatever is recent or that you are not sure of.", PARAMETERS,
                 search)]
