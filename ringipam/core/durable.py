"""What a peer keeps on disk: the changes it may ask for, and the state they add up to.

`Stored` is the reference for every store: applying the same changes gives the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple, assert_never

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.lease import Lease
from ringipam.messages import Ballot, Founding, Point, Standing
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
    """One of the node's few facts: `peer`, `universe`, `cluster`, `boots`, `commit`, `epoch`, `fenced`."""

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


class Membered(NamedTuple):
    """What is durable of a member."""

    address: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class PutMember:
    """Members are only ever added here, and their standing only goes on (safety.md S4, S10)."""

    peer: str
    address: str
    standing: Standing = Standing.MEMBER


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


@dataclass(frozen=True, slots=True)
class DropConflict:
    """Resolved by hand."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PutBoot:
    """A process of this peer, durable before it says anything, and the number its first commit has (safety.md S13)."""

    nonce: str
    first: int


@dataclass(frozen=True, slots=True)
class PutPublished:
    """A commit of this peer's that others are about to hear of, and which older ones need no longer be kept."""

    number: int
    head: int
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PutPoint:
    """How far the history of another peer had come (safety.md S12)."""

    peer: str
    point: Point


class Pledge(NamedTuple):
    """What a member promised to the coordinator of a removal: a round, and to fence these off (safety.md S9)."""

    epoch: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutPledge:
    coordinator: str
    pledge: Pledge


@dataclass(frozen=True, slots=True)
class DropPledge:
    coordinator: str


class Round(NamedTuple):
    """A removal that this peer coordinates or has coordinated; one that was aborted is dropped (safety.md S9)."""

    targets: tuple[str, ...]
    done: bool
    taken: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class PutRound:
    epoch: int
    round: Round


@dataclass(frozen=True, slots=True)
class DropRound:
    epoch: int


@dataclass(frozen=True, slots=True)
class Suspensions:
    """Where this peer owns what it may not possess, as ranges: which are no more, and which are new (safety.md S1)."""

    dropped: tuple[int, ...]
    put: tuple[Range, ...]


class Recorded(NamedTuple):
    """One line of the audit log: a range came to another owner. Nothing is ever decided by it."""

    at_ms: int
    start: int
    end: int
    before: str
    claim: Claim
    source: str
    """The peer whose message brought it, or this peer."""


@dataclass(frozen=True, slots=True)
class Record:
    lines: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class BeginAnew:
    """Become another peer: all is dropped but the leases, the addresses of other hosts and the audit log.

    The conflicts go too: they were about who possesses what, and the new peer possesses nothing.
    """

    peer: str


Change = (
    PutMeta
    | PutTokens
    | PutLease
    | DropLease
    | Rows
    | PutMember
    | PutAcceptor
    | PutAnswered
    | PutConflict
    | DropConflict
    | PutBoot
    | PutPublished
    | PutPoint
    | PutPledge
    | DropPledge
    | PutRound
    | DropRound
    | Suspensions
    | Record
    | BeginAnew
)
"""`Rows` are rows of the quarantine, as `Space` reports them: start → (end, until in ms)."""

UNCOUNTED = (PutPublished, PutPoint)
"""What does not make a commit count: two idle peers would tell each other of nothing else for ever (S12)."""


@dataclass(slots=True)
class Stored:
    """Everything a peer knows after a restart. The audit log is not part of it: it is for people."""

    meta: dict[str, str] = field(default_factory=dict)
    tokens: dict[int, Claim] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    quarantine: dict[int, tuple[int, int]] = field(default_factory=dict)
    members: dict[str, Membered] = field(default_factory=dict)
    acceptor: PutAcceptor | None = None
    answered: dict[str, int] = field(default_factory=dict)
    conflicts: dict[tuple[int, int], Conflict] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    published: dict[int, int] = field(default_factory=dict)
    points: dict[str, Point] = field(default_factory=dict)
    pledges: dict[str, Pledge] = field(default_factory=dict)
    rounds: dict[int, Round] = field(default_factory=dict)
    suspended: dict[int, int] = field(default_factory=dict)

    def apply(self, change: Change) -> None:  # noqa: C901  # a line or two for each kind of change
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
            case PutMember(peer, address, standing):
                self.members[peer] = Membered(address, standing)
            case PutAcceptor():
                self.acceptor = change
            case PutAnswered(asker, number):
                self.answered[asker] = number
            case PutConflict(conflict):
                self.conflicts[conflict.start, conflict.end] = conflict
            case DropConflict(start, end):
                self.conflicts.pop((start, end), None)
            case PutBoot(nonce, first):
                self.boots[nonce] = first
            case PutPublished(number, head, dropped):
                for old in dropped:
                    self.published.pop(old, None)
                self.published[number] = head
            case PutPoint(peer, point):
                self.points[peer] = point
            case PutPledge(coordinator, pledge):
                self.pledges[coordinator] = pledge
            case DropPledge(coordinator):
                self.pledges.pop(coordinator, None)
            case PutRound(epoch, round_):
                self.rounds[epoch] = round_
            case DropRound(epoch):
                self.rounds.pop(epoch, None)
            case Suspensions(dropped, ranges):
                for start in dropped:
                    self.suspended.pop(start, None)
                self.suspended.update(ranges)
            case Record():
                pass
            case BeginAnew(peer):
                self._begin_anew(peer)
            case _:
                assert_never(change)

    def _begin_anew(self, peer: str) -> None:
        hosts = sorted({m.address for m in self.members.values() if m.address and not m.standing.gone})
        meta = {"peer": peer, "formerly": self.meta.get("peer", ""), "dial": " ".join(hosts)}
        if "universe" in self.meta:
            meta["universe"] = self.meta["universe"]
        fresh = Stored(meta, leases=self.leases)
        for kept in fields(self):
            setattr(self, kept.name, getattr(fresh, kept.name))
