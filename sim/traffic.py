"""Counts what hosts say to each other: messages and bytes by purpose, and how often each change arrives at a host."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringipam.codec import encode
from ringipam.messages import (
    Ack,
    Compare,
    CompareMembers,
    Denied,
    Digest,
    Envelope,
    Grant,
    Introduce,
    Introduced,
    Members,
    Message,
    Offer,
    Ping,
    PingRequest,
    Ranges,
    Rumour,
    SpaceRequest,
    Want,
)
from sim.cluster import World

PURPOSE: dict[type, str] = {
    **dict.fromkeys((SpaceRequest, Grant, Denied, Introduce, Introduced), "space"),
    **dict.fromkeys((Offer, Want, Rumour), "news"),
    **dict.fromkeys((Digest, Compare, CompareMembers, Ranges, Members), "exchanges"),
    **dict.fromkeys((Ping, Ack, PingRequest), "probes"),
}
OTHER = "links"
"""Greetings, elections, lists of leases."""


@dataclass(slots=True)
class Counts:
    """Of one stretch of time."""

    messages: dict[str, int] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)
    """Bytes by purpose: whole frames but for their four bytes of length."""
    arrivals: dict[int, int] = field(default_factory=dict)
    """rumour → how often its payload was sent to a host."""
    ring_news: int = 0
    """How many of the rumours are of the ring; the others are of members."""

    @property
    def total(self) -> int:
        return sum(self.payload.values())


class Traffic:
    """Listens to the network. Of every kind of message one in `every` is encoded, and stands for the others."""

    def __init__(self, world: World, every: int = 1) -> None:
        self.counts = Counts()
        self._every = every
        self._seen: dict[type, int] = {}
        self._size: dict[type, int] = {}
        world.network.on_send = self._sent

    def count_anew(self) -> Counts:
        """The counts up to now; the next ones begin."""
        before, self.counts = self.counts, Counts()
        return before

    def _sent(self, source: str, target: str, message: Message, now: int, arrives: int | None) -> None:
        body = message.body if isinstance(message, Envelope) else message
        kind = type(body)
        seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        if seen % self._every == 1 or self._every == 1:
            self._size[kind] = len(encode(message))
        counts = self.counts
        purpose = PURPOSE.get(kind, OTHER)
        counts.messages[purpose] = counts.messages.get(purpose, 0) + 1
        counts.payload[purpose] = counts.payload.get(purpose, 0) + self._size[kind]
        if isinstance(body, Rumour):
            if body.rumour not in counts.arrivals:
                counts.ring_news += bool(body.segments)
            counts.arrivals[body.rumour] = counts.arrivals.get(body.rumour, 0) + 1
