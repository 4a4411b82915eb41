"""A real browser for tests: Debian's Chromium, driven by Playwright. What is missing is a skip that says what to do,
and a failure when SMARTOKEN_TEST_REQUIRE (a comma-separated list) names chromium."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.servers import required

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
MISSING = "no chromium: `apt-get install chromium`, or put one on PATH"


def chromium() -> str | None:
    """Where the browser is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, headless; skips or fails where there is none."""
    path = chromium()
    if path is None:
        (pytest.fail if required("chromium") else pytest.skip)(MISSING)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


class Watched:
    """A page whose console errors, page errors and dialogs are noted in `wrong`; questions are answered with yes."""

    def __init__(self, page: Page):
        self.page, self.wrong = page, []
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog) -> None:
        if dialog.type != "confirm":
            self.wrong.append(f"{dialog.type}: {dialog.message}")
        dialog.accept()
