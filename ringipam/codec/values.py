"""The values that messages are made of: segments, members, ballots, leases. One pair of functions for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from ringipam.address import Cidr, Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.codec.limits import (
    CLUSTER_LENGTH_MAX,
    COUNT_MAX,
    ELECTORS_MAX,
    ENDPOINT_LENGTH_MAX,
    LEASE_LENGTH_MAX,
    MEMBERS_MAX,
    PEERS_MAX,
    RANDOM_MAX,
    SECONDS_MAX,
    SEGMENTS_MAX,
    WORD_LENGTH_MAX,
)
from ringipam.codec.wire import PeerTable, Reader, put_wide
from ringipam.errors import PeerError
from ringipam.lease import ID_LENGTH_MAX, Lease, check_id, network
from ringipam.messages import Ballot, Founding, Health, Member, Point, Print, Rest, Standing, Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def put_segments(segments: tuple[Segment, ...], peers: PeerTable) -> list[object]:
    """In order, and each starts so far behind the end of the one before: few bytes where they are neighbours."""
    ref = peers.ref
    reached = [0, *(segment.end for segment in segments)]
    return [
        [put_wide(start - before), put_wide(end - start), epoch, version, ref(owner), ref(writer)]
        for before, (start, end, (epoch, version, owner, writer)) in zip(reached, segments, strict=False)
    ]


def _read_segment(reader: Reader, after: int) -> Segment:
    extra = reader.open(6)
    start, end = reader.extent(after)
    claim = Claim(reader.uint(COUNT_MAX), reader.uint(COUNT_MAX), reader.peer_or_nobody(), reader.peer_or_nobody())
    if not (claim.owner and claim.writer) and claim != NOBODY:
        raise PeerError(f"malformed message: a claim of nobody: {claim}")
    reader.skip(extra)
    return Segment(start, end, claim)


def read_segments(reader: Reader) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for _ in range(reader.length(SEGMENTS_MAX)):
        found.append(_read_segment(reader, found[-1].end if found else 0))
    return tuple(found)


def put_member(member: Member, peers: PeerTable) -> list[object]:
    peer, address, incarnation, health, free, standing, point = member
    return [peers.ref(peer), address, incarnation, health.value, put_wide(free), standing.value, put_point(point)]


def read_member(reader: Reader) -> Member:
    extra = reader.open(7)
    member = Member(
        reader.peer(),
        reader.text(ENDPOINT_LENGTH_MAX),
        reader.uint(COUNT_MAX),
        Health(reader.uint(COUNT_MAX)),
        reader.wide(),
        Standing(reader.uint(COUNT_MAX)),
        read_point(reader),
    )
    reader.skip(extra)
    return member


def put_point(point: Point | None) -> list[object]:
    return [] if point is None else [point.nonce, point.number, point.head]


def read_point(reader: Reader) -> Point | None:
    length = reader.length(3)
    if not length:
        return None
    if length != 3:
        raise PeerError("malformed message: half a point")
    return Point(reader.text(WORD_LENGTH_MAX), reader.uint(COUNT_MAX), reader.uint(RANDOM_MAX))


def put_spans(spans: tuple[Range, ...]) -> list[object]:
    return [put_span(span) for span in spans]


def read_spans(reader: Reader) -> tuple[Range, ...]:
    return reader.many(read_span, SEGMENTS_MAX)


def put_peers(ids: tuple[str, ...], peers: PeerTable) -> list[object]:
    return [peers.ref(peer) for peer in ids]


def read_peers(reader: Reader) -> tuple[str, ...]:
    return reader.many(Reader.peer, PEERS_MAX)


def put_members(members: tuple[Member, ...], peers: PeerTable) -> list[object]:
    return [put_member(member, peers) for member in members]


def read_members(reader: Reader) -> tuple[Member, ...]:
    return reader.many(read_member, MEMBERS_MAX)


def put_ballot(ballot: Ballot, peers: PeerTable) -> list[object]:
    return [ballot.round, peers.ref(ballot.proposer)]


def read_ballot(reader: Reader) -> Ballot:
    extra = reader.open(2)
    ballot = Ballot(reader.uint(COUNT_MAX), reader.peer_or_nobody())
    if bool(ballot.round) != bool(ballot.proposer):
        raise PeerError(f"malformed message: not a ballot: {ballot}")
    reader.skip(extra)
    return ballot


def put_terms(terms: Terms, peers: PeerTable) -> list[object]:
    return [terms.mode, terms.electors, [peers.ref(peer) for peer in terms.acceptors]]


def read_terms(reader: Reader) -> Terms:
    extra = reader.open(3)
    terms = Terms(reader.text(WORD_LENGTH_MAX), reader.uint(ELECTORS_MAX), reader.many(Reader.peer, ELECTORS_MAX))
    reader.skip(extra)
    return terms


def put_founding(founding: Founding, peers: PeerTable) -> list[object]:
    return [founding.cluster, [peers.ref(peer) for peer in founding.members]]


def read_founding(reader: Reader) -> Founding:
    extra = reader.open(2)
    founding = Founding(reader.text(CLUSTER_LENGTH_MAX), reader.many(Reader.peer, ELECTORS_MAX))
    if not founding.cluster or not founding.members:
        raise PeerError("malformed message: a ring of nobody")
    reader.skip(extra)
    return founding


def put_rest(rest: Rest) -> list[object]:
    return [put_wide(rest.start), put_wide(rest.end - rest.start), rest.remaining_ms]


def read_rest(reader: Reader) -> Rest:
    extra = reader.open(3)
    rest = Rest(*reader.extent(), reader.uint(COUNT_MAX))
    reader.skip(extra)
    return rest


def put_span(span: Range) -> list[object]:
    return [put_wide(span.start), put_wide(span.size)]


def read_span(reader: Reader) -> Range:
    extra = reader.open(2)
    span = Range(*reader.extent())
    reader.skip(extra)
    return span


def put_prints(prints: tuple[Print, ...]) -> list[object]:
    """All digests in one value, then the ranges: runs without a gap, each with how far behind the last it starts."""
    runs: list[list[object]] = []
    reached = 0
    for start, end, _ in prints:
        if not runs or start != reached:
            runs.append([put_wide(start - reached)])
        runs[-1].append(put_wide(end - start))
        reached = end
    return [b"".join([digest for *_, digest in prints]), runs]


def read_prints(reader: Reader) -> tuple[Print, ...]:
    digests = reader.fingerprints()
    ranges: list[Range] = []
    for _ in range(reader.length(len(digests))):
        ranges += reader.run(ranges[-1].end if ranges else 0, len(digests) - len(ranges))
    if len(ranges) != len(digests):
        raise PeerError(f"malformed message: {len(digests)} fingerprints of {len(ranges)} ranges")
    return tuple([Print(*where, digest) for where, digest in zip(ranges, digests, strict=True)])


def put_lease(lease: Lease) -> list[object]:
    """Times travel as whole seconds."""
    return [
        lease.lease,
        lease.id,
        lease.address.version,
        put_wide(int(lease.address)),
        lease.prefix_len,
        put_wide(int(lease.subnet.network_address)),
        lease.subnet.prefixlen,
        lease.class_,
        lease.host,
        (lease.since - _EPOCH) // _SECOND,
        dict(lease.labels),
    ]


def read_lease(reader: Reader) -> Lease:
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
