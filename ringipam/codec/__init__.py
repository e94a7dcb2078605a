"""Bytes ↔ messages, bounded. Whatever the bytes, `decode` gives a message or raises PeerError, quickly.

A message is a msgpack array that begins with the number of its kind. The tables `MESSAGES` and `BODIES` only ever
grow, and so do the arrays: elements behind those known here are skipped, as newer peers may send more.

* An address is an integer below 2**63, else its big-endian bytes; so are counts of addresses. A range is its
  start and its size; in lists of segments and of fingerprints the start is counted from the end of the range before.
* Peer ids stand once in an envelope, in a table; everywhere else a peer is its index there, or nil for "nobody".
  Origin and target are named only where an envelope is relayed.
* What may be absent is a list of none or one.
"""

from __future__ import annotations

import msgpack

from ringipam.codec.bodies import BODIES
from ringipam.codec.limits import ADDRESS_MAX, COUNT_MAX, FRAME_BYTES_MAX, RANDOM_MAX, REASON_LENGTH_MAX, SECONDS_MAX
from ringipam.codec.messages import MESSAGE_OF_NUMBER, MESSAGE_OF_TYPE, MESSAGES
from ringipam.codec.wire import Reader, UnknownKindError
from ringipam.errors import PeerError, RequestError
from ringipam.messages import Message

__all__ = [
    "ADDRESS_MAX",
    "BODIES",
    "COUNT_MAX",
    "FRAME_BYTES_MAX",
    "HEADER_BYTES",
    "MESSAGES",
    "RANDOM_MAX",
    "REASON_LENGTH_MAX",
    "SECONDS_MAX",
    "UnknownKindError",
    "decode",
    "encode",
    "frame",
    "frame_length",
]

HEADER_BYTES = 4


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
    kind = MESSAGE_OF_TYPE[type(message)]
    payload: bytes = msgpack.packb([kind.number, *kind.encode(message)])
    return payload


def decode(payload: bytes) -> Message:
    """The message that `payload` stands for, every value checked; raises PeerError.

    UnknownKindError, which is one too, says that a newer release may have meant something by it.
    """
    if len(payload) > FRAME_BYTES_MAX:
        raise PeerError(f"a payload of {len(payload)} bytes; {FRAME_BYTES_MAX} are allowed")
    reader = Reader(payload)
    try:
        message: Message = reader.one_of(MESSAGE_OF_NUMBER)
    except msgpack.OutOfData:
        raise PeerError("malformed message: it ends too early") from None
    except (ValueError, msgpack.UnpackException, RequestError) as error:
        raise PeerError(f"malformed message: {error or type(error).__name__}") from None
    if reader.position() != len(payload):
        raise PeerError("malformed message: something follows it")
    return message
