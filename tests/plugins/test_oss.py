"""The OSS plugin against a socket server that proves every signature."""

import asyncio
import os
import urllib.request
from contextlib import asynccontextmanager
from urllib.error import HTTPError

import pytest
from smartoken_plugins import oss
from smartoken_plugins.oss.media import OssMedia

from smartoken.errors import ConfigError, MediaAway
from smartoken.testing import media_suite
from smartoken.testing.oss import KEY_ID, KEY_SECRET, REGION, OssServer

KEY = media_suite.key(7)


@asynccontextmanager
async def served(folder, token=""):
    objects = folder / "objects"
    objects.mkdir()
    server = OssServer(objects, token=token)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def settings(server, folder, **more):
    """A Conf with its keys in files."""
    for name, value in (("id", KEY_ID), ("secret", KEY_SECRET), ("token", server.token)):
        (folder / name).write_text(value or "-")
    token = {"security_token": f"file:{folder}/token"} if server.token else {}
    return oss.Conf(**{"region": REGION, "endpoint": server.endpoint, "access_key_id": f"file:{folder}/id",
                       "access_key_secret": f"file:{folder}/secret", **token, **more})


@asynccontextmanager
async def opened(server, folder, fresh_s=60, **more):
    media = OssMedia("bucket", settings(server, folder, **more), fresh_s)
    await media.open()
    try:
        yield media
    finally:
        await media.close()


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.status, dict(answer.headers), answer.read()


@pytest.mark.parametrize("signature", ["v1", "v4"])
@pytest.mark.parametrize("token", ["", "sts-token"])
def test_keeps_the_suite(tmp_path, signature, token):
    async def main():
        async with served(tmp_path, token) as server:
            conf = settings(server, tmp_path, signature=signature, acl="public-read")
            await media_suite.run(lambda: OssMedia("bucket", conf))
            assert set(server.versions) == {signature}
            assert any("partNumber" in path for _, path in server.calls)
            await asyncio.sleep(0.1)
            assert not server.uploads, "a broken upload was not aborted"

    asyncio.run(main())


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_signed_links_have_ranges_and_die(tmp_path, signature):
    async def main():
        async with served(tmp_path, "sts-token") as server, \
                opened(server, tmp_path, signature=signature, sign_for_s=60) as media:
            await media.put(KEY, media_suite.pieces(b"0123456789"), "image/png")
            link = media.url(KEY)
            status, headers, body = await asyncio.to_thread(get, link)
            assert (status, headers["Content-Type"], body) == (200, "image/png", b"0123456789")
            status, headers, body = await asyncio.to_thread(lambda: get(link, Range="bytes=2-4"))
            assert (status, headers["Content-Range"], body) == (206, "bytes 2-4/10", b"234")
            with pytest.raises(HTTPError) as refused:
                await asyncio.to_thread(get, link.replace("-0.png", "-1.png"))
            assert refused.value.code == 403
            assert f"{signature} link" in server.versions

    asyncio.run(main())


def test_a_wrong_secret_is_refused_at_once(tmp_path):
    async def main():
        async with served(tmp_path) as server, opened(server, tmp_path, fresh_s=0) as media:
            (tmp_path / "secret").write_text("another")
            with pytest.raises(MediaAway, match="SignatureDoesNotMatch"):
                await media.put(KEY, media_suite.pieces(b"x"), "image/png")
            assert len(server.calls) == 1

    asyncio.run(main())


def test_a_server_in_trouble_is_asked_again(tmp_path):
    async def main():
        async with served(tmp_path) as server, opened(server, tmp_path) as media:
            server.script(503, 500)
            await media.put(KEY, media_suite.pieces(b"x"), "image/png")
            assert await media_suite.content(media, KEY) == b"x"
            server.script(503, 503, 503, 503)
            with pytest.raises(MediaAway):
                await media.put(KEY, media_suite.pieces(b"y"), "image/png")
            assert await media_suite.content(media, KEY) == b"x"

    asyncio.run(main())


def test_a_credential_in_a_file_may_be_rotated(tmp_path):
    async def main():
        async with served(tmp_path, "first") as server, opened(server, tmp_path, fresh_s=0) as media:
            await media.put(KEY, media_suite.pieces(b"x"), "image/png")
            server.token = "second"
            (tmp_path / "token").write_text("second")
            await media.put(KEY, media_suite.pieces(b"y"), "image/png")
            assert await media_suite.content(media, KEY) == b"y"

    asyncio.run(main())


def test_links_by_endpoint(tmp_path):
    async def main():
        async with served(tmp_path) as server:
            for more, expected in (
                    ({"endpoint": ""}, f"https://bucket.oss-{REGION}.aliyuncs.com/media/{KEY}"),
                    ({"endpoint": "", "internal": True}, f"https://bucket.oss-{REGION}.aliyuncs.com/media/{KEY}"),
                    ({"public": "https://media.example.com"}, f"https://media.example.com/media/{KEY}"),
                    ({"prefix": ""}, f"{server.endpoint}/bucket/{KEY}")):
                async with opened(server, tmp_path, **more) as media:
                    assert media.url(KEY) == expected
            async with opened(server, tmp_path, public="https://media.example.com", sign_for_s=9) as media:
                assert media.url(KEY).startswith(f"https://media.example.com/media/{KEY}?")

    asyncio.run(main())


def test_memory_stays_bounded(tmp_path):
    """256 MiB go up in parts while the process grows by a few of them."""
    async def main():
        async with served(tmp_path) as server, opened(server, tmp_path) as media:
            await media.put(KEY, media_suite.pieces(bytes(16 << 20)), "video/mp4")
            before = _rss()
            block = os.urandom(1 << 20)
            await asyncio.gather(*(media.put(media_suite.key(n, "mp4"), media_suite.pieces(*[block] * 64), "video/mp4")
                                   for n in range(4)))
            assert _rss() - before < 64 << 20
            assert server.object(f"bucket/media/{media_suite.key(3, 'mp4')}").stat().st_size == 64 << 20

    asyncio.run(main())


def _rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("url", ["oss://", "oss://bucket/folder", "oss://bucket?x=1", "oss://bucket"])
def test_refuses_what_is_no_bucket_or_has_no_region(url):
    with pytest.raises(ConfigError):
        oss.open_oss(url)
