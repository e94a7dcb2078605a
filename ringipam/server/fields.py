"""What a request may carry besides its path: one description that both checks it and documents it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

from ringipam.config import OLDER_THAN_S, OLDER_THAN_S_MAX, TIMEOUT_S, TIMEOUT_S_MAX
from ringipam.errors import RequestError
from ringipam.lease import check_labels


class Kind(Enum):
    TEXT = "a string"
    SECONDS = f"a number above 0 and at most {TIMEOUT_S_MAX:.0f}"
    AGE = f"a number from 0 to {OLDER_THAN_S_MAX:.0f}"
    FLAG = "true or false"
    IDS = "a list of strings"
    LABELS = "an object of strings"


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a JSON body, or a parameter of a query."""

    name: str
    kind: Kind
    about: str
    required: bool = False
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> object:
        """`value`, which came out of JSON, if it may stand here; raises RequestError."""
        if self.kind is Kind.LABELS:
            return check_labels(value)
        if not _fits(self.kind, value):
            raise RequestError(f"{self.name} is {self.kind.value}, not {_brief(value)}")
        if self.choices and value not in self.choices:
            raise RequestError(f"{self.name} is {' or '.join(self.choices)}, not {_brief(value)}")
        return value

    def read(self, text: str) -> object:
        """The value that `text` in a query stands for; raises RequestError."""
        value: object = text
        if self.kind is Kind.SECONDS:
            with suppress(ValueError):  # what stays text is refused below
                value = float(text)
        elif self.kind is Kind.FLAG:
            value = {"true": True, "false": False}.get(text, text)
        return self.check(value)


def _fits(kind: Kind, value: object) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.SECONDS:
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= TIMEOUT_S_MAX
        case Kind.AGE:
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= OLDER_THAN_S_MAX
        case Kind.IDS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case Kind.LABELS:
            return isinstance(value, dict)


def _brief(value: object) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:  # it could just be read, from a place less deep in the program
        return "something nested too deeply"
    return text if len(text) <= 60 else f"{text[:57]}…"


class Arguments:
    """Checked values by name; those of path, query and body do not clash."""

    def __init__(self, path: Mapping[str, str], values: Mapping[str, object], body: bytes = b"") -> None:
        self.path = path
        self.body = body
        """As it came, for a route that reads it itself."""
        self._values = values

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool:
        return self._values.get(name) is True

    def labels(self) -> dict[str, str]:
        value = self._values.get("labels")
        return value if isinstance(value, dict) else {}

    def ids(self, name: str) -> list[str]:
        value = self._values.get(name)
        return value if isinstance(value, list) else []

    def older_than_ms(self) -> int:
        value = self._values.get("older_than_s")
        return round((value if isinstance(value, int | float) else OLDER_THAN_S) * 1000)

    def timeout_ms(self) -> int:
        value = self._values.get("timeout_s")
        seconds = value if isinstance(value, int | float) else TIMEOUT_S
        return max(1, round(seconds * 1000))


def read_query(fields: Sequence[Field], query: str) -> dict[str, object]:
    """The parameters of `query`; raises RequestError if any is unknown, twice there, or malformed."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise RequestError(f"malformed query: {query[:60]!r}") from None
    known = {field.name: field for field in fields}
    values: dict[str, object] = {}
    for name, text in pairs:
        if name not in known:
            raise RequestError(_unknown("query parameter", name, known))
        if name in values:
            raise RequestError(f"query parameter twice: {name!r}")
        values[name] = known[name].read(text)
    return values


def read_body(fields: Sequence[Field], body: bytes) -> dict[str, object]:
    """The members of the JSON object `body`; an empty body is an empty object. Raises RequestError."""
    data = _parse_json(body) if body else {}
    if not isinstance(data, dict):
        raise RequestError("the body is not a JSON object")
    known = {field.name: field for field in fields}
    for name in data:
        if name not in known:
            raise RequestError(_unknown("field", name, known))
    for field in fields:
        if field.required and field.name not in data:
            raise RequestError(f"{field.name} is missing in the body")
    return {name: known[name].check(value) for name, value in data.items()}


def _parse_json(body: bytes) -> object:
    try:
        return _decode(body.decode())
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _unknown(what: str, name: str, known: Mapping[str, Field]) -> str:
    return f"unknown {what} {_brief(name)}; known are: {', '.join(known) or 'none'}"
