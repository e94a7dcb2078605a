"""What callers ask for next. The same for every surface, so that only the surface differs. No I/O."""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

ID_LENGTH = 64
"""As long as a container's id."""
CHURN_HELD = 200
"""How many containers run on average while some start and some stop."""


class Step(NamedTuple):
    """One request: `address`, with its length, for a claim only."""

    verb: str
    id: str
    address: str = ""


def filled_id(number: int) -> str:
    """The holder of the lease with this number in a directory of benchmarks.filling."""
    return f"filled-{number:08}-".ljust(ID_LENGTH, "0")


class Load:
    """A stream of requests under ids of its own, and what it holds.

    `filled` leases were there before, to be looked up; claims take addresses downward from `last`.
    """

    def __init__(self, prefix: str, filled: int = 0, last: int = 0, prefix_len: int = 32, family: int = 4) -> None:
        self._prefix = prefix
        self._filled = filled
        self._last = last
        self._prefix_len = prefix_len
        self._family = family
        self._numbers = 0
        self._held: deque[str] = deque()
        self._random = random.Random(1)

    def next(self, verb: str) -> Step | None:
        """None when there is nothing left to be done of that verb: then all has been released."""
        if verb == "churn":
            verb = "allocate" if self._random.randrange(2 * CHURN_HELD) >= len(self._held) else "release"
        match verb:
            case "release":
                return Step("release", self._held.popleft()) if self._held else None
            case "lookup":
                return Step("lookup", filled_id(self._random.randrange(max(1, self._filled))))
            case "claim":
                return Step("claim", self._new(), self._address())
            case _:
                return Step("allocate", self._new())

    def done(self, step: Step) -> None:
        """The request was carried out; who got an address holds it from now on."""
        if step.verb in ("allocate", "claim"):
            self._held.append(step.id)

    def _new(self) -> str:
        self._numbers += 1
        return f"{self._prefix}-{self._numbers:08}-".ljust(ID_LENGTH, "0")

    def _address(self) -> str:
        self._last -= 1
        packed = self._last.to_bytes(4 if self._family == 4 else 16, "big")
        return f"{written(packed)}/{self._prefix_len}"


def written(packed: bytes) -> str:
    """An address as text, without the cost of the standard library's objects."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return ":".join(f"{packed[at]:x}{packed[at + 1]:02x}" for at in range(0, 16, 2))
