"""/openapi.json: one document for both surfaces, true of the gateway that serves it."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.solquir.test_storefront import fetched

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
          response_headers_conformance]
PATHS = ("/v1/chat/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/voices",
         "/v1/models")


@pytest.fixture(scope="session")
def document(gateway):
    return json.loads(fetched(gateway, "/openapi.json")[2])


def test_both_surfaces_stand_in_it(document):
    assert document["openapi"] == "3.1.0"
    assert {path for base in ("", "/api") for path in (base + one for one in PATHS)} <= set(document["paths"])
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_every_dialect_stands_in_it(document):
    for path in ("/v1/responses", "/v1/messages", "/v1/images/generations", "/v1/videos/generations"):
        assert "post" in document["paths"][path]


def test_the_page_is_made_of_it(gateway, document):
    status, headers, data = fetched(gateway, "/docs")
    page = data.decode()
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert "<script" not in page and "unsafe" not in headers["content-security-policy"]
    assert all(f"<code>{path}</code>" in page for path in document["paths"])
    assert fetched(gateway, "/docs.css")[1]["content-type"].startswith("text/css")
    assert fetched(gateway, "/docs", If_None_Match=headers["etag"])[0] == 304


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
def test_its_examples_work(gateway, client, document, path):
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    status, _, data = gateway.post(path, body, client.key)
    assert status == 200, data


def test_the_gateway_keeps_to_it(gateway, client, document):
    """A short run of schemathesis over all of it: no 5xx, answers as they are said."""
    called: dict[str, int] = {}
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()

        @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def keeps(case):
            called[case.operation.label] = called.get(case.operation.label, 0) + 1
            case.call_and_validate(base_url=gateway.url, checks=CHECKS,
                                   headers={"Authorization": f"Bearer {client.key}"})
        keeps()
    assert len(called) >= 50 and "POST /api/v1/chat/completions" in called, called
