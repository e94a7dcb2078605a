"""What peers say to each other. Plain values; how they become bytes is the codec's business.

A field that may grow later is added at the end: receivers ignore what they do not know (docs/design.md, "Versions").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.lease import Lease

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

COUNTER_MAX = 1 << 48
"""No correct peer ever raises an epoch, version, incarnation or round so far. What is decoded may be greater, so that
answering a hostile value by going one higher never makes a message that nobody can decode."""


class Ballot(NamedTuple):
    """A Paxos ballot: higher rounds win, ties by proposer (Lamport, "Paxos Made Simple", 2.2)."""

    round: int
    proposer: str


class Terms(NamedTuple):
    """On what grounds a ballot is held; an acceptor answers only a ballot of its own terms (safety.md S5)."""

    mode: str
    """`consensus` or `listed`."""
    electors: int
    """N: how many initial hosts there are at most."""
    acceptors: tuple[str, ...]
    """The exact electorate, sorted, in mode `listed`; empty in mode `consensus`."""


class Founding(NamedTuple):
    """The value an election decides: a cluster id and who shares the universe at first."""

    cluster: str
    members: tuple[str, ...]


class Health(Enum):
    """What is believed of a member (SWIM, Das et al. 2002); a later state beats an earlier one of one incarnation."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2


class Standing(Enum):
    """Where a member is on its way out; it only ever goes on (docs/design.md, "Leaving and removal")."""

    MEMBER = 0
    LEAVING = 1
    """Nothing is granted to it any more (safety.md S11)."""
    LEFT = 2
    REMOVED = 3

    @property
    def gone(self) -> bool:
        return self.value >= Standing.LEFT.value


class Point(NamedTuple):
    """A point in the history of a peer's commits (safety.md S12)."""

    nonce: str
    """Which process of the peer made it (S13)."""
    number: int
    """How many commits the peer had made, in all its processes."""
    head: int
    """A hash over all of them, 63 bits."""


class Member(NamedTuple):
    """What is known of a member. The greater (standing, incarnation, health) is the newer."""

    peer: str
    """`name.uid`."""
    address: str
    """Where it listens, `host:port`, or "" if unknown."""
    incarnation: int
    """Raised by the member itself, to refute a suspicion or to publish new figures."""
    health: Health
    free: int
    """Addresses it had free, roughly; a hint for choosing donors and nothing else."""
    standing: Standing = Standing.MEMBER
    point: Point | None = None
    """How far its history had come when it said so; others hold it against the peer should it come back with less."""

    @property
    def stamp(self) -> tuple[int, int, int]:
        return self.standing.value, self.incarnation, self.health.value


class Rest(NamedTuple):
    """What is left of a quarantine, travelling with a grant (safety.md S20)."""

    start: int
    end: int
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message on a link, and again whenever the sender gains a ring."""

    protocol_min: int
    protocol_max: int
    peer: str
    universe: str
    cluster: str
    """Empty until the sender has a ring, durably."""
    address: str
    """Where the sender listens; an empty host means the one this connection comes from."""
    incarnation: int
    observer: bool
    boot: int
    """Which start of this peer speaks: a link of an earlier one is dead."""
    nonce: str = ""
    """Its process: whoever greets as this very peer with another is a twin (safety.md S13)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Said before a link is closed for good reason, so that the other side can show it too."""

    reason: str


@dataclass(frozen=True, slots=True)
class Prepare:
    ballot: Ballot
    terms: Terms


@dataclass(frozen=True, slots=True)
class Promise:
    ballot: Ballot
    accepted_ballot: Ballot | None
    accepted: Founding | None


@dataclass(frozen=True, slots=True)
class Accept:
    ballot: Ballot
    terms: Terms
    value: Founding


@dataclass(frozen=True, slots=True)
class Accepted:
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Rejected:
    """A ballot was not taken: a higher one was promised, or `reason` says what does not match."""

    ballot: Ballot
    promised: Ballot | None
    reason: str


@dataclass(frozen=True, slots=True)
class Nudge:
    """Somebody needs an address: whoever may, please found the ring."""


@dataclass(frozen=True, slots=True)
class SpaceRequest:
    """May I have some of `[start, end)`?"""

    number: int
    """Rises with every request of this asker, over restarts too; each is answered at most once (safety.md S16)."""
    start: int
    end: int
    want: int
    """How many addresses the asker's recent use calls for."""
    exact: bool
    """A claim: all of `[start, end)` or nothing."""
    urgent: bool
    """Somebody waits: the last address may go too (safety.md S17)."""
    valid_ms: int
    """After so long in the donor's hands the request has expired."""
    known: bytes = b""
    """A fingerprint of what the asker knows of the range, salted with `number`: with a refusal it is told only news."""


@dataclass(frozen=True, slots=True)
class Grant:
    """These ranges are yours, durably."""

    number: int
    """The request it answers, or 0 for space given unasked."""
    segments: tuple[Segment, ...]
    rests: tuple[Rest, ...]


class Denial(Enum):
    NO_SPACE = 0
    IN_USE = 1
    NOT_OWNER = 2
    NO_WITNESS = 3
    NOT_YET = 4
    """The donor has not heard of an owner for all of the range; it may turn out to own some."""
    FENCED = 5
    """The donor gives nothing away, or nothing to this asker."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing for request `number`; `segments` is what the donor knows of the range, so that the asker learns too."""

    number: int
    reason: Denial
    holder: str
    """With IN_USE: the id that holds the address."""
    segments: tuple[Segment, ...]
    owned: int
    """How much of the range the donor owns, as far as it knows: a grant to it may still be on its way."""


@dataclass(frozen=True, slots=True)
class Introduce:
    """Please hold this newcomer in your member list, durably (safety.md S4)."""

    member: Member


@dataclass(frozen=True, slots=True)
class Introduced:
    """I hold that newcomer durably."""

    peer: str


@dataclass(frozen=True, slots=True)
class Ping:
    sequence: int
    point: Point | None = None
    """How far the sender's history has come; the receiver keeps it durably (safety.md S12)."""


@dataclass(frozen=True, slots=True)
class Ack:
    sequence: int
    point: Point | None = None


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Please ping `peer` for me; the answer is an `Ack` of this sequence (SWIM, 3.1)."""

    sequence: int
    peer: str


@dataclass(frozen=True, slots=True)
class Offer:
    """I have these rumours."""

    rumours: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Of what you offered, send me these."""

    rumours: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rumour:
    """News: closed ranges of the ring, members, or both."""

    rumour: int
    segments: tuple[Segment, ...]
    members: tuple[Member, ...]


class Print(NamedTuple):
    """The fingerprint of `[start, end)` of a ring or a member list."""

    start: int
    end: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Digest:
    """Anti-entropy opens: fingerprints of my whole ring and of my member list under a fresh salt (safety.md S21)."""

    salt: bytes
    ring: bytes
    members: bytes


@dataclass(frozen=True, slots=True)
class Compare:
    """Anti-entropy narrows: here is how my ring looks in these sub-ranges."""

    salt: bytes
    prints: tuple[Print, ...]


@dataclass(frozen=True, slots=True)
class CompareMembers:
    """Likewise my member list, in these ranges of positions (gossip/roster.py)."""

    salt: bytes
    prints: tuple[Print, ...]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Anti-entropy ends: what I hold in a few sub-ranges; `answer` asks for yours there in return."""

    segments: tuple[Segment, ...]
    answer: bool


@dataclass(frozen=True, slots=True)
class Members:
    """Some of the sender's member list."""

    members: tuple[Member, ...]
    spans: tuple[Range, ...]
    """These members are all that stand in these ranges of positions; what is newer there is asked for in return."""


@dataclass(frozen=True, slots=True)
class LeaseQuery:
    """Which leases do you hold? `after` is the last lease seen, or "" to begin."""

    number: int
    after: str


@dataclass(frozen=True, slots=True)
class LeasePage:
    number: int
    leases: tuple[Lease, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Recall:
    """The last that I durably know of your history; none if I know nothing of it (safety.md S12)."""

    point: Point | None


@dataclass(frozen=True, slots=True)
class Rival:
    """Another process that speaks as you lives, under this nonce (safety.md S13)."""

    nonce: str


@dataclass(frozen=True, slots=True)
class AskRemoval:
    """Promise me round `epoch`, and show me your view (docs/design.md, "Leaving and removal")."""

    epoch: int
    """A ballot: promised only above every epoch promised or seen (safety.md S9)."""
    targets: tuple[str, ...]
    """Who is to be removed."""
    force: bool
    """The operator goes on even if a target seems to be alive."""
    since: int
    until: int
    """From which address up to which this round goes."""
    ranges: tuple[Range, ...]
    """Where your view is wanted, whatever it says."""
    electorate: bytes
    """A hash of those who must answer, as far as the sender knows."""


@dataclass(frozen=True, slots=True)
class PromiseRemoval:
    """I am bound to your round `epoch`, durably, and this is my view."""

    epoch: int
    until: int
    """Up to which address `segments` is complete; a large view comes in several rounds."""
    ranges: tuple[Range, ...]
    """Which of the wanted ranges this answers."""
    segments: tuple[Segment, ...]
    """My view there, and wherever it names one who is to go, or has gone, as owner or as writer."""
    possessed: tuple[Range, ...]
    """What of `ranges` is mine to keep (safety.md S8)."""
    members: tuple[str, ...]
    """Who else must be asked, if that is not whom you named."""
    leased: tuple[Range, ...] = ()
    """What I lease there and do not own: whoever takes it over must not issue it."""


@dataclass(frozen=True, slots=True)
class DenyRemoval:
    """I do not promise round `epoch`."""

    epoch: int
    seen: int
    """The highest epoch that I promised or saw: propose one above it."""
    coordinator: str
    """To whom I am bound instead, or ""."""
    reason: str
    """What else stands in the way, in words, or ""."""


@dataclass(frozen=True, slots=True)
class QueryRound:
    """What became of your round `epoch`, to which I am bound?"""

    epoch: int


@dataclass(frozen=True, slots=True)
class RoundOver:
    """My round `epoch` was committed, or will never be (safety.md S9)."""

    epoch: int
    done: bool
    targets: tuple[str, ...]
    """With `done`, who was removed."""
    segments: tuple[Segment, ...]
    """With `done`, what was taken over, as I know it now."""


@dataclass(frozen=True, slots=True)
class Depart:
    """I am leaving: grant me nothing more, tell me what you think I own, and take what I gave you (safety.md S11)."""

    number: int
    member: Member
    """The sender, with its standing."""
    gifts: tuple[Segment, ...]
    """What the sender gave the receiver, all that it knows of."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """That is durable here; answers `Depart` number `number`."""

    number: int
    segments: tuple[Segment, ...]
    """What the leaver owns as I see it."""
    willing: bool
    """Whether I may be an heir."""
    members: tuple[str, ...]
    """Who else must be asked."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """I am fenced off and hold leases there, in ranges that the ring gives to you."""

    number: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Disputed:
    """Dispute `number` is on record here, durably."""

    number: int


Body = (
    Prepare
    | Promise
    | Accept
    | Accepted
    | Rejected
    | Nudge
    | SpaceRequest
    | Grant
    | Denied
    | Introduce
    | Introduced
    | Ping
    | Ack
    | PingRequest
    | Offer
    | Want
    | Rumour
    | Digest
    | Compare
    | Ranges
    | Members
    | CompareMembers
    | LeaseQuery
    | LeasePage
    | Recall
    | Rival
    | AskRemoval
    | PromiseRemoval
    | DenyRemoval
    | QueryRound
    | RoundOver
    | Depart
    | Farewell
    | Dispute
    | Disputed
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything but the greeting travels in one: directly over a link, or relayed by peers between."""

    mark: bytes
    """Of which ring it is: a fingerprint of cluster id and universe, of which the first is empty before the sender has
    a ring. Checked by the final receiver, however many hops away (safety.md S6)."""
    body: Body
    origin: str = ""
    """Empty, as the other three, on a direct one: the greeting said who is at the ends of the link."""
    target: str = ""
    serial: int = 0
    """With `origin`, tells copies of a relayed envelope apart."""
    hops: int = 0
    """How many more relays may pass it on."""


Message = Hello | Refused | Envelope
