"""The OpenAPI 3.1 document, made from the route table, so that it cannot lag behind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from ringipam.config import OLDER_THAN_S, OLDER_THAN_S_MAX, TIMEOUT_S, TIMEOUT_S_MAX
from ringipam.server.fields import Field, Kind
from ringipam.server.routes import Route
from ringipam.server.v1 import STATUS_OF_ERROR

Schema = dict[str, object]

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_STRINGS: Schema = {"type": "array", "items": _STRING}
_LEASES: Schema = {"type": "array", "items": {"$ref": "#/components/schemas/Lease"}}


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(optional: Mapping[str, Schema] | None = None, /, **required: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _of_both(name: str) -> dict[str, Schema]:
    """What an answer of this kind has besides where there are two ranges."""
    second: Schema = {"$ref": f"#/components/schemas/{name}", "description": "Of the IPv6 range, where there are two."}
    return {"ipv6": second}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


SCHEMAS: dict[str, Schema] = {
    "Lease": _object(
        lease={**_STRING, "description": "Unique for ever."},
        id=_STRING,
        address=_STRING,
        prefix_len=_INTEGER,
        subnet=_STRING,
        **{"class": _STRING},
        host=_STRING,
        since={**_STRING, "format": "date-time"},
        labels={"type": "object", "additionalProperties": _STRING},
    ),
    "Leases": _object({"unreachable": {**_STRINGS, "description": "Hosts that did not answer."}}, leases=_LEASES),
    "Status": _object(
        _of_both("Status"),
        peer=_object(name=_STRING, uid=_STRING),
        universe=_STRING,
        subnet=_STRING,
        cluster=_nullable(_STRING),
        serving={**_BOOLEAN, "description": "Addresses are issued, whatever `state` says of other rings."},
        state={**_STRING, "enum": ["ready", "idle", "electing", "fenced", "refusing"]},
        reason=_nullable(_STRING),
        leases=_INTEGER,
        owned=_INTEGER,
        free=_INTEGER,
        peers=_object(alive=_INTEGER, suspect=_INTEGER, dead=_INTEGER),
        pending=_list_of(_object(id=_STRING, subnet=_STRING, waiting_for=_STRING)),
        warnings=_STRINGS,
    ),
    "Ring": _object(
        universe=_STRING,
        cluster=_nullable(_STRING),
        tokens=_list_of(
            _object(
                first=_STRING,
                last=_STRING,
                size=_INTEGER,
                owner=_STRING,
                epoch=_INTEGER,
                version=_INTEGER,
                writer=_STRING,
            )
        ),
    ),
    "Peers": _object(
        peers=_list_of(
            _object(
                name=_STRING,
                uid=_STRING,
                address=_STRING,
                state=_STRING,
                owned=_INTEGER,
                free=_INTEGER,
                last_seen_s=_nullable(_NUMBER),
                linked=_BOOLEAN,
                protocol={**_nullable(_INTEGER), "description": "What its link speaks; null without one."},
                ignored={**_INTEGER, "description": "Messages it sent of kinds that only a newer release knows."},
            )
        )
    ),
    "Conflicts": _object(
        conflicts=_list_of(
            _object(first=_STRING, last=_STRING, peers=_STRINGS, leases=_LEASES, since=_STRING, advice=_STRING)
        )
    ),
    "Removal": _object(
        {
            "removed": _STRINGS,
            "taken": {**_INTEGER, "description": "Addresses that were taken over."},
            "without": {**_STRINGS, "description": "Hosts that a forced removal did not hear from."},
            "also": {**_STRINGS, "description": "Hosts that coordinated a removal at the same time."},
            "would_remove": _STRINGS,
            "would_take": _INTEGER,
            "must_answer": _STRINGS,
            "unreachable": _STRINGS,
            **_of_both("Removal"),
        }
    ),
    "Heirs": _object(_of_both("Heirs"), heirs={"type": "object", "additionalProperties": _INTEGER}),
    "Rejoin": _object(
        _of_both("Rejoin"), **{"from": _STRING}, to=_nullable(_STRING), leases=_LEASES, becomes=_STRING, next=_STRING
    ),
    "Resolved": _object(resolved=_STRINGS),
    "History": _object(
        address=_STRING,
        history=_list_of(
            _object(
                at_ms={**_INTEGER, "description": "Milliseconds since 1970, by this host's clock."},
                first=_STRING,
                last=_STRING,
                before={**_STRING, "description": "The owner before; empty where there was none."},
                owner=_STRING,
                epoch=_INTEGER,
                version=_INTEGER,
                writer=_STRING,
                source={**_STRING, "description": "The peer whose message brought it, or this one."},
            )
        ),
    ),
    "Ready": _object(state=_STRING, reason=_nullable(_STRING)),
    "Done": _object(),
    "Error": _object(
        error=_object(
            {
                "holder": _object(id=_STRING, host=_STRING),
                "holders": _list_of(_object(host=_STRING, owned=_INTEGER, state=_STRING)),
            },
            code={**_STRING, "enum": sorted(STATUS_OF_ERROR)},
            message={**_STRING, "description": "One line that says what to do."},
        )
    ),
}


def document(routes: Iterable[Route], version: str) -> Schema:
    """The description of `routes`."""
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ringipam", "version": version},
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


def _operation(route: Route) -> Schema:
    answers = {str(status): _answer(status, what) for status, what in route.answers.items()}
    operation: Schema = {
        "operationId": "-".join([route.method.lower(), *re.findall(r"\w+", route.path)]),
        "summary": route.about,
        "parameters": [*map(_path_parameter, re.findall(r"{(\w+)}", route.path)), *map(_query_parameter, route.query)],
        "responses": {**answers, "default": _refusal(route)},
    }
    if route.raw:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    if route.body:
        operation["requestBody"] = _body(route.body)
    return operation


def _answer(status: int, what: str) -> Schema:
    answer: Schema = {"description": HTTPStatus(status).phrase}
    if what:
        answer["content"] = {what: {}} if "/" in what else _json({"$ref": f"#/components/schemas/{what}"})
    return answer


def _refusal(route: Route) -> Schema:
    if route.raw:
        return {"description": "Why not, in the caller's own protocol.", "content": {"application/json": {}}}
    if route.lenient:
        return {"description": "Why not, in one line.", "content": {"text/plain": {}}}
    return {"description": "Why not.", "content": _json({"$ref": "#/components/schemas/Error"})}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _STRING}


def _query_parameter(field: Field) -> Schema:
    schema = _schema(field)
    parameter: Schema = {"name": field.name, "in": "query", "description": schema.pop("description"), "schema": schema}
    return {**parameter, "required": True} if field.required else parameter


def _body(fields: Iterable[Field]) -> Schema:
    fields = list(fields)
    required = [field.name for field in fields if field.required]
    schema: Schema = {
        "type": "object",
        "properties": {field.name: _schema(field) for field in fields},
        "required": required,
        "additionalProperties": False,
    }
    return {"required": bool(required), "content": _json(schema)}


def _schema(field: Field) -> Schema:
    schema: Schema = {"description": field.about}
    match field.kind:
        case Kind.TEXT:
            schema |= _STRING
        case Kind.FLAG:
            schema["type"] = "boolean"
        case Kind.SECONDS:
            schema |= {"type": "number", "exclusiveMinimum": 0, "maximum": TIMEOUT_S_MAX, "default": TIMEOUT_S}
        case Kind.AGE:
            schema |= {"type": "number", "minimum": 0, "maximum": OLDER_THAN_S_MAX, "default": OLDER_THAN_S}
        case Kind.IDS:
            schema |= _STRINGS
        case Kind.LABELS:
            schema |= {"type": "object", "additionalProperties": _STRING}
    if field.choices:
        schema["enum"] = list(field.choices)
    return schema
