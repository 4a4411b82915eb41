"""A provider's own account of what we used, held against ours: R4.

The provider's export is brought into a CSV file with a header and these columns, in any order:

| column  | meaning                                                                                                     |
|---------|-------------------------------------------------------------------------------------------------------------|
| channel | the name of the channel                                                                                     |
| model   | as the provider calls it (the upstream name in the channel's `models`); * is all of the channel together    |
| input   | prompt tokens: all of them, or without the cache's when there is the next column                            |
| output  | tokens written                                                                                              |
| cache   | optional: prompt tokens read from and written to the provider's cache                                       |

Lines of one channel and model are added up. Our records name the slug a client asked for: it stands for the upstream
name that the channel maps it to today. What a composite model asked its members for is recorded under its own slug, and
tokens of attempts that gave no answer are recorded nowhere; who has many of either compares by *.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from smartoken.engine.export import rows
from smartoken.engine.finding import Page
from smartoken.errors import ConfigError
from smartoken.ports import Store
from smartoken.strict import nearest

ALL = "*"
NEEDED, OPTIONAL = ("channel", "model", "input", "output"), ("cache",)
ALARM_PERMILLE = 5             # a difference of more than 0.5 % of what the provider says
DIGITS = 18

Tokens = dict[str, int]        # by "input", "output" and perhaps "cache"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a file says of requests that began in [since_ms, until_ms): {(channel, model): tokens}. `lines` are where
    each channel is first named; `cached`: the cache's tokens are told apart."""

    file: str
    since_ms: int
    until_ms: int
    tokens: Mapping[tuple[str, str], Tokens]
    lines: Mapping[str, int]
    cached: bool


def parse(text: Iterable[str], file: str, since_ms: int, until_ms: int) -> Statement:
    """The lines of a file as a Statement. ConfigError names file, line and column."""
    table = csv.reader(text, strict=True)
    try:
        names = [name.strip() for name in next(table, [])]
        _check_names(names, file)
        counted = [name for name in names if name not in ("channel", "model")]
        tokens: dict[tuple[str, str], Tokens] = {}
        lines: dict[str, int] = {}
        for fields in table:
            where = f"{file}: line {table.line_num}"
            if not fields:
                continue
            if len(fields) != len(names):
                raise ConfigError(f"{where}: {len(fields)} fields, but the header names {len(names)} columns")
            row = {name: value.strip() for name, value in zip(names, fields, strict=True)}
            for name in ("channel", "model"):
                if not row[name]:
                    raise ConfigError(f"{where}, column {name}: it is empty")
            lines.setdefault(row["channel"], table.line_num)
            sums = tokens.setdefault((row["channel"], row["model"]), dict.fromkeys(counted, 0))
            for name in counted:
                sums[name] += _count(row[name], f"{where}, column {name}")
    except csv.Error as error:
        raise ConfigError(f"{file}: line {table.line_num}: this is no CSV ({error})") from None
    if not tokens:
        raise ConfigError(f"{file}: there are no lines below the header")
    for channel, model in tokens:
        if model == ALL and sum(name == channel for name, _ in tokens) > 1:
            raise ConfigError(f"{file}: line {lines[channel]}: channel '{channel}' has lines of {ALL} and of single "
                              "models; write one or the other")
    return Statement(file, since_ms, until_ms, tokens, lines, "cache" in counted)


def _check_names(names: list[str], file: str) -> None:
    for name in names:
        if name not in NEEDED + OPTIONAL:
            raise ConfigError(f"{file}: line 1: there is no column {name!r}{nearest(name, NEEDED + OPTIONAL)}")
        if names.count(name) > 1:
            raise ConfigError(f"{file}: line 1: column {name} is there twice")
    for name in NEEDED:
        if name not in names:
            raise ConfigError(f"{file}: line 1: column {name} is missing; the header names {', '.join(NEEDED)} and "
                              f"perhaps {', '.join(OPTIONAL)}")


def _count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise ConfigError(f"{where}: {text!r} is no number of tokens; write digits only, like 1200000")
    return int(text)


async def compare(store: Store, statement: Statement, page: Page) -> None:
    """R4, into the page: only channels that the statement names. StoreAway; ConfigError when it names one that is
    neither in the catalog nor in our records of its time."""
    ours: dict[tuple[str, str], Tokens] = {}
    upstream_names: dict[str, Mapping[str, str]] = {}
    for channel in statement.lines:
        doc = await store.get("channels", channel)
        if doc is not None:
            upstream_names[channel] = doc.get("models") or {}
    async for row in rows(store, "", statement.since_ms, statement.until_ms):
        if row.channel not in statement.lines:
            continue
        usage = row.usage
        cache = usage.cache_read + usage.cache_write
        told = {"input": usage.input, "output": usage.output, "cache": cache} if statement.cached else \
            {"input": usage.input + cache, "output": usage.output}
        model = upstream_names.get(row.channel, {}).get(row.model, row.model)
        if (row.channel, ALL) in statement.tokens:
            model = ALL
        sums = ours.setdefault((row.channel, model), dict.fromkeys(told, 0))
        for name, count in told.items():
            sums[name] += count
    for channel, line in statement.lines.items():
        if channel not in upstream_names and not any(name == channel for name, _ in ours):
            raise ConfigError(f"{statement.file}: line {line}, column channel: there is no channel '{channel}', and "
                              "no record names it")
    for channel, model in sorted({*statement.tokens, *ours}):
        theirs, own = statement.tokens.get((channel, model), {}), ours.get((channel, model), {})
        for name in {**theirs, **own}:
            _one(f"{channel} {model}", name, theirs.get(name, 0), own.get(name, 0), page)


def _one(where: str, name: str, theirs: int, ours: int, page: Page) -> None:
    text = f"{name}: the provider says {theirs} tokens, our records {ours}"
    if abs(ours - theirs) * 1000 > ALARM_PERMILLE * theirs:
        page.differs("R4", where, f"{text}: {_percent(ours - theirs, theirs)}")
    elif theirs:
        page.tell("R4", where, f"{text}: {_percent(ours - theirs, theirs)}")


def _percent(difference: int, whole: int) -> str:
    return f"{100 * difference / whole:+.2f} %" if whole else "it has none of these"
