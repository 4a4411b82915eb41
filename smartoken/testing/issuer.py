"""A pretend OAuth2 issuer with rotating refresh tokens, and the ChatGPT backend that believes only its newest token.

`Issuer()` listens on a thread of its own. It knows one device login, refuses a spent refresh token and kills its chain,
and keeps what it was asked. The backend checks the rules of the body and answers as the pretend upstream does; it reads
only reasoning sealed as SEAL.
"""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from smartoken.testing.answers import ID, plain_talk
from smartoken.testing.plays import parse
from smartoken.testing.wires import responses

ACCOUNT = "acct-0042"
CODE = "ABCD-1234"
SEAL = f"sealed for {ACCOUNT}"
REFUSED = ("max_output_tokens", "temperature", "top_p", "user", "metadata", "safety_identifier", "truncation",
           "prompt_cache_retention", "background", "previous_response_id")


PAGE = "/codex/device"
FORM = ("<!doctype html><html lang=en><title>Sign in</title><form method=post><label>Code <input name=code></label>"
        "<button name=word value=agree>Agree</button><button name=word value=refuse>Refuse</button></form></html>")


def limits(primary: float, secondary: float) -> dict[str, str]:
    """Headers that tell how much of the windows of five hours and of a week is used, in percent."""
    now = int(time.time())
    return {"x-codex-plan-type": "plus", "x-codex-primary-used-percent": str(primary),
            "x-codex-primary-window-minutes": "300", "x-codex-primary-reset-at": str(now + 3 * 3600),
            "x-codex-secondary-used-percent": str(secondary), "x-codex-secondary-window-minutes": "10080",
            "x-codex-secondary-reset-at": str(now + 5 * 86_400), "x-codex-credits-has-credits": "False",
            "x-codex-credits-unlimited": "False", "x-codex-credits-balance": ""}


class _Server(ThreadingHTTPServer):
    """The library's queue of 5 would drop what a hundred clients send at once, and their kernel tries a minute."""

    request_queue_size = 1024
    daemon_threads = True


class Issuer:
    """`url` is the issuer's, `backend` the base URL of its backend. `lifetime_s` is how long access tokens last;
    `limit_s` > 0 lets the backend say that the account is used up for so long; `refreshes` counts, `asked` is set
    by the first, and `open` cleared holds all of them. `told` are headers of each of the backend's answers. With
    `person` a device login waits until somebody enters the code, or refuses, on the page that the issuer names;
    without, it is agreed to at the second question."""

    def __init__(self, lifetime_s: int = 3600, delay_s: float = 0.0, person: bool = False):
        self.lifetime_s, self.delay_s, self.limit_s, self.person = lifetime_s, delay_s, 0, person
        self.word = ""                           # of the person: "", "agree" or "refuse"
        self.polls = 0
        self.told = limits(12, 3)
        self.refreshes, self.spent, self.pending = 0, set(), 2
        self.asked, self.open = threading.Event(), threading.Event()  # a refresh has come; it may be answered
        self.open.set()
        self.dead = self.revoked = False
        self.access = self.refresh = ""
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.unauthorized = 0
        self._lock = threading.Lock()
        self._issue()
        self._server = _Server(("127.0.0.1", 0), lambda *args: _Handler(self, *args))
        threading.Thread(target=self._server.serve_forever, name="issuer", daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.backend = f"{self.url}/backend-api/codex"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def expire(self) -> None:
        """The backend forgets the access token that is out; the refresh token stays good."""
        self.access = "expired"

    def auth_json(self) -> str:
        """What the Codex CLI would keep."""
        return json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "last_refresh": "2026-01-01T00:00:00Z",
                           "tokens": {"id_token": self.id_token, "access_token": self.access,
                                      "refresh_token": self.refresh, "account_id": ACCOUNT}})

    def _issue(self) -> dict:
        serial = f"{time.time_ns():x}"
        now = int(time.time())
        self.access = _jwt({"exp": now + self.lifetime_s, "jti": serial})
        self.refresh = f"refresh-{serial}"
        self.id_token = _jwt({"email": "operator@example.com", "exp": now + 60, "https://api.openai.com/auth": {
            "chatgpt_account_id": ACCOUNT, "chatgpt_plan_type": "plus"}})
        return {"id_token": self.id_token, "access_token": self.access, "refresh_token": self.refresh}

    # what is asked of it: each gives (status, body)

    def token(self, asked: dict) -> tuple[int, dict]:
        """POST /oauth/token."""
        if asked.get("grant_type") == "authorization_code":
            good = asked.get("code") == "code-1" and asked.get("code_verifier") == "verifier-1"
            return (200, self._issue()) if good else (400, {"error": "invalid_grant"})
        self.asked.set()
        self.open.wait(30)
        time.sleep(self.delay_s)
        with self._lock:
            if self.dead or asked.get("refresh_token") in self.spent:
                self.dead = True
                return 400, {"error": {"code": "refresh_token_reused"}}
            if asked.get("refresh_token") != self.refresh:
                return 401, {"error": {"code": "refresh_token_invalidated"}}
            self.refreshes += 1
            self.spent.add(self.refresh)
            return 200, self._issue()

    def device(self, asked: dict) -> tuple[int, dict]:
        """POST …/deviceauth/token: pending until the person has spoken, or a few times."""
        self.pending -= 1
        self.polls += 1
        if self.word == "refuse":
            return 400, {"error": "access_denied"}
        if (self.person and not self.word) or (not self.person and self.pending > 0):
            return 403, {}
        return 200, {"authorization_code": "code-1", "code_challenge": "c", "code_verifier": "verifier-1"}

    def respond(self, headers: dict, asked: dict) -> tuple[int, dict | bytes]:
        """POST …/responses, by the backend's own rules."""
        self.headers.append(headers)
        if headers.get("authorization") != f"Bearer {self.access}":
            self.unauthorized += 1
            return 401, {"detail": "Unauthorized"}
        if self.limit_s:
            return 429, {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached",
                                   "plan_type": "plus", "resets_at": int(time.time()) + self.limit_s,
                                   "resets_in_seconds": self.limit_s}}
        self.bodies.append(asked)
        for wrong, detail in ((asked.get("store") is not False, "Store must be set to false"),
                              (asked.get("stream") is not True, "Stream must be set to true"),
                              (not isinstance(asked.get("instructions"), str), "Instructions are required"),
                              (not isinstance(asked.get("input"), list), "Input must be a list"),
                              (any(item.get("role") == "system" for item in asked["input"] if isinstance(item, dict)),
                               "System messages are not allowed")):
            if wrong:
                return 400, {"detail": detail}
        for field in REFUSED:
            if field in asked:
                return 400, {"detail": f"Unsupported parameter: {field}"}
        if any(item.get("encrypted_content", SEAL) != SEAL for item in asked["input"]):
            return 400, {"error": {"type": "invalid_request_error", "code": "invalid_encrypted_content",
                                   "message": "The encrypted content could not be verified."}}
        answer = responses.answer(responses.read(json.dumps(asked).encode()), parse("ok"), plain_talk)
        stream = b"".join(event for event, _ in answer.pieces).replace(ID, b"1")
        head, _, last = stream.rpartition(b"event: ")
        last = json.loads(last.partition(b"data: ")[2])
        last["response"]["output"] = []  # as this backend does
        limits = b'event: codex.rate_limits\ndata: {"type":"codex.rate_limits","plan_type":"plus"}\n\n'
        return 200, limits + head + b"event: response.completed\ndata: " + json.dumps(last).encode() + b"\n\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, issuer: Issuer, *args):
        self.issuer = issuer
        super().__init__(*args)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (self.headers.get("Content-Type") or "").startswith("application/x-www-form-urlencoded"):
            asked = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
        else:
            asked = json.loads(raw or b"{}")
        if self.path == PAGE:
            agreed = asked.get("code") == CODE and asked.get("word") == "agree"
            self.issuer.word = "agree" if agreed else "refuse"
            self._send(200, "<!doctype html><title>Done</title><p>Done. You may close this page.</p>")
        elif self.path == "/oauth/token":
            self._send(*self.issuer.token(asked))
        elif self.path == "/oauth/revoke":
            self.issuer.revoked = True
            self._send(200, {})
        elif self.path == "/api/accounts/deviceauth/usercode":
            self._send(200, {"device_auth_id": "device-1", "user_code": CODE, "interval": "0"})
        elif self.path == "/api/accounts/deviceauth/token":
            self._send(*self.issuer.device(asked))
        elif self.path == "/backend-api/codex/responses":
            answer = self.issuer.respond({name.lower(): value for name, value in self.headers.items()}, asked)
            self._send(*answer, self.issuer.told)
        else:
            self._send(404, {"detail": "Not Found"})

    def do_GET(self) -> None:
        if self.path == PAGE:
            self._send(200, FORM)
        else:
            self._send(404, {"detail": "Not Found"})

    def _send(self, status: int, body: dict | bytes | str, headers: dict[str, str] | None = None) -> None:
        """JSON for a dict, events for bytes, a page for text."""
        kind = {dict: "application/json", bytes: "text/event-stream", str: "text/html; charset=utf-8"}[type(body)]
        data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        """Silent."""


def _jwt(claims: dict) -> str:
    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"
