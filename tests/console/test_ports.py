"""The admin port: what operators see answers there and nowhere else. And whose address counts behind a proxy."""

import socket
import subprocess

import pytest

from tests.console.kit import PASSWORD, Person
from tests.harness import COMMAND, Gateway, until

PUBLIC = ("/", "/models", "/sign-in", "/v1/models", "/api/v1/models", "/openapi.json", "/docs")
ADMIN = ("/console", "/console/sign-in", "/console/usage", "/admin/api/me", "/metrics")
BOTH = ("/healthz", "/readyz", "/console/static/app.css")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def there(person: Person, path: str) -> bool:
    """Does anything answer at this path? What does not is refused in JSON, as everywhere."""
    answer = person.http.get(path)
    if answer.status_code != 404:
        return True
    assert answer.json()["error"]["code"] == "unknown_route"
    return False


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Two workers with an admin port; proxies on this machine are believed."""
    admin = free_port()
    gateway = Gateway(tmp_path_factory.mktemp("ports"), workers=2, server=(
        f'admin_port = {admin}\ntrusted_proxies = ["127.0.0.1"]\n'),
                      conf="[sign_up]\nopen = true\n")
    gateway.admin = f"http://127.0.0.1:{admin}"
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def owner(gateway):
    person = Person(gateway, gateway.admin, X_Forwarded_For="203.0.113.1").first_owner()
    yield person
    person.close()


def test_each_page_answers_on_its_own_port_of_every_worker(gateway, owner):
    assert f"{gateway.admin}/console" in gateway.log.read_text()
    for _ in range(8):                         # connections of their own are spread over both workers
        public, admin = Person(gateway), Person(gateway, gateway.admin)
        for path in PUBLIC:
            assert there(public, path) and not there(admin, path), path
        for path in ADMIN:
            assert there(admin, path) and not there(public, path), path
        for path in BOTH:
            assert there(admin, path) and there(public, path), path
        assert public.http.post("/v1/chat/completions").status_code == 401
        assert admin.http.post("/v1/chat/completions").status_code == 404
        public.close(), admin.close()
    assert "smartoken_" in Person(gateway, gateway.admin).http.get("/metrics").text
    assert owner.http.get("/console/usage").status_code == 200 and owner.api("GET", "/models").status_code == 200


def test_a_proxy_says_whether_the_client_came_by_tls(gateway, owner):
    owner.api("POST", "/people", {"name": "billing.bo", "role": "billing", "password": PASSWORD})
    for protocol, name in (("https", "__Host-smartoken"), ("http", "smartoken")):
        person = Person(gateway, X_Forwarded_Proto=protocol)
        cookie = person.form("/sign-in", name="billing.bo", password=PASSWORD).headers["set-cookie"]
        assert cookie.startswith(f"{name}=") and ("Secure" in cookie) is (protocol == "https")
        person.close()


def test_a_buyer_at_the_wrong_door_is_sent_to_the_right_one(gateway, owner):
    owner.api("POST", "/people", {"name": "bea", "role": "user", "password": PASSWORD})
    person = Person(gateway, gateway.admin)
    done = person.form("/console/sign-in", name="bea", password=PASSWORD)
    assert done.headers["location"] == f"{gateway.url}/dashboard"
    person.close()


def test_the_audit_names_the_client_not_the_proxy(gateway, owner):
    for said, seen in (("198.51.100.1, 203.0.113.9", "203.0.113.9"), ("2001:db8::7", "2001:db8::7"),
                       ("[2001:db8::7]:443", "2001:db8::7"), ("rubbish", "127.0.0.1")):
        person = Person(gateway, gateway.admin, X_Forwarded_For=said)
        person.sign_in("ada")
        newest = until(lambda: [one for one in owner.api("GET", "/audit").json()["entries"]
                                if one["action"] == "people.sign-in"], "the sign-in in the audit")[0]
        assert newest["ip"] == seen
        person.close()


def test_tries_are_counted_by_the_clients_address(gateway, owner):
    """Who tries too often is slowed down; a neighbour behind the same proxy is not, and he cannot change his face."""
    def sign_up(said: str) -> int:
        person = Person(gateway, X_Forwarded_For=said)
        status = person.form("/sign-up", name="nobody", password="short", again="short").status_code
        person.close()
        return status

    # Five tries a minute, in each of the two workers.
    statuses = [sign_up(f"198.51.100.{n}, 203.0.113.66") for n in range(20)]
    assert statuses[:5] == [400] * 5 and statuses[-1] == 429
    assert sign_up("198.51.100.19, 203.0.113.67") == 400


def test_a_strangers_header_changes_nothing(new_gateway):
    """Without trusted proxies: the audit names the peer, the cookie is that of plain http, metrics are this machine's."""
    person = Person(new_gateway, X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https").first_owner()
    assert {one["ip"] for one in person.api("GET", "/audit").json()["entries"]} == {"127.0.0.1"}
    assert "smartoken" in person.http.cookies and person.http.get("/metrics").status_code == 200
    person.close()


def test_metrics_are_for_this_machine_also_behind_a_proxy_on_it(gateway):
    stranger = Person(gateway, gateway.admin, X_Forwarded_For="203.0.113.9")
    answer = stranger.http.get("/metrics")
    assert answer.status_code == 403
    stranger.close()


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = Gateway(tmp_path, server=f"admin_port = {port}\n")
        said = subprocess.run([COMMAND, "serve", "--port", "0"], cwd=tmp_path, env=gateway.env, capture_output=True,
                              text=True, timeout=60, check=False)
    assert said.returncode == 2 and len(said.stderr.strip().splitlines()) == 1, said.stderr
    assert f"'server.admin_port': cannot have port {port} on 127.0.0.1" in said.stderr
    assert f"choose another in {gateway.conf}" in said.stderr
