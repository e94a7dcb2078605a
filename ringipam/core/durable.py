"""What a peer keeps on disk: the changes it may ask for, and the state they add up to.

`Stored` is the reference for every store: applying the same changes gives the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from ringipam.claim import Claim
from ringipam.lease import Lease
from ringipam.messages import Ballot, Founding
from ringipam.ring.space import Rows


class Conflict(NamedTuple):
    """Addresses that more than one peer may believe to own; never the work of correct peers."""

    start: int
    end: int
    peers: tuple[str, ...]
    since_ms: int
    source: str
    """The peer whose message showed it."""


@dataclass(frozen=True, slots=True)
class PutMeta:
    """One of the node's few facts: `peer`, `universe`, `cluster`, `boots`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class PutTokens:
    """What one join changed in the ring, as one record (safety.md S19)."""

    removed: tuple[int, ...]
    put: tuple[tuple[int, Claim], ...]


@dataclass(frozen=True, slots=True)
class PutLease:
    lease: Lease


@dataclass(frozen=True, slots=True)
class DropLease:
    lease: str


@dataclass(frozen=True, slots=True)
class PutMember:
    """Members are only ever added here (safety.md S4)."""

    peer: str
    address: str


@dataclass(frozen=True, slots=True)
class PutAcceptor:
    """The Paxos acceptor's two facts, durable before either is sent (safety.md S5)."""

    promised: Ballot
    accepted_ballot: Ballot | None
    accepted: Founding | None


@dataclass(frozen=True, slots=True)
class PutAnswered:
    """The last space request of `asker` that was granted (safety.md S16)."""

    asker: str
    number: int


@dataclass(frozen=True, slots=True)
class PutConflict:
    conflict: Conflict


Change = PutMeta | PutTokens | PutLease | DropLease | Rows | PutMember | PutAcceptor | PutAnswered | PutConflict
"""`Rows` are rows of the quarantine, as `Space` reports them: start → (end, until in ms)."""


@dataclass(slots=True)
class Stored:
    """Everything a peer knows after a restart."""

    meta: dict[str, str] = field(default_factory=dict)
    tokens: dict[int, Claim] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    quarantine: dict[int, tuple[int, int]] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    acceptor: PutAcceptor | None = None
    answered: dict[str, int] = field(default_factory=dict)
    conflicts: dict[tuple[int, int], Conflict] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        match change:
            case PutMeta(key, value):
                self.meta[key] = value
            case PutTokens(removed, put):
                for start in removed:
                    self.tokens.pop(start, None)
                self.tokens.update(put)
            case PutLease(lease):
                self.leases[lease.lease] = lease
            case DropLease(lease_id):
                self.leases.pop(lease_id, None)
            case Rows(dropped, rows):
                for start in dropped:
                    self.quarantine.pop(start, None)
                self.quarantine.update((start, (end, until)) for start, end, until in rows)
            case PutMember(peer, address):
                self.members[peer] = address
            case PutAcceptor():
                self.acceptor = change
            case PutAnswered(asker, number):
                self.answered[asker] = number
            case PutConflict(conflict):
                self.conflicts[conflict.start, conflict.end] = conflict
            case _:
                assert_never(change)
