"""A real node under requests made from its own OpenAPI document, wrong ones too, and under bytes that are no HTTP.

FUZZ_EXAMPLES is how many requests each operation gets; then they are others at every run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import http_target
import peer_target
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from node import Node, a_node
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi import checks

from ringipam.server import openapi

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
CHECKS: list[CheckFunction] = [
    checks.negative_data_rejection,  # first, as weave's paths ignore what they do not know
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
ALONE: dict[str, Any] = {"deadline": None, "derandomize": not EXAMPLES, "database": None}

UNIVERSE = "0.0.0.0/1"
"""So large that an address drawn at random lies in it half of the time."""
ADDRESSES = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string"}]}
LENGTHS = {"anyOf": [{"type": "string", "enum": ["1", "8", "24", "30", "32"]}, {"type": "string"}]}
NARROWER = {"address": ADDRESSES, "ip": ADDRESSES, "net": ADDRESSES, "len": LENGTHS}


def described() -> dict[str, Any]:
    """The document that is served, with a hint of what is worth trying in a path."""
    found: dict[str, Any] = json.loads(json.dumps(openapi.document(http_target.ROUTES, "0")))
    for operations in found["paths"].values():
        for parameter in [parameter for operation in operations.values() for parameter in operation["parameters"]]:
            parameter["schema"] = NARROWER.get(parameter["name"], parameter["schema"])
    return found


document = schemathesis.openapi.from_dict(described())
document.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with a_node(tmp_path_factory.mktemp("node"), UNIVERSE) as node:
        yield node


@document.parametrize()
@settings(max_examples=EXAMPLES or 12, **ALONE)
def test_every_operation_answers_as_documented_and_a_refusal_changes_nothing(
    case: schemathesis.Case, node: Node
) -> None:
    before = node.durable()

    answer = case.call(base_url=node.url, timeout=60)

    assert answer.status_code != 500, answer.text
    assert "a defect of ringipam" not in answer.text
    case.validate_response(answer, checks=CHECKS if case.path.startswith("/v1/") else CHECKS[1:])
    if answer.status_code >= 400 or case.method == "GET":
        assert node.durable() == before


def test_the_document_is_the_one_that_is_served(node: Node) -> None:
    request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

    assert node.says(request).startswith(b"HTTP/1.1 200 ")


junk = st.binary(max_size=300) | st.builds(
    b"%b %b HTTP/1.%b\r\n%b\r\n\r\n%b".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"PRI", b"get", b""]) | st.binary(max_size=9),
        st.sampled_from([b"/v1/leases", b"/ip/c1", b"*", b"http://localhost/v1/status", b"/%ff", b"//"])
        | st.binary(max_size=40),
        st.sampled_from([b"1", b"0", b"9", b""]),
        st.sampled_from(
            [b"Host: localhost", b"Transfer-Encoding: chunked", b"Content-Length: 99999999999999", b"\0:\0"]
        )
        | st.binary(max_size=60),
        st.sampled_from([b"", b"5\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff\r\n"]) | st.binary(max_size=60),
    ),
)


@given(junk)
@settings(max_examples=10 * EXAMPLES or 100, **ALONE)
def test_bytes_that_are_no_request_are_answered_or_hung_up_on_and_change_nothing(node: Node, request: bytes) -> None:
    before = node.durable()

    said = node.says(request)

    assert not said or said.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in said
    if not any(b"HTTP/1.1 %d" % status in said for status in (200, 201, 204)):
        assert node.durable() == before


hostile = st.integers(0, 1 << 32).map(lambda seed: peer_target.mutate(b"", seed)[1:])


@given(st.binary(max_size=300) | hostile)
@settings(max_examples=10 * EXAMPLES or 100, **ALONE)
def test_bytes_that_are_no_peers_are_hung_up_on_and_change_nothing(node: Node, sent: bytes) -> None:
    before = node.durable()

    node.says(sent, node.peer_port)

    assert node.durable() == before
