"""The media folder keeps the suite, leaves no drafts, and opens no path that is no key."""

import asyncio

import pytest

from smartoken.adapters.folder import DRAFTS, open_folder
from smartoken.errors import ConfigError, MediaAway
from smartoken.testing import media_suite


def test_keeps_the_suite(tmp_path):
    asyncio.run(media_suite.run(lambda: open_folder(f"folder:///{tmp_path}/media")))
    assert not list((tmp_path / "media" / DRAFTS).iterdir())


@pytest.mark.parametrize("url", ["folder://host/x", "folder:///", "folder:///x?y=1", "file:///x"])
def test_refuses_other_urls(url):
    with pytest.raises(ConfigError):
        open_folder(url)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "2026/01/31/../../x.png", ".drafts/1", "", "2026/01/31/x.png"])
def test_opens_no_path_that_is_no_key(tmp_path, key):
    (tmp_path / "x").write_bytes(b"secret")

    async def main():
        folder = open_folder(f"folder:///{tmp_path}/media")
        await folder.open()
        try:
            with pytest.raises(FileNotFoundError):
                await media_suite.content(folder, key)
            with pytest.raises(FileNotFoundError):
                await folder.put(key, media_suite.pieces(b"x"), "image/png")
        finally:
            await folder.close()

    asyncio.run(main())


def test_a_disk_that_fails_is_a_store_that_is_away(tmp_path):
    async def main():
        folder = open_folder(f"folder:///{tmp_path}/media")
        await folder.open()
        try:
            (tmp_path / "media" / "2026").write_bytes(b"a file where a folder must be")
            with pytest.raises(MediaAway):
                await folder.put(media_suite.key(1), media_suite.pieces(b"x"), "image/png")
            assert not list((tmp_path / "media" / DRAFTS).iterdir())
        finally:
            await folder.close()

    asyncio.run(main())
