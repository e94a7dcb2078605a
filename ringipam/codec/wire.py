"""Scalars, lists and tables of peers, to and from msgpack. Believes no length and no type before it has checked it.

The reader never asks for more than one scalar or one array header at a time. So nesting is bounded by the code that
drives it, no length is believed before it was compared with its limit, and a bomb of empty arrays costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgpack

from ringipam.address import Range
from ringipam.codec.limits import (
    ADDRESS_MAX,
    COUNT_MAX,
    DIGEST_BYTES_MAX,
    EXTRAS_MAX,
    FRAME_BYTES_MAX,
    PRINT_BYTES,
    PRINTS_MAX,
    REASON_LENGTH_MAX,
)
from ringipam.errors import PeerError
from ringipam.lease import LABELS_MAX, check_labels

T = TypeVar("T")

PEER_PATTERN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?\.[0-9a-f]{1,64}")
"""`name.uid`, at most 128 characters."""

_INT_MAX = (1 << 63) - 1


class UnknownKindError(PeerError):
    """What was sent may be in order, but is of a kind that a newer release has added, or nobody has."""

    def __init__(self, kind: int) -> None:
        super().__init__(f"unknown kind of message: {kind}")
        self.kind = kind


class Kind(NamedTuple):
    """How one kind of message or body travels."""

    number: int
    type: type
    fields: int
    encode: Callable[..., list[object]]
    decode: Callable[[Reader], Any]


class Reader:
    """Takes a payload apart, one checked value at a time, in the order in which it was written."""

    __slots__ = ("_array", "_map", "_next", "_skip", "peers", "position")

    def __init__(self, payload: bytes) -> None:
        # No containers are ever unpacked as a whole, so none may be larger than empty.
        unpacker = msgpack.Unpacker(
            max_buffer_size=FRAME_BYTES_MAX,
            read_size=max(1, len(payload)),
            max_str_len=4 * REASON_LENGTH_MAX,
            max_bin_len=PRINT_BYTES * PRINTS_MAX,
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
        unpacker.feed(payload)
        self._next = unpacker.unpack
        self._array = unpacker.read_array_header
        self._map = unpacker.read_map_header
        self._skip = unpacker.skip
        self.position = unpacker.tell
        self.peers: list[str] = []

    def one_of(self, kinds: dict[int, Kind]) -> Any:
        """An array that begins with the number of one of `kinds`; raises UnknownKindError on another."""
        length = self._array()
        number = self.uint(COUNT_MAX)
        kind = kinds.get(number)
        if kind is None:
            raise UnknownKindError(number)
        self._check_length(length - 1, kind.fields)
        value = kind.decode(self)
        self.skip(length - 1 - kind.fields)
        return value

    def open(self, fields: int) -> int:
        """Enter an array of at least `fields` elements; how many more there are, to be skipped behind them."""
        length: int = self._array()
        self._check_length(length, fields)
        return length - fields

    def _check_length(self, length: int, fields: int) -> None:
        if not fields <= length <= fields + EXTRAS_MAX:
            raise PeerError(f"malformed message: {length} elements where {fields} are known")

    def skip(self, elements: int) -> None:
        """Pass over what a newer peer has added."""
        for _ in range(elements):
            self._skip()

    def many(self, item: Callable[[Reader], T], length_max: int) -> tuple[T, ...]:
        """A list of at most `length_max` elements."""
        return tuple([item(self) for _ in range(self.length(length_max))])

    def length(self, length_max: int) -> int:
        """Enter a list of at most `length_max` elements; how many it has."""
        length: int = self._array()
        if length > length_max:
            raise PeerError(f"malformed message: a list of {length} elements; {length_max} are allowed")
        return length

    def maybe(self, item: Callable[[Reader], T]) -> T | None:
        """What may be absent: a list of none or one."""
        found = self.many(item, 1)
        return found[0] if found else None

    def uint(self, limit: int) -> int:
        """A number from 0 to `limit`."""
        value = self._next()
        if type(value) is not int or not 0 <= value <= limit:
            raise _unexpected(value, f"a number of 0 to {limit}")
        return value

    def wide(self) -> int:
        """An address, or a count of addresses: 0 to 2**128."""
        value = self._next()
        if type(value) is bytes and len(value) <= 17:
            value = int.from_bytes(value, "big")
        if type(value) is not int or not 0 <= value <= ADDRESS_MAX:
            raise _unexpected(value, "an address")
        return value

    def extent(self, after: int = 0) -> tuple[int, int]:
        """Start and end of a range that is not empty; it starts so far behind `after`."""
        start = after + self.wide()
        end = start + self.wide()
        if not start < end <= ADDRESS_MAX:
            raise PeerError(f"malformed message: not a range: {start} to {end}")
        return start, end

    def fingerprints(self) -> list[bytes]:
        """Fingerprints of a ring or a member list, one behind the other in one value."""
        value = self._next()
        if type(value) is not bytes or len(value) % PRINT_BYTES:
            raise _unexpected(value, f"fingerprints of {PRINT_BYTES} bytes")
        return [value[i : i + PRINT_BYTES] for i in range(0, len(value), PRINT_BYTES)]

    def run(self, after: int, length_max: int) -> list[Range]:
        """Ranges without a gap between them: so far behind `after` they start, then the size of each."""
        length = self.length(length_max + 1)
        if length < 2:
            raise PeerError("malformed message: a run of no ranges")
        end = after + self.wide()
        found: list[Range] = []
        for _ in range(length - 1):
            start, end = end, end + self.wide()
            if not start < end <= ADDRESS_MAX:
                raise PeerError(f"malformed message: not a range: {start} to {end}")
            found.append(Range(start, end))
        return found

    def flag(self) -> bool:
        value = self._next()
        if type(value) is not bool:
            raise _unexpected(value, "true or false")
        return value

    def text(self, length_max: int) -> str:
        """Printable text: it goes to logs and terminals."""
        value = self._next()
        if type(value) is not str or len(value) > length_max or not value.isprintable():
            raise _unexpected(value, f"a printable text of at most {length_max} characters")
        return value

    def digest(self) -> bytes:
        value = self._next()
        if type(value) is not bytes or len(value) > DIGEST_BYTES_MAX:
            raise _unexpected(value, f"at most {DIGEST_BYTES_MAX} bytes")
        return value

    def peer_id(self) -> str:
        value = self._next()
        if type(value) is not str or not PEER_PATTERN.fullmatch(value):
            raise _unexpected(value, "a peer id")
        return value

    def peer(self) -> str:
        """A peer, by its index in the envelope's table."""
        value = self._next()
        if type(value) is not int or not 0 <= value < len(self.peers):
            raise _unexpected(value, "the index of a peer")
        return self.peers[value]

    def peer_or_nobody(self) -> str:
        value = self._next()
        if value is None:
            return ""
        if type(value) is not int or not 0 <= value < len(self.peers):
            raise _unexpected(value, "the index of a peer")
        return self.peers[value]

    def labels(self) -> dict[str, str]:
        length = self._map()
        if length > LABELS_MAX:
            raise PeerError(f"malformed message: {length} labels; {LABELS_MAX} are allowed")
        found: dict[str, str] = {}
        for _ in range(length):
            key = self._next()
            if type(key) is not str:
                raise _unexpected(key, "a label")
            found[key] = self._next()
        return check_labels(found)


def _unexpected(value: object, wanted: str) -> PeerError:
    return PeerError(f"malformed message: {value!r:.60} where {wanted} was expected")


class PeerTable:
    """The table of peer ids of an envelope that is being written."""

    __slots__ = ("_index", "ids")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._index: dict[str, int | None] = {"": None}

    def ref(self, peer: str) -> int | None:
        """What stands for `peer` outside the table."""
        if peer not in self._index:
            self._index[peer] = len(self.ids)
            self.ids.append(peer)
        return self._index[peer]


def put_wide(number: int) -> int | bytes:
    """An address, or a count of addresses, as `Reader.wide` reads it."""
    return number if number <= _INT_MAX else number.to_bytes((number.bit_length() + 7) // 8, "big")
