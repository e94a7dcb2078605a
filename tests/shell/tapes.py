"""What a driver was given and what it made of it, recorded where both drivers meet: at their Peer and their Outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from ringipam.address import Range
from ringipam.core.durable import (
    Change,
    PutAcceptor,
    PutAnswered,
    PutBoot,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutPledge,
    PutPoint,
    PutPublished,
    PutRound,
    PutTokens,
    Stored,
    Suspensions,
)
from ringipam.core.events import Effect, Event
from ringipam.core.outbox import Outbox, Visible
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import PeerError
from ringipam.ring.space import Rows


@dataclass(frozen=True)
class Started:
    now: int


@dataclass(frozen=True)
class Happened:
    event: Event
    now: int
    refused: bool = False


@dataclass(frozen=True)
class Seen:
    """An effect left the outbox."""

    effect: Visible


@dataclass(frozen=True)
class Began:
    """A commit."""

    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Ended:
    """The commit under way."""

    well: bool


Entry = Started | Happened | Seen | Began | Ended


@dataclass
class Tape:
    """One life of a peer."""

    settings: Settings
    stored: Stored
    rng: Rng
    began_ms: int
    entries: list[Entry] = field(default_factory=list)

    @property
    def inputs(self) -> list[Started | Happened | Ended]:
        return [entry for entry in self.entries if isinstance(entry, Started | Happened | Ended)]


class TapedPeer(Peer):
    """The production peer, and what goes into it."""

    def __init__(self, settings: Settings, stored: Stored, rng: Rng, now: int) -> None:
        self.tape = Tape(settings, deepcopy(stored), copy(rng), now)
        super().__init__(settings, stored, rng, now)

    def start(self, now: int) -> list[Effect]:
        self.tape.entries.append(Started(now))
        return super().start(now)

    def step(self, event: Event, now: int) -> list[Effect]:
        index = len(self.tape.entries)
        self.tape.entries.append(Happened(event, now))
        try:
            return super().step(event, now)
        except PeerError:
            self.tape.entries[index] = Happened(event, now, refused=True)
            raise


class TapedOutbox(Outbox):
    """The production outbox, and what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def visible(self) -> list[Visible]:
        effects = super().visible()
        self.entries += [Seen(effect) for effect in effects]
        return effects

    def commit(self) -> tuple[Change, ...]:
        changes = super().commit()
        if changes:
            self.entries.append(Began(changes))
        return changes

    def committed(self) -> None:
        self.entries.append(Ended(True))
        super().committed()

    def failed(self) -> None:
        self.entries.append(Ended(False))
        super().failed()


@contextmanager
def taping(
    peers: tuple[Any, str], outboxes: tuple[Any, str], make: Callable[..., TapedPeer] = TapedPeer
) -> Iterator[list[Tape]]:
    """Every life that a driver leads meanwhile; where it takes peers and outboxes from is given as module and name.

    It makes a life's outbox and its peer in any order, with no other life's in between.
    """
    tapes: list[Tape] = []
    alone: list[TapedPeer | TapedOutbox] = []

    def join(new: TapedPeer | TapedOutbox) -> None:
        if alone and isinstance(alone[-1], Peer) is not isinstance(new, Peer):
            other = alone.pop()
            peer, outbox = (new, other) if isinstance(new, TapedPeer) else (other, new)
            assert isinstance(peer, TapedPeer)
            assert isinstance(outbox, TapedOutbox)
            outbox.entries = peer.tape.entries
            tapes.append(peer.tape)
        else:
            alone[:] = [new]

    def make_peer(*arguments: Any) -> Peer:
        peer = make(*arguments)
        join(peer)
        return peer

    def make_outbox() -> Outbox:
        outbox = TapedOutbox()
        join(outbox)
        return outbox

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*peers, make_peer)
        patch.setattr(*outboxes, make_outbox)
        yield tapes


def as_changes(stored: Stored) -> tuple[Change, ...]:
    """What makes an empty store hold this."""
    changes: list[Change] = [PutMeta(*item) for item in stored.meta.items()]
    changes += [PutLease(lease) for lease in stored.leases.values()]
    changes += [PutMember(peer, *member) for peer, member in stored.members.items()]
    changes += [PutAnswered(*item) for item in stored.answered.items()]
    changes += [PutConflict(conflict) for conflict in stored.conflicts.values()]
    changes += [PutBoot(*item) for item in stored.boots.items()]
    changes += [PutPublished(*item) for item in stored.published.items()]
    changes += [PutPoint(*item) for item in stored.points.items()]
    changes += [PutPledge(*item) for item in stored.pledges.items()]
    changes += [PutRound(*item) for item in stored.rounds.items()]
    changes.append(Suspensions((), tuple(Range(*item) for item in stored.suspended.items())))
    changes.append(PutTokens((), tuple(sorted(stored.tokens.items()))))
    changes.append(Rows((), tuple((start, end, until) for start, (end, until) in sorted(stored.quarantine.items()))))
    return (*changes, stored.acceptor) if isinstance(stored.acceptor, PutAcceptor) else tuple(changes)
