"""Bytes ↔ messages, bounded. Whatever the bytes, `decode` gives a message or raises PeerError, quickly.

A message is a msgpack array that begins with the number of its kind. The tables `MESSAGES` and `BODIES` only ever
grow, and so do the arrays: elements behind those known here are skipped, as newer peers may send more.

* An address is an integer below 2**63, else its big-endian bytes; so are counts of addresses. A range is its
  start and its size.
* Peer ids stand once in an envelope, in a table that begins with origin and target; everywhere else a peer is its
  index there, or nil for "nobody".
* What may be absent is a list of none or one.

The decoder never asks for more than one scalar or one array header at a time. So nesting is bounded by the code
below, no length is believed before it was compared with its limit, and a bomb of empty arrays costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, TypeVar

import msgpack

from ringipam.address import Cidr
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.errors import PeerError, RequestError
from ringipam.lease import ID_LENGTH_MAX, LABELS_MAX, Lease, check_id, check_labels, network
from ringipam.messages import (
    Accept,
    Accepted,
    Ack,
    Ballot,
    Body,
    Compare,
    Denial,
    Denied,
    Digest,
    Envelope,
    Founding,
    Grant,
    Health,
    Hello,
    Introduce,
    Introduced,
    LeasePage,
    LeaseQuery,
    Member,
    Members,
    Message,
    Nudge,
    Offer,
    Ping,
    PingRequest,
    Prepare,
    Print,
    Promise,
    Ranges,
    Refused,
    Rejected,
    Rest,
    Rumour,
    SpaceRequest,
    Terms,
    Want,
)

T = TypeVar("T")

FRAME_BYTES_MAX = 4 << 20
HEADER_BYTES = 4

ADDRESS_MAX = 1 << 128
"""Inclusive, as the end of a range may lie behind the last address."""
COUNT_MAX = 1 << 62
"""Of what only ever rises: versions, incarnations, sequence numbers, times."""
RANDOM_MAX = (1 << 63) - 1
PROTOCOL_MAX = (1 << 16) - 1
HOPS_MAX = 64
ELECTORS_MAX = 1_000
SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999, the last that `datetime` knows."""

CLUSTER_LENGTH_MAX = 64
UNIVERSE_LENGTH_MAX = 64
ENDPOINT_LENGTH_MAX = 300
LEASE_LENGTH_MAX = 64
WORD_LENGTH_MAX = 64
REASON_LENGTH_MAX = 2_000
"""Longer ones are cut by the sender: they are prose."""
DIGEST_BYTES_MAX = 32

SEGMENTS_MAX = 20_000
MEMBERS_MAX = 2_000
RUMOURS_MAX = 10_000
PRINTS_MAX = 1_000
LEASES_MAX = 2_000
PEERS_MAX = 20_000
EXTRAS_MAX = 64
"""How many elements a newer peer may add to an array."""

PEER_PATTERN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?\.[0-9a-f]{1,64}")
"""`name.uid`, at most 128 characters."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_INT_MAX = (1 << 63) - 1


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


def frame(message: Message) -> bytes:
    """`message` as it travels: four bytes of length, big-endian, and the payload.

    Raises ValueError if it is too large for a frame; whoever makes long messages must make several.
    """
    payload = encode(message)
    if len(payload) > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {len(payload)} bytes does not fit a frame of {FRAME_BYTES_MAX}")
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def frame_length(header: bytes) -> int:
    """How many bytes of payload follow `header`; raises PeerError."""
    length = int.from_bytes(header, "big")
    if not 0 < length <= FRAME_BYTES_MAX:
        raise PeerError(f"a frame of {length} bytes; 1 to {FRAME_BYTES_MAX} are allowed")
    return length


def encode(message: Message) -> bytes:
    """The payload of a frame."""
    kind = _MESSAGE_OF_TYPE[type(message)]
    payload: bytes = msgpack.packb([kind.number, *kind.encode(message)])
    return payload


def decode(payload: bytes) -> Message:
    """The message that `payload` stands for, every value checked; raises PeerError."""
    if len(payload) > FRAME_BYTES_MAX:
        raise PeerError(f"a payload of {len(payload)} bytes; {FRAME_BYTES_MAX} are allowed")
    reader = _Reader(payload)
    try:
        message: Message = reader.one_of(_MESSAGE_OF_NUMBER)
    except msgpack.OutOfData:
        raise PeerError("malformed message: it ends too early") from None
    except (ValueError, msgpack.UnpackException, RequestError) as error:
        raise PeerError(f"malformed message: {error or type(error).__name__}") from None
    if reader.position() != len(payload):
        raise PeerError("malformed message: something follows it")
    return message


# ── reading and writing values ────────────────────────────────────────────────────────────────────


class _Kind(NamedTuple):
    """How one kind of message or body travels."""

    number: int
    type: type
    fields: int
    encode: Callable[..., list[object]]
    decode: Callable[[_Reader], Any]


class _Reader:
    """Takes a payload apart, one checked value at a time, in the order in which it was written."""

    __slots__ = ("_array", "_map", "_next", "_skip", "peers", "position")

    def __init__(self, payload: bytes) -> None:
        # No containers are ever unpacked as a whole, so none may be larger than empty.
        unpacker = msgpack.Unpacker(
            max_buffer_size=FRAME_BYTES_MAX,
            read_size=max(1, len(payload)),
            max_str_len=4 * REASON_LENGTH_MAX,
            max_bin_len=DIGEST_BYTES_MAX,
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

    def one_of(self, kinds: dict[int, _Kind]) -> Any:
        """An array that begins with the number of one of `kinds`."""
        length = self._array()
        number = self.uint(COUNT_MAX)
        kind = kinds.get(number)
        if kind is None:
            raise PeerError(f"unknown kind of message: {number}")
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

    def many(self, item: Callable[[_Reader], T], length_max: int) -> tuple[T, ...]:
        """A list of at most `length_max` elements."""
        length = self._array()
        if length > length_max:
            raise PeerError(f"malformed message: a list of {length} elements; {length_max} are allowed")
        return tuple([item(self) for _ in range(length)])

    def maybe(self, item: Callable[[_Reader], T]) -> T | None:
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

    def extent(self) -> tuple[int, int]:
        """Start and end of a range that is not empty."""
        start = self.wide()
        end = start + self.wide()
        if not start < end <= ADDRESS_MAX:
            raise PeerError(f"malformed message: not a range: {start} to {end}")
        return start, end

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


class _Peers:
    """The table of peer ids of an envelope that is being written."""

    __slots__ = ("_index", "ids")

    def __init__(self, origin: str, target: str) -> None:
        self.ids = [origin, target]
        self._index: dict[str, int | None] = {"": None, origin: 0, target: 1}

    def ref(self, peer: str) -> int | None:
        """What stands for `peer` outside the table."""
        if peer not in self._index:
            self._index[peer] = len(self.ids)
            self.ids.append(peer)
        return self._index[peer]


def _wide(number: int) -> int | bytes:
    return number if number <= _INT_MAX else number.to_bytes((number.bit_length() + 7) // 8, "big")


# ── parts of messages ─────────────────────────────────────────────────────────────────────────────


def _put_segments(segments: tuple[Segment, ...], peers: _Peers) -> list[object]:
    ref = peers.ref
    return [
        [_wide(start), _wide(end - start), epoch, version, ref(owner), ref(writer)]
        for start, end, (epoch, version, owner, writer) in segments
    ]


def _segment(reader: _Reader) -> Segment:
    extra = reader.open(6)
    start, end = reader.extent()
    claim = Claim(reader.uint(COUNT_MAX), reader.uint(COUNT_MAX), reader.peer_or_nobody(), reader.peer_or_nobody())
    if not (claim.owner and claim.writer) and claim != NOBODY:
        raise PeerError(f"malformed message: a claim of nobody: {claim}")
    reader.skip(extra)
    return Segment(start, end, claim)


def _segments(reader: _Reader) -> tuple[Segment, ...]:
    return reader.many(_segment, SEGMENTS_MAX)


def _put_member(member: Member, peers: _Peers) -> list[object]:
    peer, address, incarnation, health, free = member
    return [peers.ref(peer), address, incarnation, health.value, _wide(free)]


def _member(reader: _Reader) -> Member:
    extra = reader.open(5)
    member = Member(
        reader.peer(),
        reader.text(ENDPOINT_LENGTH_MAX),
        reader.uint(COUNT_MAX),
        Health(reader.uint(COUNT_MAX)),
        reader.wide(),
    )
    reader.skip(extra)
    return member


def _put_members(members: tuple[Member, ...], peers: _Peers) -> list[object]:
    return [_put_member(member, peers) for member in members]


def _members(reader: _Reader) -> tuple[Member, ...]:
    return reader.many(_member, MEMBERS_MAX)


def _put_ballot(ballot: Ballot, peers: _Peers) -> list[object]:
    return [ballot.round, peers.ref(ballot.proposer)]


def _ballot(reader: _Reader) -> Ballot:
    extra = reader.open(2)
    ballot = Ballot(reader.uint(COUNT_MAX), reader.peer_or_nobody())
    if bool(ballot.round) != bool(ballot.proposer):
        raise PeerError(f"malformed message: not a ballot: {ballot}")
    reader.skip(extra)
    return ballot


def _put_terms(terms: Terms, peers: _Peers) -> list[object]:
    return [terms.mode, terms.electors, [peers.ref(peer) for peer in terms.acceptors]]


def _terms(reader: _Reader) -> Terms:
    extra = reader.open(3)
    terms = Terms(reader.text(WORD_LENGTH_MAX), reader.uint(ELECTORS_MAX), reader.many(_Reader.peer, ELECTORS_MAX))
    reader.skip(extra)
    return terms


def _put_founding(founding: Founding, peers: _Peers) -> list[object]:
    return [founding.cluster, [peers.ref(peer) for peer in founding.members]]


def _founding(reader: _Reader) -> Founding:
    extra = reader.open(2)
    founding = Founding(reader.text(CLUSTER_LENGTH_MAX), reader.many(_Reader.peer, ELECTORS_MAX))
    if not founding.cluster or not founding.members:
        raise PeerError("malformed message: a ring of nobody")
    reader.skip(extra)
    return founding


def _put_rest(rest: Rest) -> list[object]:
    return [_wide(rest.start), _wide(rest.end - rest.start), rest.remaining_ms]


def _rest(reader: _Reader) -> Rest:
    extra = reader.open(3)
    rest = Rest(*reader.extent(), reader.uint(COUNT_MAX))
    reader.skip(extra)
    return rest


def _put_print(fingerprint: Print) -> list[object]:
    start, end, digest = fingerprint
    return [_wide(start), _wide(end - start), digest]


def _print(reader: _Reader) -> Print:
    extra = reader.open(3)
    fingerprint = Print(*reader.extent(), reader.digest())
    reader.skip(extra)
    return fingerprint


def _put_lease(lease: Lease) -> list[object]:
    """Times travel as whole seconds."""
    return [
        lease.lease,
        lease.id,
        lease.address.version,
        _wide(int(lease.address)),
        lease.prefix_len,
        _wide(int(lease.subnet.network_address)),
        lease.subnet.prefixlen,
        lease.class_,
        lease.host,
        (lease.since - _EPOCH) // _SECOND,
        dict(lease.labels),
    ]


def _lease(reader: _Reader) -> Lease:
    extra = reader.open(11)
    lease_id = reader.text(LEASE_LENGTH_MAX)
    holder = check_id(reader.text(ID_LENGTH_MAX))
    family = reader.uint(6)
    if family not in (4, 6) or not lease_id:
        raise PeerError("malformed message: not a lease")
    bits = 32 if family == 4 else 128
    lease = Lease(
        lease=lease_id,
        id=holder,
        address=(IPv4Address if family == 4 else IPv6Address)(reader.wide()),
        prefix_len=reader.uint(bits),
        subnet=network(Cidr(family, reader.wide(), reader.uint(bits))),
        class_=reader.text(WORD_LENGTH_MAX),
        host=reader.text(WORD_LENGTH_MAX),
        since=_EPOCH + reader.uint(SECONDS_MAX) * _SECOND,
        labels=reader.labels(),
    )
    reader.skip(extra)
    return lease


def _rumour_number(reader: _Reader) -> int:
    return reader.uint(RANDOM_MAX)


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────


def _put_prepare(body: Prepare, peers: _Peers) -> list[object]:
    return [_put_ballot(body.ballot, peers), _put_terms(body.terms, peers)]


def _prepare(reader: _Reader) -> Prepare:
    return Prepare(_ballot(reader), _terms(reader))


def _put_promise(body: Promise, peers: _Peers) -> list[object]:
    return [
        _put_ballot(body.ballot, peers),
        [_put_ballot(body.accepted_ballot, peers)] if body.accepted_ballot is not None else [],
        [_put_founding(body.accepted, peers)] if body.accepted is not None else [],
    ]


def _promise(reader: _Reader) -> Promise:
    promise = Promise(_ballot(reader), reader.maybe(_ballot), reader.maybe(_founding))
    if (promise.accepted_ballot is None) != (promise.accepted is None):
        raise PeerError("malformed message: a promise that names half of what was accepted")
    return promise


def _put_accept(body: Accept, peers: _Peers) -> list[object]:
    return [_put_ballot(body.ballot, peers), _put_terms(body.terms, peers), _put_founding(body.value, peers)]


def _accept(reader: _Reader) -> Accept:
    return Accept(_ballot(reader), _terms(reader), _founding(reader))


def _put_accepted(body: Accepted, peers: _Peers) -> list[object]:
    return [_put_ballot(body.ballot, peers)]


def _accepted(reader: _Reader) -> Accepted:
    return Accepted(_ballot(reader))


def _put_rejected(body: Rejected, peers: _Peers) -> list[object]:
    return [
        _put_ballot(body.ballot, peers),
        [_put_ballot(body.promised, peers)] if body.promised is not None else [],
        body.reason[:REASON_LENGTH_MAX],
    ]


def _rejected(reader: _Reader) -> Rejected:
    return Rejected(_ballot(reader), reader.maybe(_ballot), reader.text(REASON_LENGTH_MAX))


def _put_nudge(body: Nudge, peers: _Peers) -> list[object]:
    return []


def _nudge(reader: _Reader) -> Nudge:
    return Nudge()


def _put_space_request(body: SpaceRequest, peers: _Peers) -> list[object]:
    return [
        body.number,
        _wide(body.start),
        _wide(body.end - body.start),
        _wide(body.want),
        body.exact,
        body.urgent,
        body.valid_ms,
    ]


def _space_request(reader: _Reader) -> SpaceRequest:
    number = reader.uint(COUNT_MAX)
    start, end = reader.extent()
    return SpaceRequest(number, start, end, reader.wide(), reader.flag(), reader.flag(), reader.uint(COUNT_MAX))


def _put_grant(body: Grant, peers: _Peers) -> list[object]:
    return [body.number, _put_segments(body.segments, peers), [_put_rest(rest) for rest in body.rests]]


def _grant(reader: _Reader) -> Grant:
    return Grant(reader.uint(COUNT_MAX), _segments(reader), reader.many(_rest, SEGMENTS_MAX))


def _put_denied(body: Denied, peers: _Peers) -> list[object]:
    return [body.number, body.reason.value, body.holder, _put_segments(body.segments, peers), _wide(body.owned)]


def _denied(reader: _Reader) -> Denied:
    number = reader.uint(COUNT_MAX)
    reason = Denial(reader.uint(COUNT_MAX))
    holder = reader.text(ID_LENGTH_MAX)
    return Denied(number, reason, check_id(holder) if holder else "", _segments(reader), reader.wide())


def _put_introduce(body: Introduce, peers: _Peers) -> list[object]:
    return [_put_member(body.member, peers)]


def _introduce(reader: _Reader) -> Introduce:
    return Introduce(_member(reader))


def _put_introduced(body: Introduced, peers: _Peers) -> list[object]:
    return [peers.ref(body.peer)]


def _introduced(reader: _Reader) -> Introduced:
    return Introduced(reader.peer())


def _put_ping(body: Ping, peers: _Peers) -> list[object]:
    return [body.sequence]


def _ping(reader: _Reader) -> Ping:
    return Ping(reader.uint(COUNT_MAX))


def _put_ack(body: Ack, peers: _Peers) -> list[object]:
    return [body.sequence]


def _ack(reader: _Reader) -> Ack:
    return Ack(reader.uint(COUNT_MAX))


def _put_ping_request(body: PingRequest, peers: _Peers) -> list[object]:
    return [body.sequence, peers.ref(body.peer)]


def _ping_request(reader: _Reader) -> PingRequest:
    return PingRequest(reader.uint(COUNT_MAX), reader.peer())


def _put_offer(body: Offer, peers: _Peers) -> list[object]:
    return [body.rumours]


def _offer(reader: _Reader) -> Offer:
    return Offer(reader.many(_rumour_number, RUMOURS_MAX))


def _put_want(body: Want, peers: _Peers) -> list[object]:
    return [body.rumours]


def _want(reader: _Reader) -> Want:
    return Want(reader.many(_rumour_number, RUMOURS_MAX))


def _put_rumour(body: Rumour, peers: _Peers) -> list[object]:
    return [body.rumour, _put_segments(body.segments, peers), _put_members(body.members, peers)]


def _rumour(reader: _Reader) -> Rumour:
    return Rumour(_rumour_number(reader), _segments(reader), _members(reader))


def _put_digest(body: Digest, peers: _Peers) -> list[object]:
    return [body.salt, body.ring, body.members]


def _digest(reader: _Reader) -> Digest:
    return Digest(reader.digest(), reader.digest(), reader.digest())


def _put_compare(body: Compare, peers: _Peers) -> list[object]:
    return [body.salt, [_put_print(fingerprint) for fingerprint in body.prints]]


def _compare(reader: _Reader) -> Compare:
    return Compare(reader.digest(), reader.many(_print, PRINTS_MAX))


def _put_ranges(body: Ranges, peers: _Peers) -> list[object]:
    return [_put_segments(body.segments, peers), body.answer]


def _ranges(reader: _Reader) -> Ranges:
    return Ranges(_segments(reader), reader.flag())


def _put_members_page(body: Members, peers: _Peers) -> list[object]:
    return [_put_members(body.members, peers), body.answer]


def _members_page(reader: _Reader) -> Members:
    return Members(_members(reader), reader.flag())


def _put_lease_query(body: LeaseQuery, peers: _Peers) -> list[object]:
    return [body.number, body.after]


def _lease_query(reader: _Reader) -> LeaseQuery:
    return LeaseQuery(reader.uint(COUNT_MAX), reader.text(LEASE_LENGTH_MAX))


def _put_lease_page(body: LeasePage, peers: _Peers) -> list[object]:
    return [body.number, [_put_lease(lease) for lease in body.leases], body.more]


def _lease_page(reader: _Reader) -> LeasePage:
    return LeasePage(reader.uint(COUNT_MAX), reader.many(_lease, LEASES_MAX), reader.flag())


BODIES = (
    _Kind(1, Prepare, 2, _put_prepare, _prepare),
    _Kind(2, Promise, 3, _put_promise, _promise),
    _Kind(3, Accept, 3, _put_accept, _accept),
    _Kind(4, Accepted, 1, _put_accepted, _accepted),
    _Kind(5, Rejected, 3, _put_rejected, _rejected),
    _Kind(6, Nudge, 0, _put_nudge, _nudge),
    _Kind(7, SpaceRequest, 7, _put_space_request, _space_request),
    _Kind(8, Grant, 3, _put_grant, _grant),
    _Kind(9, Denied, 5, _put_denied, _denied),
    _Kind(10, Introduce, 1, _put_introduce, _introduce),
    _Kind(11, Introduced, 1, _put_introduced, _introduced),
    _Kind(12, Ping, 1, _put_ping, _ping),
    _Kind(13, Ack, 1, _put_ack, _ack),
    _Kind(14, PingRequest, 2, _put_ping_request, _ping_request),
    _Kind(15, Offer, 1, _put_offer, _offer),
    _Kind(16, Want, 1, _put_want, _want),
    _Kind(17, Rumour, 3, _put_rumour, _rumour),
    _Kind(18, Digest, 3, _put_digest, _digest),
    _Kind(19, Compare, 2, _put_compare, _compare),
    _Kind(20, Ranges, 2, _put_ranges, _ranges),
    _Kind(21, Members, 2, _put_members_page, _members_page),
    _Kind(22, LeaseQuery, 2, _put_lease_query, _lease_query),
    _Kind(23, LeasePage, 3, _put_lease_page, _lease_page),
)
"""Every kind of body and its number for ever. New kinds get new numbers; none is used twice."""

_BODY_OF_TYPE: dict[type, _Kind] = {kind.type: kind for kind in BODIES}
_BODY_OF_NUMBER: dict[int, _Kind] = {kind.number: kind for kind in BODIES}


# ── messages ──────────────────────────────────────────────────────────────────────────────────────


def _put_hello(message: Hello) -> list[object]:
    return [
        message.protocol_min,
        message.protocol_max,
        message.peer,
        message.universe,
        message.cluster,
        message.address,
        message.incarnation,
        message.observer,
        message.boot,
    ]


def _hello(reader: _Reader) -> Hello:
    return Hello(
        protocol_min=reader.uint(PROTOCOL_MAX),
        protocol_max=reader.uint(PROTOCOL_MAX),
        peer=reader.peer_id(),
        universe=reader.text(UNIVERSE_LENGTH_MAX),
        cluster=reader.text(CLUSTER_LENGTH_MAX),
        address=reader.text(ENDPOINT_LENGTH_MAX),
        incarnation=reader.uint(COUNT_MAX),
        observer=reader.flag(),
        boot=reader.uint(COUNT_MAX),
    )


def _put_refused(message: Refused) -> list[object]:
    return [message.reason[:REASON_LENGTH_MAX]]


def _refused(reader: _Reader) -> Refused:
    return Refused(reader.text(REASON_LENGTH_MAX))


def _put_envelope(message: Envelope) -> list[object]:
    peers = _Peers(message.origin, message.target)
    kind = _BODY_OF_TYPE[type(message.body)]
    body = [kind.number, *kind.encode(message.body, peers)]
    return [message.cluster, message.universe, message.serial, message.hops, peers.ids, body]


def _envelope(reader: _Reader) -> Envelope:
    cluster = reader.text(CLUSTER_LENGTH_MAX)
    universe = reader.text(UNIVERSE_LENGTH_MAX)
    serial = reader.uint(RANDOM_MAX)
    hops = reader.uint(HOPS_MAX)
    reader.peers.extend(reader.many(_Reader.peer_id, PEERS_MAX))
    if len(reader.peers) < 2:
        raise PeerError("malformed message: an envelope without origin and target")
    origin, target = reader.peers[:2]
    body: Body = reader.one_of(_BODY_OF_NUMBER)
    return Envelope(cluster, universe, origin, target, serial, hops, body)


MESSAGES = (
    _Kind(1, Hello, 9, _put_hello, _hello),
    _Kind(2, Refused, 1, _put_refused, _refused),
    _Kind(3, Envelope, 6, _put_envelope, _envelope),
)
"""Every kind of message and its number for ever."""

_MESSAGE_OF_TYPE: dict[type, _Kind] = {kind.type: kind for kind in MESSAGES}
_MESSAGE_OF_NUMBER: dict[int, _Kind] = {kind.number: kind for kind in MESSAGES}
