"""Somebody at the console without a browser: a cookie jar, the CSRF token, forms and the admin API."""

import re
import time
from typing import Any

import httpx

from tests.harness import Gateway

PASSWORD = "correct horse battery"
API = "/admin/api"
PROOF_S = 240


class Person:
    """One browser's worth of cookies. `api` speaks JSON and raises on nothing; `form` posts as a page would."""

    def __init__(self, gateway: Gateway, url: str = "", **headers: str):
        """`url` is where the console is if not on the gateway's own port; `headers` go with every request."""
        self.gateway, self.url = gateway, url or gateway.url
        given = {"Accept-Language": "en"} | {name.replace("_", "-"): value for name, value in headers.items()}
        self.http = httpx.Client(base_url=self.url, timeout=30, headers=given)
        self.csrf, self.proved = "", 0.0

    def first_owner(self, name: str = "ada") -> "Person":
        """Become the first owner, by the token in the data folder."""
        token = (self.gateway.folder / "var" / "first-run-token").read_text().strip()
        done = self.form("/console/welcome", token=token, name=name, password=PASSWORD, again=PASSWORD)
        assert done.status_code == 303 and done.headers["location"] == "/console", done.text
        return self._in()

    def sign_in(self, name: str, password: str = PASSWORD, code: str = "") -> "Person":
        done = self.form("/console/sign-in", name=name, password=password, code=code)
        assert done.status_code == 303, done.text
        return self._in()

    def _in(self) -> "Person":
        self.csrf, self.proved = self.api("GET", "/me").json()["csrf"], time.monotonic()
        return self

    def _prove(self) -> None:
        """The password again, before the one typed last is too old for money and secrets."""
        if self.csrf and time.monotonic() - self.proved > PROOF_S:
            self.proved = time.monotonic()
            self.api("POST", "/me/proof", {"password": PASSWORD})

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        if method != "GET":
            self._prove()
        given = {"X-CSRF-Token": self.csrf, "Origin": self.url} if method != "GET" else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, API + path, json=body, headers=given)

    def form(self, path: str, **fields: str) -> httpx.Response:
        self._prove()
        return self.http.post(path, data={"_csrf": self.csrf, **fields}, headers={"Origin": self.url})

    def page(self, path: str) -> str:
        got = self.http.get(path)
        assert got.status_code == 200, f"{path}: {got.status_code} {got.text[:300]}"
        return got.text

    def close(self) -> None:
        self.http.close()


def model(slug: str, **fields: Any) -> dict[str, Any]:
    """A ModelDoc to put."""
    return {"slug": slug, "pricing": {"input_per_mtok": "0.28", "output_per_mtok": "0.42"}, **fields}


def hrefs(html: str) -> set[str]:
    """Links of a page into the console."""
    return {link.replace("&amp;", "&").partition("#")[0] for link in re.findall(r'href="(/console[^"]*)"', html)}
