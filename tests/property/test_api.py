"""Whatever the API is sent, it answers as its own description says, and never with 500.

The cases come from the OpenAPI document, the answers from a real server; `watch` is left
out of the document here, since such an answer doesn't end.
"""

import httpx
import pytest
import schemathesis
import serverkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks

from mizar.server import openapi

EXAMPLES = 20
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def _document():
    document = openapi.document()
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "parameters" in operation:
                kept = [p for p in operation["parameters"] if p["name"] != "watch"]
                operation["parameters"] = kept
    return document


SCHEMA = schemathesis.openapi.from_dict(_document())
QUIET = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = serverkit.Server(tmp_path_factory.mktemp("api"), tcp=True).start()
    with server.client() as client:
        host = serverkit.resource("Host", "h1", address="192.0.2.1")
        serverkit.apply(client, host, *serverkit.shop(["a"], ["h1"]))
    yield server
    server.stop()
    assert "bug" not in server.log(), server.log()


@SCHEMA.parametrize()
@QUIET
def test_every_operation_answers_as_described(server, case):
    case.call_and_validate(base_url=server.url, checks=CHECKS)


@QUIET
@given(body=st.binary(max_size=200), path=st.sampled_from(["apply", "delete", "tenants"]))
def test_bytes_of_any_kind_are_refused_with_a_reason(server, body, path):
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/{path}", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]
