"""What must hold of a peer for any bytes of an authenticated stranger, who has greeted as a member does.

An input is a world's number and frames: one byte of time to pass, in 100 ms, three of length, the payload.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))

from forge import KINDS, Forge
from solo import ME, Solo, request
from spoil import spoiled

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.codec import decode, encode
from ringipam.core.events import Allocate, Asked, ClaimAddress, Leases, LinkDown, Persist, Received, Show
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.errors import PeerError
from ringipam.messages import Introduced, Message

STRANGER = "b.00000000bbbb"
HONEST = "c.00000000cccc"
FRAMES_MAX = 24
STATUS_REQUEST = 1 << 40


def _with_ring(universe: str) -> Solo:
    solo = Solo(universe)
    solo.allocate("c1")
    solo.allocate("c2")
    solo.meet(HONEST)
    solo.meet(STRANGER)
    solo.hear(HONEST, request(1, solo))
    solo.hear(STRANGER, Introduced(HONEST))  # now the newcomer gets its grant
    solo.ask(Leases(cluster=True))
    solo.ask(ClaimAddress("c3", solo.settings.universe.family, _granted_to(solo, HONEST), 24, 60_000))
    return solo


def _granted_to(solo: Solo, peer: str) -> int:
    """An address that `peer` owns, so that a claim of it must wait for its word."""
    ring = solo.peer.ring
    assert ring is not None
    return ring.ranges_of(peer)[0].start + 1


def _electing() -> Solo:
    solo = Solo(init=None, dial=("b:1", "c:1"))
    solo.meet(HONEST, dialled="c:1")
    solo.meet(STRANGER, dialled="b:1")
    solo.ask(Allocate("c1", None, 60_000))
    solo.wait(1_000)
    return solo


def _observing() -> Solo:
    solo = Solo(init="observer")
    solo.meet(STRANGER, cluster="thering")
    solo.ask(Allocate("c1", None, 60_000))
    solo.wait(1_000)
    return solo


WORLDS = (lambda: _with_ring("10.0.0.0/24"), _electing, _observing, lambda: _with_ring("fd00::/64"))


class Attacked:
    """One peer, and a stranger who sends it whatever he likes."""

    def __init__(self, world: int) -> None:
        self.solo = WORLDS[world % len(WORLDS)]()
        self.leases = dict(self.solo.peer.leases)
        self.refused = 0

    def hear(self, message: Message) -> None:
        """Raises AssertionError, or whatever else than PeerError the peer let out."""
        solo = self.solo
        before, claims = solo.peer.possessed(), self._claims()
        try:
            effects = solo.step(Received(solo._links[STRANGER], message))
        except PeerError:
            self.refused += 1
            self._check_nothing_came_of_it(before)
            return
        if solo.peer.possessed() != before:
            assert any(isinstance(effect, Persist) for effect in effects), "possession changed and nothing is durable"
        for start, end, claim in claims:
            assert solo.peer.ring is not None, "a ring was given up"
            _, held = solo.peer.ring.columns(start, end)
            assert all(now >= claim for now in held), f"the ring went back at {start}: {claim} to {held}"

    def wait(self, ms: int) -> None:
        self.solo.wait(ms)

    def check_end(self) -> None:
        """Leases stand, and a restart knows what this life knew."""
        solo = self.solo
        for number, lease in self.leases.items():
            assert solo.peer.leases.get(number) == lease, f"{lease} is gone"
        if solo.peer.ring is not None:
            solo.peer.ring.check()
        for lease in solo.peer.leases.values():
            assert not solo.peer.free_in(Range(int(lease.address), int(lease.address) + 1), 1), f"{lease} is free"
        again = Peer(solo.settings, solo.stored, Rng(7), solo.now)
        assert again.possessed() == solo.peer.possessed(), "a restart possesses something else"
        assert dict(again.leases) == dict(solo.peer.leases)

    def _claims(self) -> list[tuple[int, int, Claim]]:
        ring = self.solo.peer.ring
        if ring is None:
            return []
        starts = [start for start, _ in ring.tokens()]
        ends = [*starts[1:], self.solo.settings.universe.range.end]
        return [(start, end, claim) for (start, claim), end in zip(ring.tokens(), ends, strict=True)]

    def _check_nothing_came_of_it(self, before: list[Range]) -> None:
        """The runtime closes the link; nothing may be left behind that becomes durable with the next event."""
        solo = self.solo
        effects = solo.step(Asked(STATUS_REQUEST + self.refused, Show.STATUS))
        assert not any(isinstance(effect, Persist) for effect in effects), "a refused message left changes behind"
        assert solo.peer.possessed() == before
        solo.step(LinkDown(solo._links[STRANGER], "closed"))
        if self.solo.peer.cluster or self.refused < 3:
            solo.meet(STRANGER)


def check(data: bytes) -> None:
    """Let a peer hear `data`."""
    attacked = Attacked(data[0] if data else 0)
    rest = data[1:]
    for _ in range(FRAMES_MAX):
        if len(rest) < 4:
            break
        pause, length = rest[0], int.from_bytes(rest[1:4], "big")
        payload, rest = rest[4 : 4 + length], rest[4 + length :]
        attacked.wait(min(pause, 50) * 100)
        try:
            message = decode(payload)
        except PeerError:
            continue
        attacked.hear(message)
    attacked.wait(3_000)
    attacked.check_end()


def framed(payload: bytes, pause: int = 0) -> bytes:
    return bytes([pause]) + len(payload).to_bytes(3, "big") + payload


def forge_in(world: int, rng: random.Random) -> Forge:
    """One whose messages this world's peer takes for its own ring's."""
    if world % len(WORLDS) not in _SCENES:
        solo = WORLDS[world % len(WORLDS)]()
        _SCENES[world % len(WORLDS)] = solo.settings.universe.range, solo.mark(), [body for _, body in solo.sent]
    within, mark, heard = _SCENES[world % len(WORLDS)]
    return Forge(rng, within, (ME, STRANGER, HONEST), mark, heard)


_SCENES: dict[int, tuple[Range, bytes, list[Any]]] = {}


def seeds() -> Iterator[bytes]:
    """Every kind of message, in every world."""
    for world in range(len(WORLDS)):
        for number, kind in enumerate(KINDS):
            yield bytes([world]) + framed(encode(forge_in(world, random.Random(number)).of(kind)))


def mutate(data: bytes, seed: int) -> bytes:
    """Mostly valid frames, some of them spoiled, added to what was there or in the place of it."""
    rng = random.Random(seed)
    world = data[0] if data and rng.random() < 0.9 else rng.randrange(len(WORLDS))
    rest = data[1:] if rng.random() < 0.7 else b""
    forge = forge_in(world, rng)
    for _ in range(rng.randint(1, 4)):
        payload = encode(forge.message())
        if rng.random() < 0.15:
            payload = spoiled(payload, rng)
        rest += framed(payload, rng.choice((0, 0, 0, 1, 10, 50)))
    return bytes([world]) + rest
