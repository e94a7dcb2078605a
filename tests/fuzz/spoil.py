"""Payloads made wrong on purpose: values changed where they stand, and bytes changed wherever."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

EDGES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 255, (1 << 31) - 1, 1 << 32, 1 << 48, (1 << 62) + 1, (1 << 64) - 1, 0.5),
    *("", "a b", "\x1b[2J", "a.1f", "x" * 300, b"", b"\xff" * 16, b"\x01" + bytes(16), bytes(33)),
    *([], [[]], [0] * 70, {}, {"a": "b"}, {1: [2]}),
)


def spoiled(payload: bytes, rng: Random) -> bytes:
    """`payload` with one to three things wrong with it."""
    for _ in range(rng.randint(1, 3)):
        payload = rng.choice((_value_changed, _value_changed, _bytes_changed, _cut, _nested, _lengthened))(payload, rng)
    return payload


def _value_changed(payload: bytes, rng: Random) -> bytes:
    """Another value, another number of elements, or two swapped, anywhere in the tree."""
    try:
        tree = msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return _bytes_changed(payload, rng)
    places = _places(tree)
    if not places:
        return _bytes_changed(payload, rng)
    place = rng.choice(places)
    at = rng.randrange(len(place))
    rng.choice(CHANGES)(place, at, rng)
    return bytes(msgpack.packb(tree))


def _replace(place: list[Any], at: int, rng: Random) -> None:
    place[at] = rng.choice(EDGES)


def _nudge(place: list[Any], at: int, rng: Random) -> None:
    if isinstance(place[at], int) and not isinstance(place[at], bool):
        place[at] = min(max(place[at] + rng.choice((-1, 1, 1 << 32)), -(1 << 63)), (1 << 64) - 1)


def _double(place: list[Any], at: int, rng: Random) -> None:
    place[at:at] = [place[at]] * rng.choice((1, 1, 40))


def _drop(place: list[Any], at: int, rng: Random) -> None:
    del place[at]


def _swap(place: list[Any], at: int, rng: Random) -> None:
    other = rng.randrange(len(place))
    place[at], place[other] = place[other], place[at]


CHANGES: tuple[Callable[[list[Any], int, Random], None], ...] = (_replace, _nudge, _double, _drop, _swap)


def _places(tree: Any) -> list[list[Any]]:
    found, todo = [], [tree]
    while todo:
        place = todo.pop()
        if isinstance(place, list) and place:
            found.append(place)
            todo += place
    return found


def _bytes_changed(payload: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(payload) + 1)
    return payload[:at] + rng.randbytes(rng.randrange(4)) + payload[at + rng.randrange(4) :]


def _cut(payload: bytes, rng: Random) -> bytes:
    return payload[: rng.randrange(len(payload) + 1)]


def _nested(payload: bytes, rng: Random) -> bytes:
    """Arrays in arrays, deeper than anybody's stack."""
    at = rng.randrange(len(payload) + 1)
    return payload[:at] + bytes([rng.choice((0x91, 0x81))]) * rng.choice((3, 5_000)) + payload[at:]


def _lengthened(payload: bytes, rng: Random) -> bytes:
    """A header that announces far more than there is."""
    at = rng.randrange(len(payload) + 1)
    header = rng.choice((0xC6, 0xC9, 0xDB, 0xDD, 0xDF))
    return (
        payload[:at] + bytes([header]) + rng.choice((1 << 31, (1 << 32) - 1, 70_000)).to_bytes(4, "big") + payload[at:]
    )
