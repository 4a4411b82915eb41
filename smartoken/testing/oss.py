"""A pretend Aliyun OSS on a real socket: it proves every signature (V1 and V4, in headers and in links), keeps objects
in a folder, and speaks put, get (ranges), head, delete and the multipart calls, path style.

`server = OssServer(folder); await server.start()`; `server.endpoint`, `server.script(503, 503)` for the next answers.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import sys
import time
from collections import deque
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from aiohttp import web

KEY_ID, KEY_SECRET, REGION = "test-key-id", "test-key-secret", "cn-hangzhou"
# V1 signs only these parameters of a query (of those that this server knows).
SUBRESOURCES = frozenset({"uploads", "uploadId", "partNumber", "security-token", "response-content-type",
                          "response-content-disposition", "response-cache-control", "acl"})


class Wrong(Exception):
    """An OSS error: (status, code, message)."""


class OssServer:
    """Objects of all buckets under `folder`. `token`: the STS token that requests must carry, '' for none."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", token: str = ""):
        self.folder, self.host, self.token = folder, host, token
        self.port = 0
        self.types: dict[str, tuple[str, str]] = {}       # object: content type, etag
        self.versions: list[str] = []                      # how each request was signed
        self.calls: list[tuple[str, str]] = []
        self.uploads: dict[str, str] = {}                  # multipart uploads that are open, and their content type
        self._next: deque[int] = deque()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def script(self, *statuses: int) -> None:
        """Answer the next requests so, one each, whatever they ask."""
        self._next.extend(statuses)

    def object(self, name: str) -> Path:
        """Where an object ("bucket/key") lies."""
        return self.folder / hashlib.sha256(name.encode()).hexdigest()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.raw_path))
        try:
            if self._next:
                raise Wrong(self._next.popleft(), "ServiceUnavailable", "Scripted.")
            name = unquote(request.raw_path.partition("?")[0])[1:]
            self._prove(request, name)
            return await self._do(request, name)
        except Wrong as wrong:
            status, code, message = wrong.args
            await request.read()
            body = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>"
            headers = {"x-oss-err": base64.b64encode(body.encode()).decode()}
            return web.Response(status=status, text=body, content_type="application/xml", headers=headers)

    # -- what is done

    async def _do(self, request: web.Request, name: str) -> web.StreamResponse:
        query, method = request.query, request.method
        if method == "POST" and "uploads" in query:
            upload = secrets.token_hex(8)
            self.uploads[upload] = request.headers.get("Content-Type", "")
            bucket, _, key = name.partition("/")
            return _xml(f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>"
                        f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        if "uploadId" in query and query["uploadId"] not in self.uploads:
            raise Wrong(404, "NoSuchUpload", "No such upload.")
        if method == "PUT" and "partNumber" in query:
            path = self.folder / f"{query['uploadId']}.{query['partNumber']}"
            return web.Response(headers={"ETag": f'"{await _take(request, path)}"'})
        if method == "PUT":
            digest = await _take(request, self.object(name))
            self.types[name] = (request.headers.get("Content-Type", ""), digest)
            return web.Response(headers={"ETag": f'"{digest}"'})
        if method == "POST" and "uploadId" in query:
            return await self._complete(request, name, query["uploadId"])
        if method == "DELETE" and "uploadId" in query:
            del self.uploads[query["uploadId"]]
            for path in self.folder.glob(f"{query['uploadId']}.*"):
                path.unlink()
            return web.Response(status=204)
        if method == "DELETE":
            self.object(name).unlink(missing_ok=True)
            self.types.pop(name, None)
            return web.Response(status=204)
        if method in ("GET", "HEAD"):
            if name not in self.types:
                raise Wrong(404, "NoSuchKey", "The specified key does not exist.")
            content_type, digest = self.types[name]
            answer = web.FileResponse(self.object(name), headers={"ETag": f'"{digest}"', "Content-Type": content_type})
            return answer
        raise Wrong(405, "MethodNotAllowed", "Not here.")

    async def _complete(self, request: web.Request, name: str, upload: str) -> web.StreamResponse:
        numbers = [int(part.findtext("PartNumber")) for part in ElementTree.fromstring(await request.read())]
        if numbers != sorted(numbers):
            raise Wrong(400, "InvalidPartOrder", "Parts are not in order.")
        place = self.object(name)
        with place.open("wb") as whole:
            for number in numbers:
                path = self.folder / f"{upload}.{number}"
                if not path.exists():
                    raise Wrong(400, "InvalidPart", "No such part.")
                whole.write(path.read_bytes())
                path.unlink()
        etag = f"{secrets.token_hex(16).upper()}-{len(numbers)}"
        self.types[name] = (self.uploads.pop(upload), etag)
        return _xml(f'<CompleteMultipartUploadResult><Key>{name}</Key><ETag>"{etag}"</ETag>'
                    "</CompleteMultipartUploadResult>")

    # -- who asks

    def _prove(self, request: web.Request, name: str) -> None:
        """Wrong 403 unless the request is signed with our secret."""
        given = request.headers.get("Authorization", "")
        query = _query(request)
        if given.startswith("OSS4-HMAC-SHA256 "):
            self.versions.append("v4")
            fields = dict(field.strip().split("=", 1) for field in given.partition(" ")[2].split(","))
            more = [one for one in fields.get("AdditionalHeaders", "").split(";") if one]
            expected = _sign_v4(request, name, query, fields["Credential"], request.headers["x-oss-date"], more)
            self._same(fields["Credential"].split("/")[0], fields["Signature"], expected)
        elif "x-oss-signature" in query:
            self.versions.append("v4 link")
            signature = query.pop("x-oss-signature")
            at = query["x-oss-date"]
            begun = time.mktime(time.strptime(at + " UTC", "%Y%m%dT%H%M%SZ %Z")) - time.timezone
            if begun + int(query["x-oss-expires"]) < time.time():
                raise Wrong(403, "AccessDenied", "Request has expired.")
            more = [one for one in query.get("x-oss-additional-headers", "").split(";") if one]
            expected = _sign_v4(request, name, query, query["x-oss-credential"], at, more)
            self._same(query["x-oss-credential"].split("/")[0], signature, expected)
        elif given.startswith("OSS "):
            self.versions.append("v1")
            id, _, signature = given[4:].partition(":")
            self._same(id, signature, _sign_v1(request, name, query, request.headers.get("Date", "")))
        elif "Signature" in query:
            self.versions.append("v1 link")
            signature, expires = query.pop("Signature"), query.pop("Expires")
            if int(expires) < time.time():
                raise Wrong(403, "AccessDenied", "Request has expired.")
            self._same(query.pop("OSSAccessKeyId"), signature, _sign_v1(request, name, query, expires))
        else:
            raise Wrong(403, "AccessDenied", "Anonymous access is forbidden.")
        token = (request.headers.get("x-oss-security-token") or query.get("x-oss-security-token")
                 or query.get("security-token") or "")
        if token != self.token:
            raise Wrong(403, "InvalidSecurityToken", "The security token is not the one in force.")

    def _same(self, id: str, given: str, expected: str) -> None:
        if id != KEY_ID:
            raise Wrong(403, "InvalidAccessKeyId", "No such key.")
        if not hmac.compare_digest(given, expected):
            raise Wrong(403, "SignatureDoesNotMatch", "The signature does not match.")


def _query(request: web.Request) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in request.raw_path.partition("?")[2].split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _sign_v4(request: web.Request, name: str, query: dict[str, str], credential: str, at: str, more: list[str]) -> str:
    _, date, region, product, last = credential.split("/")
    if (region, product, last) != (REGION, "oss", "aliyun_v4_request") or not at.startswith(date):
        raise Wrong(403, "InvalidCredential", "The credential's scope is wrong.")
    signed = sorted((key.lower(), value.strip()) for key, value in request.headers.items()
                    if key.lower() in ("content-type", "content-md5", *more) or key.lower().startswith("x-oss-"))
    text = "&".join(quote(key, safe="-_.~") + (f"={quote(value, safe='-_.~')}" if value else "")
                    for key, value in sorted(query.items()))
    canonical = "\n".join([request.method, quote(f"/{name}", safe="/-_.~"), text,
                           "".join(f"{key}:{value}\n" for key, value in signed), ";".join(more), "UNSIGNED-PAYLOAD"])
    scope = f"{date}/{region}/{product}/{last}"
    to_sign = f"OSS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("aliyun_v4" + KEY_SECRET).encode()
    for part in (date, region, product, last):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _sign_v1(request: web.Request, name: str, query: dict[str, str], date: str) -> str:
    headers = sorted((key.lower(), value) for key, value in request.headers.items() if key.lower().startswith("x-oss-"))
    signed = sorted((key, value) for key, value in query.items() if key in SUBRESOURCES)
    text = "&".join(f"{key}={value}" if value else key for key, value in signed)
    resource = "".join(f"{key}:{value}\n" for key, value in headers) + f"/{name}" + (f"?{text}" if text else "")
    to_sign = "\n".join([request.method, request.headers.get("Content-MD5", ""),
                         request.headers.get("Content-Type", ""), date, resource])
    return base64.b64encode(hmac.digest(KEY_SECRET.encode(), to_sign.encode(), "sha1")).decode()


async def _take(request: web.Request, path: Path) -> str:
    """Write the body; its MD5, as OSS makes an ETag."""
    told = request.headers.get("Content-MD5")
    digest, draft = hashlib.md5(), path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with draft.open("wb") as file:
        async for chunk in request.content.iter_chunked(1 << 18):
            digest.update(chunk)
            file.write(chunk)
    if told is not None and base64.b64decode(told) != digest.digest():
        draft.unlink()
        raise Wrong(400, "InvalidDigest", "The Content-MD5 is not that of the body.")
    os.replace(draft, path)
    return digest.hexdigest().upper()


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0"?>{text}', content_type="application/xml")


async def _run(folder: Path, port: int) -> None:
    server = OssServer(folder)
    server.port = port
    await server.start()
    print(server.endpoint, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


def main() -> None:
    """`python -m smartoken.testing.oss --folder F`: prints its endpoint when it listens; ends with standard input."""
    words = argparse.ArgumentParser(description="A pretend Aliyun OSS.")
    words.add_argument("--folder", type=Path, required=True)
    words.add_argument("--port", type=int, default=0)
    given = words.parse_args()

    async def both() -> None:
        serving = asyncio.create_task(_run(given.folder, given.port))
        await asyncio.to_thread(sys.stdin.read)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    asyncio.run(both())


if __name__ == "__main__":
    main()
