"""Our own copy of what an upstream made: fetched as a stream behind the SSRF guard, capped, told by its first bytes.

A link on the channel's own host is as trustworthy as the channel (a private vLLM may hand out private links); any other
must be public, and http is asked for as https.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession
from yarl import URL

from smartoken.domain import job as states
from smartoken.domain.catalog import Channel
from smartoken.domain.job import Fault, Job, Kept, cost_p
from smartoken.domain.media import MOST, SNIFF, TYPES, key_of, sniff
from smartoken.errors import MediaAway
from smartoken.upstream.guard import Blocked, check_url, guarded_session

log = logging.getLogger("smartoken.jobs")

FETCH_S = 900            # one result in all
SILENT_S = 30            # without a byte of it
PIECE = 256 << 10
REDIRECTS = 3
TRIES = 8                # of one result, before its job fails
RELINKS = 3              # times that the upstream is asked for a fresh link
DEAD = frozenset({401, 403, 404, 410})
UNAVAILABLE = Fault("upstream_error", "The upstream's result could not be fetched.", "result_unavailable", 503)


class LinkDead(Exception):
    """The link leads nowhere (any more)."""


class Unfit(Exception):
    """What came is not what was asked for, and coming again would not change it."""


class Sessions:
    """The two guarded sessions of a process, made when first needed."""

    def __init__(self) -> None:
        self._made: dict[bool, ClientSession] = {}

    def of(self, private: bool) -> ClientSession:
        if private not in self._made:
            self._made[private] = guarded_session(allow_private=private, timeout_s=FETCH_S)
        return self._made[private]

    async def close(self) -> None:
        for session in self._made.values():
            await session.close()
        self._made.clear()


async def keep(jobs: Any, job: Job) -> None:
    """made -> stored (or failed; or running again, for fresh links)."""
    channel = jobs.gateway.snapshots.current.channels.get(job.channel)
    kept: list[Kept] = []
    for index, link in enumerate(job.links):
        try:
            async with jobs.copies:
                kept.append(await _patiently(jobs, job, index, link.note,
                                             lambda url=link.url: _fetch(jobs.sessions, url, channel)))
        except LinkDead as error:
            if job.relinks < RELINKS and job.upstream_id:
                log.info("%s: %s; asking the upstream for a fresh link", job.id, error)
                await jobs.save(job, state=states.RUNNING, relinks=job.relinks + 1, links=[])
                return
            log.warning("%s: %s", job.id, error)
        except Unfit as error:
            log.warning("%s: result %d: %s", job.id, index, error)
    if kept:
        await stored(jobs, job, kept, billed_ms=job.billed_ms)
        return
    await jobs.save(job, state=states.FAILED, fault=UNAVAILABLE)


async def stored(jobs: Any, job: Job, kept: list[Kept], **more: Any) -> None:
    """All that could be kept is kept: the cost is known from here on."""
    billed_ms = more["billed_ms"]
    cost = cost_p(msgspec.structs.replace(job, kept=kept), None if billed_ms < 0 else billed_ms)
    await jobs.save(job, state=states.STORED, kept=kept, links=[], cost_p=cost, **more)


async def keep_sent(jobs: Any, job: Job, results: list[tuple[Callable[[], AsyncIterator[bytes]], str]],
                    **more: Any) -> None:
    """The same for results that came in the answer itself: (chunks, note) each. They are in this process only."""
    kept: list[Kept] = []
    for index, (chunks, note) in enumerate(results):
        try:
            async with jobs.copies:
                kept.append(await _patiently(jobs, job, index, note, chunks))
        except (LinkDead, Unfit) as error:
            log.warning("%s: result %d: %s", job.id, index, error)
    if kept:
        await stored(jobs, job, kept, **more)
        return
    await jobs.save(job, state=states.FAILED, fault=UNAVAILABLE)


async def _patiently(jobs: Any, job: Job, index: int, note: str,
                     chunks: Callable[[], AsyncIterator[bytes]]) -> Kept:
    """One result, tried again while that may help."""
    dead = 0
    for attempt in range(TRIES):
        try:
            return await put(jobs, job, index, chunks(), note)
        except LinkDead:
            dead += 1
            if dead > 1:
                raise
        except (ClientError, TimeoutError, OSError, MediaAway) as error:
            if any(isinstance(one, Blocked) for one in (error, error.__cause__, getattr(error, "os_error", None))):
                raise Unfit(f"the link is refused: {error}") from None
            log.info("%s: result %d, attempt %d: %s", job.id, index, attempt + 1, type(error).__name__)
        await asyncio.sleep(min(0.5 * 2**attempt, 30) * random.uniform(0.8, 1.2))
    raise LinkDead(f"result {index} could not be fetched in {TRIES} tries")


async def put(jobs: Any, job: Job, index: int, chunks: AsyncIterator[bytes], note: str = "") -> Kept:
    """Keep what `chunks` yields as the job's result `index`. Unfit, MediaAway, and what the iterator raises."""
    chunks = aiter(chunks)
    head = b""
    while len(head) < SNIFF:
        try:
            head += await anext(chunks)
        except StopAsyncIteration:
            break
    content_type = sniff(head)
    if TYPES.get(content_type, ("",))[0] != job.kind:
        raise Unfit(f"its first bytes are those of no {job.kind}: {head[:16]!r}")
    model = jobs.gateway.snapshots.current.models.get(job.model)
    most = (model.settings.get("max_bytes") if model else None) or MOST[job.kind]
    key, digest = key_of(job.at_ms, job.word, index, content_type), hashlib.sha256()
    size = 0

    async def checked() -> AsyncIterator[bytes]:
        nonlocal size
        chunk: bytes | None = head
        while chunk is not None:
            size += len(chunk)
            if size > most:
                raise Unfit(f"it is larger than {most} bytes")
            digest.update(chunk)
            yield chunk
            chunk = await anext(chunks, None)

    try:
        await jobs.media.put(key, checked(), content_type)
    finally:
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
    return Kept(key=key, type=content_type, size=size, sha256=digest.hexdigest(), note=note)


async def _fetch(sessions: Sessions, link: str, channel: Channel | None) -> AsyncIterator[bytes]:
    url = URL(link)
    own = URL(channel.base_url).origin() if channel is not None else None
    for _ in range(REDIRECTS + 1):
        private = own is not None and url.is_absolute() and url.origin() == own
        if url.scheme == "http" and not private:
            url = url.with_scheme("https").with_port(None if url.port == 80 else url.port)
        check_url(str(url), allow_http=private, allow_private=private)
        async with sessions.of(private).get(url, allow_redirects=False) as answer:
            if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                url = url.join(URL(answer.headers["Location"]))
                continue
            if answer.status in DEAD:
                raise LinkDead(f"the link answers {answer.status}")
            if answer.status != 200:
                raise ClientError(f"the link answers {answer.status}")
            while True:
                async with asyncio.timeout(SILENT_S):
                    piece = await answer.content.read(PIECE)
                if not piece:
                    return
                yield piece
    raise LinkDead("the link leads in a circle")
