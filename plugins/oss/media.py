"""The Media port over oss2: blocking, hence in a bounded pool of threads; parts of PART bytes, hence bounded memory.

What is smaller than a part goes up in one call; what is larger as a multipart upload, aborted if the stream breaks.
Every call is tried again where that may help: it writes the same bytes to the same key.

Integrity is by Content-MD5, not by oss2's CRC-64: that one walks the body in Python, 8 KiB at a time, and the event loop
waits for the interpreter meanwhile. A digest and one large send leave the interpreter to the loop.
"""

import asyncio
import base64
import contextlib
import hashlib
import io
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import oss2
from oss2.exceptions import NoSuchKey, OssError
from oss2.models import PartInfo
from smartoken_plugins.oss.credentials import Kept, Known

from smartoken.plugin import ConfigError, MediaAway

log = logging.getLogger("smartoken.oss")

PART = 2 << 20           # 10,000 parts are the most: 20 GB
READ = 1 << 20
TIMES = (3.05, 30)       # seconds to connect, and between two packets
WAITS_S = (0.2, 0.8, 2)  # before the second, third and fourth try
AGAIN = frozenset({-2, -3, 500, 502, 503, 504})
KEEP_S = 30              # credentials are looked at so often, so that links can be signed without waiting


class OssMedia:
    """See ports.Media. `fresh_s`: how long credentials are not asked for again."""

    def __init__(self, bucket: str, conf: Any, fresh_s: float = 60):
        self._name, self._conf = bucket, conf
        self._kept = Kept(conf, fresh_s)
        self._threads: ThreadPoolExecutor | None = None
        self._bucket: oss2.Bucket | None = None
        self._links: oss2.Bucket | None = None
        self._base = ""
        self._keeper: asyncio.Task | None = None

    async def open(self) -> None:
        """Make clients; ConfigError when there are no credentials. The bucket itself is asked for nothing."""
        conf = self._conf
        self._threads = ThreadPoolExecutor(conf.threads, "oss")
        try:
            await self._in_thread(self._kept.get_credentials)
        except BaseException:
            self._threads.shutdown()
            self._threads = None
            raise
        region = f"oss-{conf.region}"
        endpoint = conf.endpoint or f"https://{region}{'-internal' if conf.internal else ''}.aliyuncs.com"
        outside = conf.public or conf.endpoint or f"https://{region}.aliyuncs.com"
        auth = oss2.ProviderAuthV4 if conf.signature == "v4" else oss2.ProviderAuth
        more = {"region": conf.region, "connect_timeout": TIMES, "enable_crc": False}
        self._bucket = oss2.Bucket(auth(self._kept), endpoint, self._name,
                                   session=oss2.Session(pool_size=conf.threads), **more)
        self._links = oss2.Bucket(auth(Known(self._kept)), outside, self._name, is_cname=bool(conf.public), **more)
        self._base = _base(outside, self._name, bool(conf.public))
        self._keeper = asyncio.create_task(self._keep_credentials())

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> None:
        key = self._key(key)
        headers = {"Content-Type": content_type, "Cache-Control": "public, max-age=31536000, immutable"}
        if self._conf.acl:
            headers["x-oss-object-acl"] = self._conf.acl
        upload, parts = "", []
        try:
            async for part, last in _parts(chunks):
                if last and not upload:
                    await self._do(partial(self._whole, key, part, headers))
                    return
                if not upload:
                    made = await self._do(lambda: self._bucket.init_multipart_upload(key, headers=headers))
                    upload = made.upload_id
                number = len(parts) + 1
                sent = await self._do(partial(self._part, key, upload, number, part))
                parts.append(PartInfo(number, sent.etag))
                del part                                   # or it would lie beside the next one
            await self._do(lambda: self._bucket.complete_multipart_upload(key, upload, parts))
        except BaseException:
            if upload:
                self._abort(key, upload)
            raise

    def _whole(self, key: str, data: bytes, headers: Mapping[str, str]) -> Any:
        return self._bucket.put_object(key, data, headers=_checked(data, headers))

    def _part(self, key: str, upload: str, number: int, data: bytes) -> Any:
        return self._bucket.upload_part(key, upload, number, data, headers=_checked(data, {}))

    def _abort(self, key: str, upload: str) -> None:
        """Without waiting, since whoever put may be cancelled; what fails here a lifecycle rule tidies up."""
        def abort() -> None:
            try:
                self._bucket.abort_multipart_upload(key, upload)
            except OssError as error:
                log.info("%s: an upload could not be aborted: %s", key, error.code or error.status)
        if self._threads is not None:
            self._threads.submit(abort)

    def url(self, key: str) -> str:
        key = self._key(key)
        if not self._conf.sign_for_s:
            return f"{self._base}/{key}"
        return self._links.sign_url("GET", key, self._conf.sign_for_s, slash_safe=True)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        try:
            found = await self._do(lambda: self._bucket.get_object(self._key(key)))
        except NoSuchKey:
            raise FileNotFoundError(key) from None
        whole = False
        try:
            while data := await self._in_thread(found.read, READ):
                yield data
            whole = True
        finally:
            if not whole:
                found.close()

    async def remove(self, key: str) -> None:
        await self._do(lambda: self._bucket.delete_object(self._key(key)))

    def _key(self, key: str) -> str:
        return f"{self._conf.prefix}/{key}" if self._conf.prefix else key

    async def _do(self, work: Callable[[], Any]) -> Any:
        """In a thread, again where that may help; MediaAway in the end."""
        for wait_s in (*WAITS_S, None):
            try:
                return await self._in_thread(work)
            except NoSuchKey:
                raise
            except OssError as error:
                if wait_s is None or not (error.status in AGAIN or error.code == "RequestTimeout"):
                    raise MediaAway(f"OSS: {error.code or type(error).__name__} ({error.status})") from error
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))

    async def _in_thread(self, work: Callable, *given: Any) -> Any:
        if self._threads is None:
            raise MediaAway("the OSS media store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        except OSError as error:
            raise MediaAway(f"OSS: {type(error).__name__}") from error

    async def _keep_credentials(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                await self._in_thread(self._kept.get_credentials)
            except (ConfigError, MediaAway, OssError) as error:
                log.warning("the OSS credentials could not be renewed: %s", error)


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bool]]:
    """(bytes, whether they are the last): PART each but for the last."""
    waiting = io.BytesIO()
    async for chunk in chunks:
        view = memoryview(chunk)
        while view:
            room = PART - waiting.tell()
            if not room:
                whole, waiting = waiting.getvalue(), io.BytesIO()
                yield whole, False
                del whole
                continue
            waiting.write(view[:room])
            view = view[room:]
    yield waiting.getvalue(), True


def _base(endpoint: str, bucket: str, cname: bool) -> str:
    """What stands before a key in a link: the bucket's own host, or the path below an address without names."""
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    if cname:
        return f"{parts.scheme}://{parts.netloc}"
    if (parts.hostname or "").replace(".", "").isdigit() or parts.hostname == "localhost":
        return f"{parts.scheme}://{parts.netloc}/{bucket}"
    return f"{parts.scheme}://{bucket}.{parts.netloc}"


def _checked(data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the digest by which the server proves that the bytes came whole."""
    return {**headers, "Content-MD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}
