"""Messages of every kind, made from their types: a kind that is added is made too, without a word here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from itertools import pairwise
from random import Random
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ringipam import codec, messages
from ringipam.address import Range
from ringipam.claim import NOBODY, Claim
from ringipam.codec import decode, encode
from ringipam.errors import PeerError
from ringipam.messages import Envelope, Message

TRIES = 400
PEER_FIELDS = frozenset(("peer", "owner", "writer", "proposer", "origin", "target", "members", "acceptors"))
"""Fields of text that name a peer; in fields that are not known here anything is tried."""
KINDS: tuple[type, ...] = (
    *(kind for kind in get_args(messages.Message) if kind is not Envelope),
    *get_args(messages.Body),
)


class Forge:
    """Draws from `rng` alone; `within` is where most addresses lie, `peers` those who are mostly spoken of.

    `heard` are bodies whose fields are repeated now and then: numbers, ballots and salts that somebody waits for.
    """

    def __init__(
        self, rng: Random, within: Range, peers: Sequence[str], mark: bytes, heard: Sequence[Any] = ()
    ) -> None:
        self._rng = rng
        self._within = within
        self._peers = list(peers)
        self._mark = mark
        self._width = 0
        self._heard: dict[str, list[Any]] = {}
        for body in heard:
            for name in _hints(type(body)):
                self._heard.setdefault(name, []).append(getattr(body, name))

    def message(self) -> Message:
        """One that a peer may send, as far as the codec can tell."""
        return self.of(self._rng.choice(KINDS))

    def of(self, kind: type) -> Message:
        """One of this kind, in an envelope if it is a body."""
        for _ in range(TRIES):
            made = self._wrap(self._loose(kind))
            try:
                if decode(encode(made)) == made:
                    return made
            except (PeerError, OverflowError, TypeError, AttributeError, ValueError):
                continue  # a combination that this kind does not allow
        raise AssertionError(f"no {kind.__name__} in {TRIES} tries: teach the forge what its fields may hold")

    def _loose(self, kind: type) -> Any:
        self._width = self._rng.choice((0, 4, 8, 16, 32))
        return self._value(kind, "")

    def _wrap(self, made: Any) -> Message:
        if not isinstance(made, get_args(messages.Body)):
            return made  # type: ignore[no-any-return]
        mark = self._mark if self._rng.random() < 0.95 else self._bytes()
        if self._rng.random() < 0.8:
            return Envelope(mark, made)
        serial, hops = self._rng.getrandbits(63), self._rng.randrange(65)
        return Envelope(mark, made, self._peer(), self._peer(), serial, hops)

    # ── values by type ───────────────────────────────────────────────────────────────────────────

    def _value(self, kind: Any, name: str) -> Any:
        origin, inner = get_origin(kind), get_args(kind)
        if kind in _SIMPLE:
            return _SIMPLE[kind](self, name)
        if origin in (Union, UnionType):
            return self._value(self._rng.choice(inner), name)
        if origin is tuple and inner[1:] == (...,):
            return self._list(inner[0], name)
        if origin is tuple:
            return tuple(self._value(part, name) for part in inner)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {self._value(inner[0], ""): self._value(inner[1], "") for _ in range(self._rng.randrange(3))}
        if issubclass(kind, Enum):
            return self._rng.choice(list(kind))
        if kind is Claim and self._rng.random() < 0.1:
            return NOBODY
        return self._record(kind)

    def _record(self, kind: type) -> Any:
        values = {name: self._value(hint, name) for name, hint in _hints(kind).items()}
        for name in [name for name in values if name in self._heard and self._rng.random() < 0.5]:
            values[name] = self._rng.choice(self._heard[name])  # of another type at times: then it is no message
        if {"start", "end"} <= set(values):
            values["start"], values["end"] = sorted((self._address(), self._address()))
        return kind(**values)

    def _list(self, kind: Any, name: str) -> tuple[Any, ...]:
        length = self._rng.choice((0, 1, 1, 2, 3, 8))
        found = [self._value(kind, name) for _ in range(length)]
        if isinstance(kind, type) and {"start", "end"} <= set(_hints(kind)) and self._rng.random() < 0.8:
            ends = sorted({self._address() for _ in range(2 * length)})  # in order and apart, as correct peers send
            bounds = [pair for index, pair in enumerate(pairwise(ends)) if index % 2 == 0 or self._rng.random() < 0.5]
            found = [item._replace(start=lo, end=hi) for item, (lo, hi) in zip(found, bounds, strict=False)]
        return tuple(found)

    def _address(self) -> int:
        first, last = self._within
        if self._rng.random() < 0.9:
            return self._rng.choice((first, last, self._rng.randint(first, last), self._rng.randint(first, last)))
        return self._rng.choice((0, 1 << 32, 1 << 63, codec.ADDRESS_MAX, self._rng.getrandbits(128)))

    def _int(self, name: str) -> int:
        if name == "prefix_len":
            return self._rng.randrange(33)
        small = self._rng.choice((0, 1, 2, 3, 7, self._rng.randrange(1000), 1 << 20))
        return self._rng.choice((small, small, small, messages.COUNTER_MAX, codec.COUNT_MAX, self._address()))

    def _bytes(self, name: str = "") -> bytes:
        return self._rng.randbytes(self._width)

    def _peer(self) -> str:
        if self._rng.random() < 0.9:
            return self._rng.choice(self._peers)
        return f"n{self._rng.randrange(50)}.{self._rng.getrandbits(48):012x}"

    def _text(self, name: str) -> str:
        if name in PEER_FIELDS and self._rng.random() < 0.97:
            return self._peer()
        universe = str(ipaddress.ip_address(self._within.start))
        return self._rng.choice(
            ("", "w", "listed", "consensus", "c1", ":6783", "host9:6783", "a..b:1", f"{universe}/24", self._peer(), "é")
        )

    def _datetime(self, name: str) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self._rng.randrange(1 << 33))

    def _v4(self, name: str) -> ipaddress.IPv4Address:
        return ipaddress.IPv4Address(self._rng.getrandbits(32))

    def _v6(self, name: str) -> ipaddress.IPv6Address:
        return ipaddress.IPv6Address(self._rng.getrandbits(128))

    def _network_v4(self, name: str) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network((self._v4(name), self._rng.randrange(33)), strict=False)

    def _network_v6(self, name: str) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network((self._v6(name), self._rng.randrange(129)), strict=False)


_SIMPLE: dict[Any, Any] = {
    int: Forge._int,
    str: Forge._text,
    bytes: Forge._bytes,
    bool: lambda forge, name: forge._rng.random() < 0.5,
    NoneType: lambda forge, name: None,
    datetime: Forge._datetime,
    ipaddress.IPv4Address: Forge._v4,
    ipaddress.IPv6Address: Forge._v6,
    ipaddress.IPv4Network: Forge._network_v4,
    ipaddress.IPv6Network: Forge._network_v6,
}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass or a named tuple and their types."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else getattr(kind, "_fields", ())
    return {name: hints[name] for name in names}
