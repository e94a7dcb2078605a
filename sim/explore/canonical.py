"""When two states of a host count as one: a digest of everything in it that can make a difference.

It walks the objects, so what a later version of the core adds is taken in unless it is named here.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from sortedcontainers import SortedList

INSTANTS = range(10**12, 10**13)
"""Such integers are points in time. Counters, addresses and periods of a small world are less; what is hashed, and
the deadline of what waits for nothing, are more."""
IRRELEVANT = frozenset(
    (
        "settings",  # the same for ever
        "universe",
        "since",  # shown to operators, and nothing follows from them
        "since_ms",
        "warnings",
        "ring_changes",  # tells whether a cache is stale, and the caches
        "_owners",
        "_owners_at",
        "_neighbours",
        "_neighbours_of",
        "_handlers",  # who calls whom
        "_views",
        "memory",  # numbers every commit, so no two ways lead to one state; no world here loses any
        "points",
        "point",
        "_unsaved",
        "_last",
        "_came_by",
        "_basis_of",  # tells whether a cache is stale, and the cache
        "_found",
        "asked",  # of the last choice
        "high",
    )
)
_TEXTS = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)


def digest(root: object, now: int) -> bytes:
    """Equal for two states iff they are the same but for where on the time line they lie, and `IRRELEVANT` things.

    Points in time are taken relative to `now`, the host's own clock: no peer compares its clock with another's.
    """
    return blake2b(repr(_Walk(now).plain(root)).encode(), digest_size=16).digest()


class _Walk:
    def __init__(self, now: int) -> None:
        self._now = now
        self._met: dict[int, int] = {}

    def plain(self, value: object) -> object:
        """`value` as nested tuples of plain values."""
        kind = type(value)
        if kind is int:
            return ("at", value - self._now) if value in INSTANTS else value  # type: ignore[operator]
        if value is None or kind is str or kind is bool or kind is bytes:
            return value
        if isinstance(value, tuple | list | deque | SortedList):
            return tuple([self.plain(item) for item in value])
        if isinstance(value, dict):
            return tuple([(self.plain(key), self.plain(item)) for key, item in value.items()])
        if isinstance(value, set | frozenset):
            return tuple(sorted(value))
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, _TEXTS):
            return str(value)
        if isinstance(value, Exception):
            return (kind.__name__, str(value))
        if callable(value):
            return None
        return self._object(value)

    def _object(self, value: object) -> object:
        """Its attributes; of one that can change, also whether it was met before: two parts may share it."""
        kind: type = type(value)
        if not _frozen(kind):
            if id(value) in self._met:
                return ("met", self._met[id(value)])
            self._met[id(value)] = len(self._met)
        names = sorted(value.__dict__) if hasattr(value, "__dict__") else _slots(kind)
        return (kind.__name__, *[self.plain(getattr(value, name)) for name in names if name not in IRRELEVANT])


@cache
def _frozen(kind: type) -> bool:
    return bool(getattr(getattr(kind, "__dataclass_params__", None), "frozen", False))


@cache
def _slots(kind: type) -> tuple[str, ...]:
    found = (name for base in reversed(kind.__mro__) for name in base.__dict__.get("__slots__", ()))
    return tuple(dict.fromkeys(found))
