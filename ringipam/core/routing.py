"""Gets a message to any peer that some path of live links leads to.

A linked peer is written to directly. To any other, the first envelope floods, and every relay learns from it
which neighbour leads back to its origin; the answer and what follows take that way (the idea of AODV,
RFC 3561, without its state). Links need not be transitive (docs/design.md, "Gossip").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from ringipam.core.events import Send
from ringipam.core.state import State
from ringipam.messages import Body, Envelope

HOPS_MAX = 16
FLOOD_MAX = 16
"""A relay with more neighbours to choose from passes on only what it knows a way for: in so dense a mesh most peers are
two links apart, and a flood through all of it would cost as many messages as there are links."""
LINKED_WANTED = 6
"""The first message to a peer goes to as many neighbours as have about six links to it: in a dense mesh a few."""
SEEN_MAX = 5_000


class Router:
    """`link_to` gives the link of a directly connected peer; `neighbours` all such peers."""

    def __init__(self, state: State, link_to: Callable[[str], int | None], neighbours: Callable[[], list[str]]) -> None:
        self._state = state
        self._link_to = link_to
        self._neighbours = neighbours
        self._via: dict[str, str] = {}
        self._seen: dict[tuple[str, int], None] = {}
        self._tried: dict[str, None] = {}
        """Peers that were written to over a few neighbours, and from whom nothing has come since."""

    def send(self, target: str, body: Body) -> None:
        """Best effort; whoever needs an answer sets a deadline."""
        state = self._state
        direct = self._link_to(target)
        if direct is not None:
            state.emit(Send(direct, Envelope(state.mark, body)))
            return
        envelope = Envelope(state.mark, body, state.me, target, state.rng.bits64() >> 1, HOPS_MAX)
        self._note(envelope)
        self._pass_on(envelope, arrived_by="")

    def lost(self, peer: str) -> None:
        """The link to `peer` is gone, and the ways that led over it."""
        for target in [target for target, via in self._via.items() if via == peer]:
            del self._via[target]

    def unanswered(self, peer: str) -> None:
        """`peer` did not answer in time: look for another way the next time."""
        self._via.pop(peer, None)

    def received(self, neighbour: str, envelope: Envelope) -> bool:
        """Whether `envelope` is for this peer, and of its own cluster and universe (safety.md S6)."""
        state = self._state
        if not envelope.origin:
            return envelope.mark == state.mark
        if envelope.origin == state.me or (envelope.origin, envelope.serial) in self._seen:
            return False
        self._note(envelope)
        if envelope.origin != neighbour:
            self._via[envelope.origin] = neighbour
            self._tried.pop(envelope.origin, None)
            if len(self._via) > SEEN_MAX:
                del self._via[next(iter(self._via))]
        if envelope.target == state.me:
            return envelope.mark == state.mark
        # A peer without a ring, or of another, relays nothing: it could be the bridge between two rings (S6).
        if envelope.hops > 0 and state.cluster and envelope.mark == state.mark:
            self._pass_on(envelope, arrived_by=neighbour)
        return False

    def counts(self) -> dict[str, int]:
        return {"ways learned": len(self._via), "envelopes seen": len(self._seen)}

    def _pass_on(self, envelope: Envelope, arrived_by: str) -> None:
        target = envelope.target
        further = replace(envelope, hops=envelope.hops - 1)
        via = self._via.get(target, arrived_by)
        if self._link_to(target) is not None:
            towards = [target]
        elif via != arrived_by and self._link_to(via) is not None:
            towards = [via]
        else:
            towards = [peer for peer in self._neighbours() if peer not in (arrived_by, envelope.origin)]
            if not arrived_by:
                towards = self._few(target, towards)
            elif len(towards) > FLOOD_MAX:
                return
        for peer in towards:
            link = self._link_to(peer)
            if link is not None:
                self._state.emit(Send(link, further))

    def _few(self, target: str, neighbours: list[str]) -> list[str]:
        """Enough neighbours for a first message to `target`; all of them if that was tried and nothing came back."""
        enough = -(-LINKED_WANTED * len(self._state.members) // max(1, len(neighbours)))
        if enough >= len(neighbours) or target in self._tried:
            return neighbours
        self._tried[target] = None
        if len(self._tried) > SEEN_MAX:
            del self._tried[next(iter(self._tried))]
        return list(islice(self._state.rng.drawn(neighbours), enough))

    def _note(self, envelope: Envelope) -> None:
        self._seen[envelope.origin, envelope.serial] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
