"""What can happen to a peer, and what it can want done. All of it plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ringipam.address import Cidr, Range
from ringipam.core.durable import Change
from ringipam.errors import RingIpamError
from ringipam.lease import Lease
from ringipam.messages import Message

# ── what users ask ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Allocate:
    """An address of `subnet` (None: the node's default) for `id`. Answered with `Leased`."""

    id: str
    subnet: Cidr | None
    timeout_ms: int
    class_: str = "container"
    labels: Mapping[str, str] = field(default_factory=dict)
    span: Range | None = None
    """Only addresses of this part of the subnet; all that a subnet may issue if None."""
    avoid: tuple[int, ...] = ()
    """None of these addresses, such as the gateway of a network."""
    same: tuple[str, ...] = ()
    """Keys of labels: a lease of `id` and the subnet is the one asked for only if it agrees in these as well.

    Its other labels become those of this request, durably.
    """


@dataclass(frozen=True, slots=True)
class AllocateBlock:
    """A whole block of `prefix_len` that no other lease or block touches, for `id`. Answered with `Leased`.

    The lease is of class `block`, its address the block's first one and its subnet the block; whoever names a subnet
    inside the block gets addresses of it, nobody else does.
    """

    id: str
    prefix_len: int
    subnet: Cidr | None
    """Where the block lies; None: anywhere in the universe."""
    timeout_ms: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClaimAddress:
    """Exactly this address for `id`. Answered with `Leased`."""

    id: str
    family: int
    address: int
    prefix_len: int
    timeout_ms: int
    outside: bool = False
    """Weave's clients also file addresses outside the universe; nobody but this host is asked about those."""
    labels: Mapping[str, str] = field(default_factory=dict)
    class_: str = "static"
    same: tuple[str, ...] = ()
    """As for `Allocate`: a lease of `id` that does not agree in these labels is somebody else's."""


@dataclass(frozen=True, slots=True)
class Release:
    """All leases of `id`, or the one of `address`, or exactly `lease`. Answered with `LeaseList` of what was freed."""

    id: str
    address: tuple[int, int] | None = None
    """(family, address)."""
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Release the leases of this host whose holder is not in `live` (core/reconcile.py). Answered with `LeaseList`."""

    live: frozenset[str]
    older_than_ms: int
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only leases that carry all of these, so that two runtimes on one host can each speak for their own."""
    dry_run: bool = False
    """Answer with what would be released, and release nothing."""


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases here, or of one id, or everywhere. Answered with `LeaseList`."""

    id: str | None = None
    cluster: bool = False
    timeout_ms: int = 5_000


class Show(Enum):
    """A view as the JSON of docs/http.md. Answered with a dictionary."""

    STATUS = "status"
    RING = "ring"
    PEERS = "peers"
    CONFLICTS = "conflicts"


@dataclass(frozen=True, slots=True)
class View:
    """What `Show` shows of the range of one family, 4 or 6: a node may serve one of each (docs/design.md, "Two
    families"). Answered with a dictionary."""

    what: Show
    family: int


@dataclass(frozen=True, slots=True)
class Prime:
    """Found the ring if there is none and wait for it. Answered with None."""

    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Dial this address from now on. Answered with None."""

    address: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Stop dialling this peer or address; its membership stays (safety.md S4). Answered with None."""

    peer: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Give all ranges to heirs and go (docs/design.md, "Leaving and removal"). Answered with a dictionary: `heirs`.

    It goes on after `timeout_ms`, and over a restart.
    """

    timeout_ms: int
    drop_leases: bool = False


@dataclass(frozen=True, slots=True)
class RemovePeers:
    """Take over what dead peers own, for good. Answered with a dictionary: `removed`, `taken`, `without`."""

    peers: tuple[str, ...]
    timeout_ms: int
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Resolve:
    """The conflicts over `[start, end)` are settled: nobody but the owner by the ring uses these addresses.

    Answered with a dictionary: `resolved`.
    """

    start: int
    end: int
    take: bool = False
    """Own it from now on, whoever the ring says does."""
    family: int | None = None
    """4 or 6; that of the universe if None."""


@dataclass(frozen=True, slots=True)
class Rejoin:
    """Become a new peer, and claim the leases' addresses anew. Answered with a dictionary: `peer`, `leases`, …"""

    dry_run: bool = False
    drop_leases: bool = False


Verb = (
    Allocate
    | AllocateBlock
    | ClaimAddress
    | Release
    | Reconcile
    | Leases
    | Show
    | View
    | Prime
    | Connect
    | Forget
    | Leave
    | RemovePeers
    | Resolve
    | Rejoin
)


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease that is durable; `new` is False when it had been given before."""

    lease: Lease
    new: bool


@dataclass(frozen=True, slots=True)
class LeaseList:
    leases: tuple[Lease, ...]
    unreachable: tuple[str, ...] = ()
    """Hosts whose leases are missing because they did not answer."""


Answer = Leased | LeaseList | dict[str, object] | RingIpamError | None

# ── events ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Asked:
    """A user asks; `request` is the driver's number for the answer, never used twice in one process."""

    request: int
    verb: Verb


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller of `request` is gone; no answer is wanted and no lease may come of it (safety.md S18)."""

    request: int


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A connection stands. `dialled` is the address that was dialled, "" if the other side did;
    `host` is the other end's IP address as this side sees it."""

    link: int
    dialled: str
    host: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class DialFailed:
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    link: int
    message: Message


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A message came, or an envelope around a body, of a kind that this release has no name for."""

    link: int
    kind: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """`Peer.deadline` has come."""


Event = Asked | Cancelled | LinkUp | LinkDown | DialFailed | Received | NotUnderstood | DeadlinePassed

# ── effects ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Persist:
    """Make these changes durable, all or none; nothing behind it may be seen before that."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Best effort: a link that is gone or congested loses it."""

    link: int
    message: Message


@dataclass(frozen=True, slots=True)
class Close:
    """Send what was queued on this link, then close it."""

    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Try to connect; exactly one `LinkUp` or `DialFailed` follows."""

    address: str


@dataclass(frozen=True, slots=True)
class Reply:
    request: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the operator; `level` as in the standard library's logging."""

    level: str
    text: str
    peer: str = ""
    """Whom it is about, if it is about one."""
    kind: str = ""
    """Lines of one kind share a limit of how many are written in a while."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """This peer is no more: begin again from the disk, as whoever it says one is now."""


Effect = Persist | Send | Close | Dial | Reply | Log | Rebuild
