"""What stands alone on a connection: hellos, refusals and envelopes, and the number of each for ever."""

from __future__ import annotations

from ringipam.codec.bodies import BODY_OF_NUMBER, BODY_OF_TYPE
from ringipam.codec.limits import (
    CLUSTER_LENGTH_MAX,
    COUNT_MAX,
    ENDPOINT_LENGTH_MAX,
    HOPS_MAX,
    PEERS_MAX,
    PROTOCOL_MAX,
    RANDOM_MAX,
    REASON_LENGTH_MAX,
    UNIVERSE_LENGTH_MAX,
    WORD_LENGTH_MAX,
)
from ringipam.codec.wire import Kind, PeerTable, Reader
from ringipam.messages import Body, Envelope, Hello, Refused


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
        message.nonce,
    ]


def _read_hello(reader: Reader) -> Hello:
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
        nonce=reader.text(WORD_LENGTH_MAX),
    )


def _put_refused(message: Refused) -> list[object]:
    return [message.reason[:REASON_LENGTH_MAX]]


def _read_refused(reader: Reader) -> Refused:
    return Refused(reader.text(REASON_LENGTH_MAX))


def _put_envelope(message: Envelope) -> list[object]:
    peers = PeerTable()
    way = [[message.serial, message.hops, peers.ref(message.origin), peers.ref(message.target)]]
    kind = BODY_OF_TYPE[type(message.body)]
    body = [kind.number, *kind.encode(message.body, peers)]
    return [message.mark, peers.ids, way if message.origin else [], body]


def _read_way(reader: Reader) -> tuple[int, int, str, str]:
    extra = reader.open(4)
    way = reader.uint(RANDOM_MAX), reader.uint(HOPS_MAX), reader.peer(), reader.peer()
    reader.skip(extra)
    return way


def _read_envelope(reader: Reader) -> Envelope:
    mark = reader.digest()
    reader.peers.extend(reader.many(Reader.peer_id, PEERS_MAX))
    serial, hops, origin, target = reader.maybe(_read_way) or (0, 0, "", "")
    body: Body = reader.one_of(BODY_OF_NUMBER)
    return Envelope(mark, body, origin, target, serial, hops)


MESSAGES = (
    Kind(1, Hello, 10, _put_hello, _read_hello),
    Kind(2, Refused, 1, _put_refused, _read_refused),
    Kind(3, Envelope, 4, _put_envelope, _read_envelope),
)
"""Every kind of message and its number for ever."""

MESSAGE_OF_TYPE: dict[type, Kind] = {kind.type: kind for kind in MESSAGES}
MESSAGE_OF_NUMBER: dict[int, Kind] = {kind.number: kind for kind in MESSAGES}
