"""What must hold of the codec for any bytes: a message that can be said again, or PeerError and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator

from forge import KINDS, Forge
from spoil import spoiled

from ringipam.address import Range
from ringipam.codec import decode, encode
from ringipam.errors import PeerError

MARK = bytes(8)
WITHIN = Range(0x0A000000, 0x0A000100)
PEERS = ("me.00000000aaaa", "b.00000000bbbb", "c.00000000cccc")


def check(payload: bytes) -> None:
    """Raises AssertionError, or whatever else the codec let out."""
    refusal = ""
    try:
        message = decode(payload)
    except PeerError as error:
        refusal = error.message
    else:
        assert decode(encode(message)) == message
    assert "\n" not in refusal, refusal
    assert len(refusal) < 400, refusal


def seeds() -> Iterator[bytes]:
    """Of each kind the longest of a few valid messages."""
    for number, kind in enumerate(KINDS):
        forge = Forge(random.Random(number), WITHIN, PEERS, MARK)
        yield max((encode(forge.of(kind)) for _ in range(8)), key=len)


def mutate(data: bytes, seed: int) -> bytes:
    """A variant of `data` that goes deeper than changed bytes do."""
    rng = random.Random(seed)
    if not data or rng.random() < 0.1:
        data = encode(Forge(rng, WITHIN, PEERS, MARK).message())
    return spoiled(data, rng)
