"""The bodies of envelopes: how each kind is put and read, and under which number it travels for ever."""

from __future__ import annotations

from ringipam.codec.limits import (
    COUNT_MAX,
    LEASE_LENGTH_MAX,
    LEASES_MAX,
    PRINTS_MAX,
    RANDOM_MAX,
    REASON_LENGTH_MAX,
    RUMOURS_MAX,
    SEGMENTS_MAX,
    WORD_LENGTH_MAX,
)
from ringipam.codec.values import (
    put_ballot,
    put_founding,
    put_lease,
    put_member,
    put_members,
    put_peers,
    put_point,
    put_prints,
    put_rest,
    put_segments,
    put_span,
    put_spans,
    put_terms,
    read_ballot,
    read_founding,
    read_lease,
    read_member,
    read_members,
    read_peers,
    read_point,
    read_prints,
    read_rest,
    read_segments,
    read_span,
    read_spans,
    read_terms,
)
from ringipam.codec.wire import Kind, PeerTable, Reader, put_wide
from ringipam.errors import PeerError
from ringipam.lease import ID_LENGTH_MAX, check_id
from ringipam.messages import (
    Accept,
    Accepted,
    Ack,
    AskRemoval,
    Compare,
    CompareMembers,
    Denial,
    Denied,
    DenyRemoval,
    Depart,
    Digest,
    Dispute,
    Disputed,
    Farewell,
    Grant,
    Introduce,
    Introduced,
    LeasePage,
    LeaseQuery,
    Members,
    Nudge,
    Offer,
    Ping,
    PingRequest,
    Prepare,
    Promise,
    PromiseRemoval,
    QueryRound,
    Ranges,
    Recall,
    Rejected,
    Rival,
    RoundOver,
    Rumour,
    SpaceRequest,
    Want,
)


def _put_prepare(body: Prepare, peers: PeerTable) -> list[object]:
    return [put_ballot(body.ballot, peers), put_terms(body.terms, peers)]


def _read_prepare(reader: Reader) -> Prepare:
    return Prepare(read_ballot(reader), read_terms(reader))


def _put_promise(body: Promise, peers: PeerTable) -> list[object]:
    return [
        put_ballot(body.ballot, peers),
        [put_ballot(body.accepted_ballot, peers)] if body.accepted_ballot is not None else [],
        [put_founding(body.accepted, peers)] if body.accepted is not None else [],
    ]


def _read_promise(reader: Reader) -> Promise:
    promise = Promise(read_ballot(reader), reader.maybe(read_ballot), reader.maybe(read_founding))
    if (promise.accepted_ballot is None) != (promise.accepted is None):
        raise PeerError("malformed message: a promise that names half of what was accepted")
    return promise


def _put_accept(body: Accept, peers: PeerTable) -> list[object]:
    return [put_ballot(body.ballot, peers), put_terms(body.terms, peers), put_founding(body.value, peers)]


def _read_accept(reader: Reader) -> Accept:
    return Accept(read_ballot(reader), read_terms(reader), read_founding(reader))


def _put_accepted(body: Accepted, peers: PeerTable) -> list[object]:
    return [put_ballot(body.ballot, peers)]


def _read_accepted(reader: Reader) -> Accepted:
    return Accepted(read_ballot(reader))


def _put_rejected(body: Rejected, peers: PeerTable) -> list[object]:
    return [
        put_ballot(body.ballot, peers),
        [put_ballot(body.promised, peers)] if body.promised is not None else [],
        body.reason[:REASON_LENGTH_MAX],
    ]


def _read_rejected(reader: Reader) -> Rejected:
    return Rejected(read_ballot(reader), reader.maybe(read_ballot), reader.text(REASON_LENGTH_MAX))


def _put_nudge(body: Nudge, peers: PeerTable) -> list[object]:
    return []


def _read_nudge(reader: Reader) -> Nudge:
    return Nudge()


def _put_space_request(body: SpaceRequest, peers: PeerTable) -> list[object]:
    return [
        body.number,
        put_wide(body.start),
        put_wide(body.end - body.start),
        put_wide(body.want),
        body.exact,
        body.urgent,
        body.valid_ms,
        body.known,
    ]


def _read_space_request(reader: Reader) -> SpaceRequest:
    number = reader.uint(COUNT_MAX)
    start, end = reader.extent()
    want, exact, urgent, valid_ms = reader.wide(), reader.flag(), reader.flag(), reader.uint(COUNT_MAX)
    return SpaceRequest(number, start, end, want, exact, urgent, valid_ms, reader.digest())


def _put_grant(body: Grant, peers: PeerTable) -> list[object]:
    return [body.number, put_segments(body.segments, peers), [put_rest(rest) for rest in body.rests]]


def _read_grant(reader: Reader) -> Grant:
    return Grant(reader.uint(COUNT_MAX), read_segments(reader), reader.many(read_rest, SEGMENTS_MAX))


def _put_denied(body: Denied, peers: PeerTable) -> list[object]:
    return [body.number, body.reason.value, body.holder, put_segments(body.segments, peers), put_wide(body.owned)]


def _read_denied(reader: Reader) -> Denied:
    number = reader.uint(COUNT_MAX)
    reason = Denial(reader.uint(COUNT_MAX))
    holder = reader.text(ID_LENGTH_MAX)
    return Denied(number, reason, check_id(holder) if holder else "", read_segments(reader), reader.wide())


def _put_introduce(body: Introduce, peers: PeerTable) -> list[object]:
    return [put_member(body.member, peers)]


def _read_introduce(reader: Reader) -> Introduce:
    return Introduce(read_member(reader))


def _put_introduced(body: Introduced, peers: PeerTable) -> list[object]:
    return [peers.ref(body.peer)]


def _read_introduced(reader: Reader) -> Introduced:
    return Introduced(reader.peer())


def _put_ping(body: Ping, peers: PeerTable) -> list[object]:
    return [body.sequence, put_point(body.point)]


def _read_ping(reader: Reader) -> Ping:
    return Ping(reader.uint(COUNT_MAX), read_point(reader))


def _put_ack(body: Ack, peers: PeerTable) -> list[object]:
    return [body.sequence, put_point(body.point)]


def _read_ack(reader: Reader) -> Ack:
    return Ack(reader.uint(COUNT_MAX), read_point(reader))


def _put_ping_request(body: PingRequest, peers: PeerTable) -> list[object]:
    return [body.sequence, peers.ref(body.peer)]


def _read_ping_request(reader: Reader) -> PingRequest:
    return PingRequest(reader.uint(COUNT_MAX), reader.peer())


def _read_rumour_number(reader: Reader) -> int:
    return reader.uint(RANDOM_MAX)


def _put_offer(body: Offer, peers: PeerTable) -> list[object]:
    return [body.rumours]


def _read_offer(reader: Reader) -> Offer:
    return Offer(reader.many(_read_rumour_number, RUMOURS_MAX))


def _put_want(body: Want, peers: PeerTable) -> list[object]:
    return [body.rumours]


def _read_want(reader: Reader) -> Want:
    return Want(reader.many(_read_rumour_number, RUMOURS_MAX))


def _put_rumour(body: Rumour, peers: PeerTable) -> list[object]:
    return [body.rumour, put_segments(body.segments, peers), put_members(body.members, peers)]


def _read_rumour(reader: Reader) -> Rumour:
    return Rumour(_read_rumour_number(reader), read_segments(reader), read_members(reader))


def _put_digest(body: Digest, peers: PeerTable) -> list[object]:
    return [body.salt, body.ring, body.members]


def _read_digest(reader: Reader) -> Digest:
    return Digest(reader.digest(), reader.digest(), reader.digest())


def _put_compare(body: Compare | CompareMembers, peers: PeerTable) -> list[object]:
    return [body.salt, *put_prints(body.prints)]


def _read_compare(reader: Reader) -> Compare:
    return Compare(reader.digest(), read_prints(reader))


def _read_compare_members(reader: Reader) -> CompareMembers:
    return CompareMembers(reader.digest(), read_prints(reader))


def _put_ranges(body: Ranges, peers: PeerTable) -> list[object]:
    return [put_segments(body.segments, peers), body.answer]


def _read_ranges(reader: Reader) -> Ranges:
    return Ranges(read_segments(reader), reader.flag())


def _put_members_page(body: Members, peers: PeerTable) -> list[object]:
    return [put_members(body.members, peers), [put_span(span) for span in body.spans]]


def _read_members_page(reader: Reader) -> Members:
    return Members(read_members(reader), reader.many(read_span, PRINTS_MAX))


def _put_lease_query(body: LeaseQuery, peers: PeerTable) -> list[object]:
    return [body.number, body.after]


def _read_lease_query(reader: Reader) -> LeaseQuery:
    return LeaseQuery(reader.uint(COUNT_MAX), reader.text(LEASE_LENGTH_MAX))


def _put_lease_page(body: LeasePage, peers: PeerTable) -> list[object]:
    return [body.number, [put_lease(lease) for lease in body.leases], body.more]


def _read_lease_page(reader: Reader) -> LeasePage:
    return LeasePage(reader.uint(COUNT_MAX), reader.many(read_lease, LEASES_MAX), reader.flag())


def _put_recall(body: Recall, peers: PeerTable) -> list[object]:
    return [put_point(body.point)]


def _read_recall(reader: Reader) -> Recall:
    return Recall(read_point(reader))


def _put_rival(body: Rival, peers: PeerTable) -> list[object]:
    return [body.nonce]


def _read_rival(reader: Reader) -> Rival:
    return Rival(reader.text(WORD_LENGTH_MAX))


def _put_ask_removal(body: AskRemoval, peers: PeerTable) -> list[object]:
    return [
        body.epoch,
        put_peers(body.targets, peers),
        body.force,
        put_wide(body.since),
        put_wide(body.until),
        put_spans(body.ranges),
        body.electorate,
    ]


def _read_ask_removal(reader: Reader) -> AskRemoval:
    epoch, targets, force = reader.uint(COUNT_MAX), read_peers(reader), reader.flag()
    return AskRemoval(epoch, targets, force, reader.wide(), reader.wide(), read_spans(reader), reader.digest())


def _put_promise_removal(body: PromiseRemoval, peers: PeerTable) -> list[object]:
    return [
        body.epoch,
        put_wide(body.until),
        put_spans(body.ranges),
        put_segments(body.segments, peers),
        put_spans(body.possessed),
        put_peers(body.members, peers),
        put_spans(body.leased),
    ]


def _read_promise_removal(reader: Reader) -> PromiseRemoval:
    epoch, until, ranges = reader.uint(COUNT_MAX), reader.wide(), read_spans(reader)
    segments, possessed, members = read_segments(reader), read_spans(reader), read_peers(reader)
    return PromiseRemoval(epoch, until, ranges, segments, possessed, members, read_spans(reader))


def _put_deny_removal(body: DenyRemoval, peers: PeerTable) -> list[object]:
    return [body.epoch, body.seen, peers.ref(body.coordinator), body.reason[:REASON_LENGTH_MAX]]


def _read_deny_removal(reader: Reader) -> DenyRemoval:
    epoch, seen, coordinator = reader.uint(COUNT_MAX), reader.uint(COUNT_MAX), reader.peer_or_nobody()
    return DenyRemoval(epoch, seen, coordinator, reader.text(REASON_LENGTH_MAX))


def _put_query_round(body: QueryRound, peers: PeerTable) -> list[object]:
    return [body.epoch]


def _read_query_round(reader: Reader) -> QueryRound:
    return QueryRound(reader.uint(COUNT_MAX))


def _put_round_over(body: RoundOver, peers: PeerTable) -> list[object]:
    return [body.epoch, body.done, put_peers(body.targets, peers), put_segments(body.segments, peers)]


def _read_round_over(reader: Reader) -> RoundOver:
    return RoundOver(reader.uint(COUNT_MAX), reader.flag(), read_peers(reader), read_segments(reader))


def _put_depart(body: Depart, peers: PeerTable) -> list[object]:
    return [body.number, put_member(body.member, peers), put_segments(body.gifts, peers)]


def _read_depart(reader: Reader) -> Depart:
    return Depart(reader.uint(COUNT_MAX), read_member(reader), read_segments(reader))


def _put_farewell(body: Farewell, peers: PeerTable) -> list[object]:
    return [body.number, put_segments(body.segments, peers), body.willing, put_peers(body.members, peers)]


def _read_farewell(reader: Reader) -> Farewell:
    return Farewell(reader.uint(COUNT_MAX), read_segments(reader), reader.flag(), read_peers(reader))


def _put_dispute(body: Dispute, peers: PeerTable) -> list[object]:
    return [body.number, put_spans(body.ranges)]


def _read_dispute(reader: Reader) -> Dispute:
    return Dispute(reader.uint(COUNT_MAX), read_spans(reader))


def _put_disputed(body: Disputed, peers: PeerTable) -> list[object]:
    return [body.number]


def _read_disputed(reader: Reader) -> Disputed:
    return Disputed(reader.uint(COUNT_MAX))


BODIES = (
    Kind(1, Prepare, 2, _put_prepare, _read_prepare),
    Kind(2, Promise, 3, _put_promise, _read_promise),
    Kind(3, Accept, 3, _put_accept, _read_accept),
    Kind(4, Accepted, 1, _put_accepted, _read_accepted),
    Kind(5, Rejected, 3, _put_rejected, _read_rejected),
    Kind(6, Nudge, 0, _put_nudge, _read_nudge),
    Kind(7, SpaceRequest, 8, _put_space_request, _read_space_request),
    Kind(8, Grant, 3, _put_grant, _read_grant),
    Kind(9, Denied, 5, _put_denied, _read_denied),
    Kind(10, Introduce, 1, _put_introduce, _read_introduce),
    Kind(11, Introduced, 1, _put_introduced, _read_introduced),
    Kind(12, Ping, 2, _put_ping, _read_ping),
    Kind(13, Ack, 2, _put_ack, _read_ack),
    Kind(14, PingRequest, 2, _put_ping_request, _read_ping_request),
    Kind(15, Offer, 1, _put_offer, _read_offer),
    Kind(16, Want, 1, _put_want, _read_want),
    Kind(17, Rumour, 3, _put_rumour, _read_rumour),
    Kind(18, Digest, 3, _put_digest, _read_digest),
    Kind(19, Compare, 3, _put_compare, _read_compare),
    Kind(20, Ranges, 2, _put_ranges, _read_ranges),
    Kind(21, Members, 2, _put_members_page, _read_members_page),
    Kind(22, LeaseQuery, 2, _put_lease_query, _read_lease_query),
    Kind(23, LeasePage, 3, _put_lease_page, _read_lease_page),
    Kind(24, CompareMembers, 3, _put_compare, _read_compare_members),
    Kind(25, Recall, 1, _put_recall, _read_recall),
    Kind(26, AskRemoval, 7, _put_ask_removal, _read_ask_removal),
    Kind(27, PromiseRemoval, 7, _put_promise_removal, _read_promise_removal),
    Kind(28, DenyRemoval, 4, _put_deny_removal, _read_deny_removal),
    Kind(29, QueryRound, 1, _put_query_round, _read_query_round),
    Kind(30, RoundOver, 4, _put_round_over, _read_round_over),
    Kind(31, Depart, 3, _put_depart, _read_depart),
    Kind(32, Farewell, 4, _put_farewell, _read_farewell),
    Kind(33, Dispute, 2, _put_dispute, _read_dispute),
    Kind(34, Disputed, 1, _put_disputed, _read_disputed),
    Kind(35, Rival, 1, _put_rival, _read_rival),
)
"""Every kind of body and its number for ever. New kinds get new numbers; none is used twice."""

BODY_OF_TYPE: dict[type, Kind] = {kind.type: kind for kind in BODIES}
BODY_OF_NUMBER: dict[int, Kind] = {kind.number: kind for kind in BODIES}
