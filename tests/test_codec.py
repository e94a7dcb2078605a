"""Whatever is encoded comes back equal, and whatever else arrives is a PeerError, soon."""

from __future__ import annotations

import ipaddress
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringipam import codec, messages
from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.codec import FRAME_BYTES_MAX, decode, encode, frame, frame_length
from ringipam.errors import PeerError
from ringipam.lease import Lease
from ringipam.messages import (
    Ballot,
    Denial,
    Envelope,
    Founding,
    Health,
    Hello,
    LeasePage,
    Member,
    Message,
    Nudge,
    Ping,
    Point,
    Print,
    Promise,
    Ranges,
    Refused,
    Rest,
    Rumour,
    Standing,
    Terms,
)

# ── what a correct peer can say ───────────────────────────────────────────────────────────────────

counts = st.integers(0, codec.COUNT_MAX)
numbers = st.integers(0, codec.RANDOM_MAX)
widths = st.one_of(st.integers(0, 1 << 33), st.integers(0, codec.ADDRESS_MAX))
names = st.from_regex(
    r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?", fullmatch=True, alphabet=st.characters(codec="ascii")
)
uids = st.text("0123456789abcdef", min_size=1, max_size=64)
peer_ids = st.one_of(st.sampled_from(["host1.3f9a", "host2.77c1", "a.b.0"]), st.builds("{}.{}".format, names, uids))
printable = st.characters(exclude_categories=["C", "Z"])
ids = st.text(printable, min_size=1, max_size=256)
words = st.text(printable, min_size=1, max_size=64)
prose = st.text(printable | st.just(" "), max_size=codec.REASON_LENGTH_MAX)
endpoints = st.text(printable, max_size=300)
digests = st.binary(max_size=32)
lease_ids = st.text(printable, max_size=64)


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=4).map(tuple)


def extents(kind: Callable[..., Any], *rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bounds = st.tuples(widths, widths).filter(lambda pair: pair[0] != pair[1]).map(sorted)
    return st.builds(lambda pair, *others: kind(*pair, *others), bounds, *rest)


def apart(kind: Callable[..., Any], *rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Ranges in order that do not overlap, as correct peers send them."""
    bounds = st.lists(widths, max_size=8, unique=True).map(sorted)
    return bounds.flatmap(
        lambda ends: st.tuples(
            *(st.builds(kind, st.just(lo), st.just(hi), *rest) for lo, hi in zip(ends[::2], ends[1::2], strict=False))
        )
    )


claims = st.one_of(st.just(NOBODY), st.builds(Claim, counts, counts, peer_ids, peer_ids))
segments = apart(Segment, claims)
prints = apart(Print, st.binary(min_size=4, max_size=4))
points = st.none() | st.builds(Point, words, counts, numbers)
members = st.builds(
    Member, peer_ids, endpoints, counts, st.sampled_from(Health), widths, st.sampled_from(Standing), points
)
spans = some(extents(Range))
ballots = st.one_of(st.just(Ballot(0, "")), st.builds(Ballot, st.integers(1, codec.COUNT_MAX), peer_ids))
terms = st.builds(Terms, words, st.integers(0, 1000), some(peer_ids))
foundings = st.builds(Founding, words, st.lists(peer_ids, min_size=1, max_size=4).map(tuple))
labels = st.dictionaries(st.text(printable, max_size=8), st.text(printable, max_size=8), max_size=4)
seconds = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(
    lambda when: when.replace(microsecond=0)
)
accepted = st.one_of(st.just((None, None)), st.tuples(ballots, foundings))


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    address = draw(st.ip_addresses())
    subnet = ipaddress.ip_network((int(address), draw(st.integers(0, address.max_prefixlen))), strict=False)
    if subnet.version != address.version:  # a small IPv6 address read as a number is an IPv4 one
        subnet = ipaddress.IPv6Network((int(address), 64), strict=False)
    prefix_len = draw(st.integers(0, address.max_prefixlen))
    lease_id = draw(st.text(printable, min_size=1, max_size=64))
    return Lease(
        lease_id, draw(ids), address, prefix_len, subnet, draw(words), draw(words), draw(seconds), draw(labels)
    )


BODIES: dict[type, st.SearchStrategy[Any]] = {
    messages.Prepare: st.builds(messages.Prepare, ballots, terms),
    messages.Promise: st.builds(lambda ballot, pair: Promise(ballot, *pair), ballots, accepted),
    messages.Accept: st.builds(messages.Accept, ballots, terms, foundings),
    messages.Accepted: st.builds(messages.Accepted, ballots),
    messages.Rejected: st.builds(messages.Rejected, ballots, st.none() | ballots, prose),
    messages.Nudge: st.builds(messages.Nudge),
    messages.SpaceRequest: extents(
        lambda start, end, number, *rest: messages.SpaceRequest(number, start, end, *rest),
        counts,
        widths,
        st.booleans(),
        st.booleans(),
        counts,
        digests,
    ),
    messages.Grant: st.builds(messages.Grant, counts, segments, some(extents(Rest, counts))),
    messages.Denied: st.builds(messages.Denied, counts, st.sampled_from(Denial), st.just("") | ids, segments, widths),
    messages.Introduce: st.builds(messages.Introduce, members),
    messages.Introduced: st.builds(messages.Introduced, peer_ids),
    messages.Ping: st.builds(messages.Ping, counts, points),
    messages.Ack: st.builds(messages.Ack, counts, points),
    messages.PingRequest: st.builds(messages.PingRequest, counts, peer_ids),
    messages.Offer: st.builds(messages.Offer, some(numbers)),
    messages.Want: st.builds(messages.Want, some(numbers)),
    messages.Rumour: st.builds(messages.Rumour, numbers, segments, some(members)),
    messages.Digest: st.builds(messages.Digest, digests, digests, digests),
    messages.Compare: st.builds(messages.Compare, digests, prints),
    messages.Ranges: st.builds(messages.Ranges, segments, st.booleans()),
    messages.Members: st.builds(messages.Members, some(members), spans),
    messages.CompareMembers: st.builds(messages.CompareMembers, digests, prints),
    messages.LeaseQuery: st.builds(messages.LeaseQuery, counts, lease_ids),
    messages.LeasePage: st.builds(messages.LeasePage, counts, some(leases()), st.booleans()),
    messages.Recall: st.builds(messages.Recall, points),
    messages.Rival: st.builds(messages.Rival, words),
    messages.AskRemoval: st.builds(
        messages.AskRemoval, counts, some(peer_ids), st.booleans(), widths, widths, spans, digests
    ),
    messages.PromiseRemoval: st.builds(
        messages.PromiseRemoval, counts, widths, spans, segments, spans, some(peer_ids), spans
    ),
    messages.DenyRemoval: st.builds(messages.DenyRemoval, counts, counts, st.just("") | peer_ids, prose),
    messages.QueryRound: st.builds(messages.QueryRound, counts),
    messages.RoundOver: st.builds(messages.RoundOver, counts, st.booleans(), some(peer_ids), segments),
    messages.Depart: st.builds(messages.Depart, counts, members, segments),
    messages.Farewell: st.builds(messages.Farewell, counts, segments, st.booleans(), some(peer_ids)),
    messages.Dispute: st.builds(messages.Dispute, counts, spans),
    messages.Disputed: st.builds(messages.Disputed, counts),
}


def envelopes(bodies: st.SearchStrategy[Any]) -> st.SearchStrategy[Envelope]:
    direct = st.builds(Envelope, digests, bodies)
    return direct | st.builds(Envelope, digests, bodies, peer_ids, peer_ids, numbers, st.integers(0, 64))


MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello,
        st.integers(0, 65535),
        st.integers(0, 65535),
        peer_ids,
        st.text(printable, max_size=64),
        st.text(printable, max_size=64),
        endpoints,
        counts,
        st.booleans(),
        counts,
        st.text(printable, max_size=64),
    ),
    Refused: st.builds(Refused, prose),
    Envelope: envelopes(st.one_of(list(BODIES.values()))),
}

MARK = bytes(8)
SMALL = Envelope(MARK, Ping(7))


def packed(message: Message) -> Any:
    """The arrays a message consists of, to be spoiled."""
    return msgpack.unpackb(encode(message))


# ── round trips ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", get_args(messages.Body), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_kind_of_body_comes_back_equal(kind: type, data: st.DataObject) -> None:
    sent = data.draw(envelopes(BODIES[kind]))

    assert decode(encode(sent)) == sent


@pytest.mark.parametrize("kind", get_args(messages.Message), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_kind_of_message_comes_back_equal(kind: type, data: st.DataObject) -> None:
    sent = data.draw(MESSAGES[kind])

    assert decode(encode(sent)) == sent


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (0, 1 << 32), ((1 << 63) - 1, 1 << 63), (0xFD00 << 112, (0xFD00 << 112) + (1 << 64)), (0, 1 << 128)],
)
def test_ranges_of_both_families_travel_to_their_very_end(start: int, end: int) -> None:
    sent = Envelope(MARK, Ranges((Segment(start, end, NOBODY),), True))

    assert decode(encode(sent)) == sent


def test_numbers_of_kinds_are_never_reused() -> None:
    for kinds in (codec.BODIES, codec.MESSAGES):
        assert [kind.number for kind in kinds] == list(range(1, len(kinds) + 1))


def test_a_peer_id_stands_once_in_a_message_however_often_it_is_meant() -> None:
    claim = Claim(0, 7, "host1.3f9a", "host3.aaaa")
    rumour = Rumour(1, tuple(Segment(i, i + 1, claim) for i in range(50)), ())

    payload = encode(Envelope(MARK, rumour))

    assert payload.count(b"host1.3f9a") == payload.count(b"host3.aaaa") == 1


def test_a_reason_too_long_is_cut_rather_than_refused() -> None:
    assert decode(encode(Refused("x" * 9_999))) == Refused("x" * codec.REASON_LENGTH_MAX)


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


def test_a_frame_is_its_length_and_its_payload() -> None:
    framed = frame(SMALL)

    assert frame_length(framed[:4]) == len(framed) - 4
    assert decode(framed[4:]) == SMALL


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, (1 << 32) - 1])
def test_a_frame_of_impossible_length_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(PeerError):
        frame_length(length.to_bytes(4, "big"))


def test_a_message_too_large_for_a_frame_is_not_sent() -> None:
    address = ipaddress.IPv4Address("10.0.0.1")
    labels = {f"{i}": "x" * 250 for i in range(32)}
    since = datetime(2026, 11, 21, tzinfo=UTC)
    lease = Lease("L", "c1", address, 8, ipaddress.ip_network("10.0.0.0/8"), "container", "host1", since, labels)

    with pytest.raises(ValueError):
        frame(Envelope(MARK, LeasePage(1, (lease,) * 2_000, False)))


# ── what no correct peer sends ────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_peer_error(payload: bytes) -> None:
    decode_or_refuse(payload)


@given(message=st.one_of(list(MESSAGES.values())), data=st.data())
def test_a_spoiled_message_raises_nothing_but_a_peer_error(message: Message, data: st.DataObject) -> None:
    payload = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not payload:
            break

    decode_or_refuse(bytes(payload))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=40) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(message=st.one_of(list(MESSAGES.values())), value=json_like, data=st.data())
def test_any_value_in_the_place_of_another_raises_nothing_but_a_peer_error(
    message: Message, value: object, data: st.DataObject
) -> None:
    whole = packed(message)
    place = whole
    at = data.draw(st.integers(0, len(place) - 1))
    while isinstance(place[at], list) and place[at] and data.draw(st.booleans()):
        place = place[at]
        at = data.draw(st.integers(0, len(place) - 1))
    place[at] = value

    decode_or_refuse(msgpack.packb(whole))


def decode_or_refuse(payload: bytes) -> None:
    """What is understood is a message that can be said again; all else is a PeerError of one line."""
    refusal = ""
    try:
        message = decode(payload)
    except PeerError as error:
        refusal = error.message
    else:
        assert decode(encode(message)) == message
    assert "\n" not in refusal
    assert len(refusal) < 300


@given(st.one_of(list(MESSAGES.values())), st.data())
def test_a_message_that_was_cut_is_refused(message: Message, data: st.DataObject) -> None:
    payload = encode(message)

    with pytest.raises(PeerError):
        decode(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(PeerError):
        decode(payload + b"\x00")


def with_body(*fields: object) -> bytes:
    return msgpack.packb([3, MARK, ["a.1", "b.2"], [], list(fields)])  # type: ignore[no-any-return]


CLAIM = [0, 1, 0, 1]

REFUSED = {
    "not an array": msgpack.packb(7),
    "a map": msgpack.packb({1: 2}),
    "an unknown message": msgpack.packb([99, "x"]),
    "an unknown body": with_body(99),
    "a number that is a truth value": with_body(12, True),
    "a number that is a float": with_body(12, 1.0),
    "a negative number": with_body(12, -1),
    "a number too large": with_body(12, (1 << 62) + 1),
    "a missing element": with_body(14, 1),
    "a peer that is not in the table": with_body(14, 1, 2),
    "a peer before the table": with_body(14, 1, -1),
    "an empty range": with_body(20, [[5, 0, *CLAIM]], True),
    "a range past the end of the address space": with_body(20, [[(1 << 128).to_bytes(17, "big"), 1, *CLAIM]], True),
    "an address of too many bytes": with_body(20, [[b"\x00" * 17 + b"\x05", 1, *CLAIM]], True),
    "a version too large": with_body(20, [[5, 1, 0, (1 << 62) + 1, 0, 1]], True),
    "an owner that is not in the table": with_body(20, [[5, 1, 0, 1, 2, 1]], True),
    "an owner without a writer": with_body(20, [[5, 1, 0, 1, 0, None]], True),
    "a claim of nobody with a stamp": with_body(20, [[5, 1, 0, 1, None, None]], True),
    "too many segments": with_body(20, [[5, 1, *CLAIM]] * 20_001, True),
    "too many members": with_body(21, [[0, "h:1", 1, 0, 0]] * 2_001, []),
    "too many spans": with_body(21, [], [[0, 1]] * 1_001),
    "an empty span": with_body(21, [], [[0, 0]]),
    "too many rumours": with_body(15, [1] * 10_001),
    "too many fingerprints": with_body(19, b"", bytes(4_004), [[0] + [1] * 1_001]),
    "fingerprints of no ranges": with_body(19, b"", bytes(8), [[0, 1]]),
    "ranges without fingerprints": with_body(19, b"", bytes(4), [[0, 1, 1]]),
    "more runs than fingerprints": with_body(19, b"", bytes(4), [[0, 1], [0, 1]]),
    "half a fingerprint": with_body(19, b"", bytes(6), [[0, 1]]),
    "a run of nothing": with_body(19, b"", bytes(4), [[5]]),
    "a run of less than nothing": with_body(19, b"", bytes(4), [[]]),
    "a run with an empty range": with_body(19, b"", bytes(8), [[5, 1, 0]]),
    "a run past the end of the address space": with_body(19, b"", bytes(4), [[(1 << 128).to_bytes(17, "big"), 1]]),
    "too many acceptors": with_body(1, [1, 0], ["listed", 1, [0] * 1_001]),
    "a health nobody knows": with_body(21, [[0, "h:1", 1, 3, 0]], []),
    "an endpoint too long": with_body(21, [[0, "h" * 301, 1, 0, 0]], []),
    "a digest too long": with_body(18, b"", b"x" * 33, b""),
    "a digest that is text": with_body(18, "", b"", b""),
    "a ballot of nobody": with_body(4, [3, None]),
    "half a promise": with_body(2, [3, 0], [[2, 0]], []),
    "two values where one may be": with_body(2, [3, 0], [[2, 0], [2, 0]], [["c", [0]]]),
    "a ring of no members": with_body(3, [3, 0], ["listed", 1, [0]], ["c", []]),
    "an id with a space": with_body(9, 1, 1, "a b", []),
    "a peer id without a uid": msgpack.packb([3, MARK, ["a", "b.2"], [], [6]]),
    "a peer id with a uid in capitals": msgpack.packb([3, MARK, ["a.1F", "b.2"], [], [6]]),
    "a peer id too long": msgpack.packb([3, MARK, ["a." + "1" * 127, "b.2"], [], [6]]),
    "an envelope without a target": msgpack.packb([3, MARK, ["a.1"], [[7, 5, 0]], [6]]),
    "a target that is not in the table": msgpack.packb([3, MARK, ["a.1"], [[7, 5, 0, 1]], [6]]),
    "a way from nobody": msgpack.packb([3, MARK, ["a.1", "b.2"], [[7, 5, None, 1]], [6]]),
    "two ways": msgpack.packb([3, MARK, ["a.1", "b.2"], [[7, 5, 0, 1], [7, 5, 0, 1]], [6]]),
    "a mark too long": msgpack.packb([3, bytes(33), [], [], [6]]),
    "a mark that is text": msgpack.packb([3, "6f1c", [], [], [6]]),
    "too many hops": msgpack.packb([3, MARK, ["a.1", "b.2"], [[7, 65, 0, 1]], [6]]),
    "a cluster too long": msgpack.packb([1, 1, 1, "a.1", "10.0.0.0/8", "c" * 65, "h:1", 1, False, 1]),
    "a universe too long": msgpack.packb([1, 1, 1, "a.1", "u" * 65, "c", "h:1", 1, False, 1]),
    "a reason that would draw on a terminal": msgpack.packb([2, "\x1b[2J"]),
    "a reason of two lines": msgpack.packb([2, "a\nb"]),
    "text that is not UTF-8": b"\x92\x02\xa1\xff",
    "an extension type": b"\x92\x02\xd4\x05\x00",
    "an extension type of no bytes": b"\x92\x02\xc7\x00\x05",
    "a timestamp": b"\x92\x02\xd6\xff\x00\x00\x00\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED.keys())
def test_it_refuses(payload: bytes) -> None:
    with pytest.raises(PeerError):
        decode(payload)


LEASE = ["L1", "c1", 4, 0x0A200001, 12, 0x0A200000, 12, "container", "host1", 1_700_000_000, {"app": "web"}]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, ""),
        (1, ""),
        (1, "two words"),
        (1, "x" * 257),
        (2, 5),
        (3, 1 << 32),
        (4, 33),
        (5, 0x0A200001),  # bits after the prefix
        (6, 33),
        (7, "x" * 65),
        (9, -1),
        (9, codec.SECONDS_MAX + 1),
        (10, {"a": 1}),
        (10, {1: "a"}),
        (10, {"a": "\n"}),
        (10, {"a": "x" * 256}),
        (10, {str(i): "" for i in range(33)}),
        (10, []),
    ],
)
def test_it_refuses_a_lease_that_cannot_be(at: int, value: object) -> None:
    decode(with_body(23, 1, [LEASE], False))
    spoiled = [*LEASE[:at], value, *LEASE[at + 1 :]]

    with pytest.raises(PeerError):
        decode(with_body(23, 1, [spoiled], False))


def test_a_label_whose_key_is_an_array_is_refused() -> None:
    page = with_body(23, 1, [[*LEASE[:10], {}]], False)
    spoiled = page.replace(b"\x80", b"\x81\x90\xa1x")

    assert spoiled != page
    with pytest.raises(PeerError):
        decode(spoiled)


# ── newer peers ───────────────────────────────────────────────────────────────────────────────────


def test_what_newer_peers_add_behind_the_known_is_ignored() -> None:
    news: list[object] = [{"anything": [1, [2, [3]]]}, None, "x"]
    claim = Claim(0, 1, "a.1", "b.2")
    member = Member("a.1", "h:1", 1, Health.ALIVE, 9)
    sent = Envelope(MARK, Rumour(5, (Segment(1, 2, claim),), (member,)))

    envelope = packed(sent)
    body = envelope[4]
    body[2][0] += news
    body[3][0] += news
    body += news
    envelope += news

    assert decode(msgpack.packb(envelope)) == sent


def test_every_kind_of_body_may_grow() -> None:
    sent = Envelope(MARK, Nudge())
    envelope = packed(sent)
    envelope[4].append(1)

    assert decode(msgpack.packb(envelope)) == sent


# ── bombs ─────────────────────────────────────────────────────────────────────────────────────────

BOMBS = {
    "nested arrays": b"\x91" * FRAME_BYTES_MAX,
    "nested long arrays": b"\xdc\x4e\x20" * (FRAME_BYTES_MAX // 3),
    "nested maps": b"\x81" * FRAME_BYTES_MAX,
    "an array that claims to be huge": b"\xdd\xff\xff\xff\xff",
    "a map that claims to be huge": b"\xdf\xff\xff\xff\xff",
    "a text that claims to be huge": b"\x92\x02\xdb\xff\xff\xff\xff",
    "segments that claim to be many": b"\x95\x03\xc4\x00\x92\xa3a.1\xa3b.2\x90\x93\x14\xdd\xff\xff\xff\xff",
    "fingerprints that claim to be many": b"\x95\x03\xc4\x00\x90\x90\x94\x13\xc4\x00\xc6\xff\xff\xff\xff",
    "a field of empty arrays": b"\x92\x02\xdd\x00\x3f\xff\xf0" + b"\x90" * (FRAME_BYTES_MAX - 7),
    "an unknown field of empty arrays": b"\x93\x02\xa1x\xdd\x00\x3f\xff\xf0" + b"\x90" * (FRAME_BYTES_MAX - 9),
    "unknown fields without number": b"\xdd\x00\x3f\xff\xf0\x02\xa1x" + b"\x90" * (FRAME_BYTES_MAX - 8),
    "an unknown field nested deeply": b"\x93\x02\xa1x" + b"\x91" * 2_000_000 + b"\x00",
    "a payload beyond the limit": b"\x00" * (FRAME_BYTES_MAX + 1),
}


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_does_not_go_off(payload: bytes) -> None:
    tracemalloc.start()
    try:
        decode(payload)
    except PeerError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < len(payload) + 100_000


def test_times_travel_as_whole_seconds() -> None:
    at = datetime(2026, 11, 21, 9, 0, 0, 999_999, tzinfo=UTC)
    net = ipaddress.ip_network("fd00::/64")
    lease = Lease("L", "c1", ipaddress.ip_address("fd00::1"), 64, net, "container", "host1", at)

    page = decode(encode(Envelope(MARK, LeasePage(1, (lease,), False))))

    assert isinstance(page, Envelope)
    assert isinstance(page.body, LeasePage)
    assert page.body.leases[0].since == at - timedelta(microseconds=999_999)
