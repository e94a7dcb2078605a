"""The OpenAPI document says what is served, no more and no less; metrics say what was."""

from __future__ import annotations

import re
from typing import Any

import pytest
from asking import UNIVERSE, Book
from speaking import Speaker

from ringipam.errors import NoSpaceError
from ringipam.server.api import Api


def problems(schema: dict[str, Any], schemas: dict[str, Any], value: Any, at: str = "") -> list[str]:
    """Where `value` is not what `schema` says, as far as these schemas go."""
    if "$ref" in schema:
        return problems(schemas[schema["$ref"].rpartition("/")[2]], schemas, value, at)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    python = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}
    python["null"] = type(None)
    if types and not any(isinstance(value, python[name]) for name in types):
        return [f"{at} is {value!r}, not {types}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is {value!r}"]
    found = []
    if isinstance(value, dict):
        found += [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                found += problems(inner, schemas, value[name], f"{at}.{name}")
    if isinstance(value, list):
        for item in value:
            found += problems(schema["items"], schemas, item, f"{at}[]")
    return found


@pytest.fixture
async def document(http: Speaker) -> dict[str, Any]:
    found: dict[str, Any] = (await http("GET", "/v1/openapi.json")).json
    return found


async def test_every_route_is_in_the_document_and_nothing_else(document: dict[str, Any]) -> None:
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}

    assert documented == {(route.method, route.path) for route in Api(Book(), UNIVERSE, "0").routes}
    assert document["info"]["version"] == "1.2.3"


async def test_every_reference_leads_somewhere_and_every_name_is_unique(document: dict[str, Any]) -> None:
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]

    assert references == set(document["components"]["schemas"])
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize(
    ("method", "path", "target", "body"),
    [
        ("post", "/v1/leases", None, {"id": "c1"}),
        ("get", "/v1/leases", "/v1/leases?cluster=true", None),
        ("put", "/v1/leases/{id}/{address}/{len}", "/v1/leases/c1/10.32.0.9/12", None),
        ("get", "/v1/status", None, None),
        ("get", "/v1/ring", None, None),
        ("get", "/v1/peers", None, None),
        ("get", "/v1/conflicts", None, None),
        ("get", "/v1/history", "/v1/history?address=10.32.0.9", None),
        ("post", "/v1/prime", None, {}),
        ("get", "/readyz", None, None),
    ],
)
async def test_answers_are_as_documented(
    http: Speaker, document: dict[str, Any], method: str, path: str, target: str | None, body: object
) -> None:
    schemas = document["components"]["schemas"]

    answer = await http(method.upper(), target or path, body)

    schema = document["paths"][path][method]["responses"][str(answer.status)]["content"]["application/json"]["schema"]
    assert not problems(schema, schemas, answer.json)


async def test_errors_are_as_documented(http: Speaker, document: dict[str, Any]) -> None:
    await http("PUT", "/v1/leases/c1/10.32.0.9/12")
    answers = [await http("POST", "/v1/leases", {"id": ""}), await http("PUT", "/v1/leases/c2/10.32.0.9/12")]

    for answer in answers:
        assert not problems({"$ref": "#/components/schemas/Error"}, document["components"]["schemas"], answer.json)


async def test_metrics_show_the_nodes_figures_and_what_was_answered(http: Speaker, book: Book) -> None:
    await http("POST", "/v1/leases", {"id": "c1"})
    await http("POST", "/ip/c2")
    book.refusal = NoSpaceError("full")
    await http("POST", "/ip/c3")
    book.refusal = None

    answer = await http("GET", "/metrics")

    assert answer.status == 200
    lines = answer.text.splitlines()
    for line in (
        'ringipam_requests_total{code="ok",verb="allocate"} 2.0',
        'ringipam_requests_total{code="no_space",verb="allocate"} 1.0',
        "ringipam_allocation_seconds_count 2.0",
        'ringipam_addresses{state="owned"} 524288.0',
        'ringipam_peers{state="dead"} 1.0',
        'ringipam_state{state="ready"} 1.0',
        'ringipam_state{state="fenced"} 0.0',
        "ringipam_leases 2.0",
        "ringipam_pending_requests 1.0",
        "ringipam_warnings 1.0",
    ):
        assert line in [re.sub(r'{verb="(\w+)",code="(\w+)"}', r'{code="\2",verb="\1"}', found) for found in lines], (
            line
        )


async def test_the_figures_of_a_second_range_stand_beside_those_of_the_first(http: Speaker, book: Book) -> None:
    one = {line.split()[0] for line in (await http("GET", "/metrics")).text.splitlines() if line[0] != "#"}
    book.two_ranges = True

    both = (await http("GET", "/metrics")).text.splitlines()

    assert one <= {line.split()[0] for line in both if line[0] != "#"}
    for line in (
        'ringipam_addresses{state="owned"} 524288.0',
        'ringipam_ipv6_addresses{state="owned"} 524288.0',
        'ringipam_ipv6_peers{state="dead"} 1.0',
        'ringipam_ipv6_state{state="ready"} 1.0',
        "ringipam_ipv6_leases 0.0",
        "ringipam_ipv6_pending_requests 1.0",
        "ringipam_ipv6_warnings 1.0",
    ):
        assert line in both


@pytest.mark.parametrize(
    ("method", "target", "body", "name"),
    [
        ("GET", "/v1/status", None, "Status"),
        ("POST", "/v1/leave", {}, "Heirs"),
        ("DELETE", "/v1/peers/host2", None, "Removal"),
        ("POST", "/v1/rejoin", {}, "Rejoin"),
    ],
)
async def test_answers_of_two_ranges_are_as_documented(
    http: Speaker, book: Book, document: dict[str, Any], method: str, target: str, body: object, name: str
) -> None:
    book.two_ranges = True
    schemas = document["components"]["schemas"]

    answer = await http(method, target, body)

    assert "ipv6" in answer.json
    assert not problems({"$ref": f"#/components/schemas/{name}"}, schemas, answer.json)
    assert problems(schemas[name]["properties"]["ipv6"], schemas, None), "the second part is looked at too"
