"""Allocates, claims and releases addresses; holds the requests that have to wait for a ring or for space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from ringipam.address import Cidr, Range, enclosing, to_address
from ringipam.core.blocks import elsewhere
from ringipam.core.durable import DropLease, PutLease
from ringipam.core.election import Election
from ringipam.core.events import Allocate, AllocateBlock, ClaimAddress, Leased, LeaseList, Prime, Release
from ringipam.core.leases import block_of
from ringipam.core.search import Searches, Seeker
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.errors import (
    FencedError,
    InUseError,
    NoSpaceError,
    NotFoundError,
    NotReadyError,
    OutOfRangeError,
    RequestTimeoutError,
    RingIpamError,
)
from ringipam.lease import BLOCK, NO_LABELS, Lease, network
from ringipam.messages import Denial, Standing

REFUSALS = {
    Denial.NO_SPACE: "none free",
    Denial.IN_USE: "in use there",
    Denial.NOT_OWNER: "does not possess it",
    Denial.NO_WITNESS: "waits until another member has heard of this host",
    Denial.NOT_YET: "is still learning what it owns",
    Denial.FENCED: "is fenced off, or gives nothing to this host",
}
ANONYMOUS = "_"
"""Weave's id for "nobody in particular": such a lease is filed under its own address."""
LOW_WATER = 8
"""With fewer free addresses in a subnet than this, or than it used lately, more are asked for ahead of need."""
FRAGMENTS = 64
"""An allocation looks at about as many fragments, taken over many."""
USAGE_WINDOW_MS = 10_000
UNREACHABLE_HOPE_MS = 3_000
"""Links stand again within about this time of a mended cable; a refusal before that might not be true any more."""
WAKE_MS = 1_000
"""Ends of quarantine are looked at this often: one commit for many, and never urgent."""


Request = Allocate | AllocateBlock | ClaimAddress | Prime


@dataclass(slots=True)
class _Waiting:
    verb: Request
    due_ms: int
    hope_ms: int
    """Until when owners that cannot be reached are waited for: a link may be about to stand again."""
    seeker: Seeker | None = None
    blocks: list[Range] | None = None
    """For a whole block: those that may still be asked for; the last one is being asked for."""


class Allocator:
    """The answer to every request is an address or an error that says what stood in the way, in time."""

    def __init__(self, state: State, election: Election, searches: Searches) -> None:
        self._state = state
        self._election = election
        self._searches = searches
        self._waiting: dict[int, _Waiting] = {}
        self._used: dict[Range, list[int]] = {}  # subnet → allocations in this and the previous window
        self._enough: dict[Range, int] = {}  # subnet → what `taken` comes to when all that a look has found is gone
        self._window_ms = state.now + USAGE_WINDOW_MS
        self._wake_ms = 0

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def ask(self, request: int, verb: Request) -> None:
        state = self._state
        problem = self._problem(verb)
        if problem is not None:
            state.reply(request, problem)
            return
        waiting = _Waiting(verb, state.now + verb.timeout_ms, state.now + UNREACHABLE_HOPE_MS)
        self._waiting[request] = waiting
        self._attempt(request, waiting)
        if not state.cluster:
            self._election.want()

    def _problem(self, verb: Request) -> RingIpamError | None:
        universe = self._state.universe
        if isinstance(verb, AllocateBlock) and not universe.prefix_len <= verb.prefix_len <= universe.bits - 2:
            return OutOfRangeError(f"there are no blocks of /{verb.prefix_len} in {universe}")
        if isinstance(verb, Allocate | AllocateBlock) and verb.subnet is not None:
            subnet = verb.subnet
            if subnet.family != universe.family or not universe.range.covers(subnet.range):
                return OutOfRangeError(f"the subnet {subnet} does not lie inside {universe}")
        if isinstance(verb, ClaimAddress) and not verb.outside and not self._state.inside(verb.family, verb.address):
            return OutOfRangeError(
                f"the address {to_address(verb.family, verb.address)} does not lie inside {universe}"
            )
        return None

    def cancel(self, request: int) -> None:
        """The caller is gone: no lease may come of it any more (S18)."""
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            self._stop_search(waiting)

    def retry(self) -> None:
        """Something came in that waiting requests may have waited for."""
        for request, waiting in list(self._waiting.items()):
            self._attempt(request, waiting)

    def _attempt(self, request: int, waiting: _Waiting) -> None:
        answer = self._answer(waiting)
        if answer is not None:
            self._finish(request, answer)
        elif isinstance(waiting.verb, Prime) and self._state.ring is not None:
            self._finish(request, None)

    def _finish(self, request: int, answer: Leased | RingIpamError | None) -> None:
        self._stop_search(self._waiting.pop(request))
        self._state.reply(request, answer)

    def _answer(self, waiting: _Waiting) -> Leased | RingIpamError | None:
        """What can be answered now; None means wait."""
        match waiting.verb:
            case Allocate():
                return self._allocate(waiting, waiting.verb)
            case AllocateBlock():
                return self._allocate_block(waiting, waiting.verb)
            case ClaimAddress():
                return self._claim(waiting, waiting.verb)
            case Prime():
                return None

    # ── allocate ─────────────────────────────────────────────────────────────────────────────────

    def _allocate(self, waiting: _Waiting, verb: Allocate) -> Leased | RingIpamError | None:
        state = self._state
        subnet = verb.subnet or state.settings.subnet
        if verb.id != ANONYMOUS:
            for lease in state.leases.of(verb.id):
                if lease.subnet == network(subnet) and lease.class_ != BLOCK and _agree(lease, verb):
                    return Leased(self._relabelled(lease, verb), new=False)
        if state.ring is None:
            return None
        if self._held_up():
            return self._refusal()
        issuable = _issuable(verb, subnet)
        barred = [*state.leases.barred(subnet.range), *(Range(avoid, avoid + 1) for avoid in verb.avoid)]
        address = state.space.pick(*issuable, barred)
        if address is not None:
            lease = self._issue(verb.id, subnet.family, address, subnet, verb.class_, verb.labels)
            self._note_use(issuable)
            return Leased(lease, new=True)
        if waiting.seeker is None:
            waiting.seeker = self._searches.seek(issuable, self._demand(issuable), exact=False)
        if self._searches.open_donors(issuable, waiting.seeker) or not self._searches.complete(issuable):
            return None
        if state.now < waiting.hope_ms and not all(map(state.members.reachable, self._searches.owners(issuable))):
            return None
        return self._no_space(subnet, issuable, waiting.seeker)

    def _relabelled(self, lease: Lease, verb: Allocate | ClaimAddress) -> Lease:
        """The lease that is the one asked for, with the labels it was asked for with this time."""
        if verb.same and lease.labels != verb.labels:
            lease = replace(lease, labels=verb.labels)
            self._state.leases.replace(lease)
            self._state.change(PutLease(lease))
        return lease

    def _held_up(self) -> bool:
        """Whether nothing new is issued here, now or for good."""
        return bool(self._state.hold) or self._state.members.me.standing is not Standing.MEMBER

    def _refusal(self) -> RingIpamError | None:
        """What to say to that; None if it may be over soon."""
        state = self._state
        if state.fenced:
            return FencedError(f"this host issues nothing: {state.fenced}")
        if state.unconfirmed:
            return None
        return NotReadyError("this host is leaving the ring: allocate on another")

    def _issue(
        self, holder: str, family: int, address: int, subnet: Cidr, class_: str, labels: Mapping[str, str]
    ) -> Lease:
        state = self._state
        shown = to_address(family, address)
        lease = Lease(
            lease=state.rng.number(state.now),
            id=str(shown) if holder == ANONYMOUS else holder,
            address=shown,
            prefix_len=subnet.prefix_len,
            subnet=network(subnet),
            class_=class_,
            host=state.settings.name,
            since=_time(state.now // 1000),
            labels=labels or NO_LABELS,
        )
        if state.inside(family, address):
            state.rows(state.space.remove(address, address + 1))
        state.leases.add(lease)
        state.change(PutLease(lease))
        return lease

    def _demand(self, issuable: Range) -> int:
        """How many addresses recent use calls for; doubling what is held keeps requests rare as a host fills."""
        recent = sum(self._used.get(issuable, (0, 0)))
        waiting = sum(1 for waiting in self._waiting.values() if waiting.seeker is not None)
        return max(2 * LOW_WATER, 2 * recent, 2 * waiting)

    def _note_use(self, issuable: Range) -> None:
        """Count an allocation, and ask for more space before there is none.

        A look counts twice what is wanted, if there is so much: then the next is due when that may be used up. Where
        there is less, it goes over as many fragments as were used lately, so after much use not every allocation looks.
        """
        used = self._used.setdefault(issuable, [0, 0])
        used[0] += 1
        low = max(LOW_WATER, sum(used) // 2)
        space = self._state.space
        if space.taken + low <= self._enough.get(issuable, 0) or used[0] % max(1, low // FRAGMENTS):
            return
        free = space.count_free(*issuable, at_most=2 * low)
        self._enough[issuable] = space.taken + free
        if free < low:
            self._searches.prefetch(issuable, self._demand(issuable))

    def _no_space(self, subnet: Cidr, issuable: Range, seeker: Seeker | None) -> NoSpaceError:
        holders = self._holders(issuable, seeker)
        return NoSpaceError(f"no free address in {subnet}: {_in_words(holders)}", holders=holders)

    def _holders(self, wanted: Range, seeker: Seeker | None) -> list[dict[str, object]]:
        """Who owns how much of a range, and what that owner said."""
        state = self._state
        assert state.ring is not None
        holders: list[dict[str, object]] = []
        for peer, owned in state.ring.owners(*wanted).items():
            if peer == state.me:
                said = "none free"
            elif seeker is not None and peer in seeker.refused:
                said = REFUSALS[seeker.refused[peer].reason]
            elif state.members.reachable(peer):
                said = "has not answered"
            else:
                said = f"unreachable for {state.members.away_s(peer, state.now)} s"
            holders.append({"host": name_of(peer), "owned": owned, "state": said})
        return holders

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────

    def _allocate_block(self, waiting: _Waiting, verb: AllocateBlock) -> Leased | RingIpamError | None:
        """A block that is free here, else one of another host's, which is asked for exactly that, one after another."""
        state = self._state
        within = verb.subnet or state.universe
        for lease in state.leases.of(verb.id):
            if lease.class_ == BLOCK and lease.prefix_len == verb.prefix_len and within.range.covers(block_of(lease)):
                return Leased(lease, new=False)
        if state.ring is None:
            return None
        if self._held_up():
            return self._refusal()
        size = 1 << (within.bits - verb.prefix_len)
        start = state.space.whole(*within.range, size, state.leases.blocked(*within.range))
        if start is not None:
            block = Cidr(within.family, start, verb.prefix_len)
            return Leased(self._issue(verb.id, block.family, start, block, BLOCK, verb.labels), new=True)
        if waiting.blocks is None:
            waiting.blocks = elsewhere(state, within.range, size)
        while waiting.blocks:
            wanted = waiting.blocks[-1]
            if waiting.seeker is None:
                waiting.seeker = self._searches.seek(wanted, size, exact=True)
            if self._searches.open_donors(wanted, waiting.seeker):
                return None
            self._stop_search(waiting)
            waiting.blocks.pop()
        return NoSpaceError(f"no free block of /{verb.prefix_len} in {within}, here or on a host that can be reached")

    # ── claim ────────────────────────────────────────────────────────────────────────────────────

    def _claim(self, waiting: _Waiting, verb: ClaimAddress) -> Leased | RingIpamError | None:
        state = self._state
        shown = to_address(verb.family, verb.address)
        holder = str(shown) if verb.id == ANONYMOUS else verb.id
        lease = state.leases.at(verb.family, verb.address)
        subnet = enclosing(verb.family, verb.address, verb.prefix_len)
        if lease is None and verb.family == state.universe.family and state.leases.barred(subnet.range):
            lease = state.leases.block_over(verb.address)
        if lease is not None:
            if lease.id == holder and lease.class_ != BLOCK and _agree(lease, verb):
                return Leased(self._relabelled(lease, verb), new=False)
            return InUseError(
                f"{shown} is in use by {lease.id} on {lease.host}", holder={"id": lease.id, "host": lease.host}
            )
        if not state.inside(verb.family, verb.address):
            state.warn(
                f"outside {shown}",
                f"{shown} was claimed for {holder} outside {state.universe}: no other host was asked",
            )
            return self._claimed(verb, subnet)
        if state.ring is None:
            return None
        if self._held_up():
            return self._refusal()
        wanted = Range(verb.address, verb.address + 1)
        if state.owns(*wanted):
            return self._claimed(verb, subnet)
        if waiting.seeker is None:
            waiting.seeker = self._searches.seek(wanted, 1, exact=True)
        for peer in self._searches.owners(wanted):
            denied = waiting.seeker.refused.get(peer)
            if denied is not None and denied.reason is Denial.IN_USE:
                host = name_of(peer)
                return InUseError(
                    f"{shown} is in use by {denied.holder} on {host}", holder={"id": denied.holder, "host": host}
                )
        return None

    def _claimed(self, verb: ClaimAddress, subnet: Cidr) -> Leased:
        lease = self._issue(verb.id, verb.family, verb.address, subnet, verb.class_, verb.labels)
        return Leased(lease, new=True)

    # ── release ──────────────────────────────────────────────────────────────────────────────────

    def release(self, request: int, verb: Release) -> None:
        """Free leases; the addresses rest for a while before they are issued again (S20, S22)."""
        state = self._state
        leases = [
            lease
            for lease in state.leases.of(verb.id)
            if verb.address in (None, (lease.address.version, int(lease.address))) and verb.lease in (None, lease.lease)
        ]
        if not leases:
            what = f"no addresses for {verb.id}"
            if verb.address is not None:
                what = f"{verb.id} does not hold {to_address(*verb.address)}"
            elif verb.lease is not None:
                what = f"{verb.id} does not hold the lease {verb.lease}"
            state.reply(request, NotFoundError(what))
            return
        for lease in leases:
            self.free(lease)
        state.reply(request, LeaseList(tuple(leases)))

    def free(self, lease: Lease) -> None:
        """Let go of a lease; its address rests before it is issued again, if it is this peer's to issue (S20)."""
        state = self._state
        state.leases.remove(lease)
        state.change(DropLease(lease.lease))
        address = int(lease.address)
        state.warnings.pop(f"outside {lease.address}", None)
        if not state.inside(lease.address.version, address) or not state.entitled(address, address + 1):
            return
        if address in state.excluded:
            return
        if state.settings.quarantine_ms:
            state.rows(state.space.rest(address, address + 1, state.now + state.settings.quarantine_ms))
        else:
            state.space.add(address, address + 1)
        state.gained = True

    @property
    def waiting(self) -> int:
        """How many requests wait for space, an answer or a ring."""
        return len(self._waiting)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        state = self._state
        due = self._window_ms if self._used else NEVER
        wake = state.space.next_wake
        if wake is not None:
            due = min(due, max(wake, self._wake_ms))
        for waiting in self._waiting.values():
            due = min(due, waiting.due_ms, waiting.hope_ms if waiting.hope_ms > state.now else NEVER)
        return due

    def tick(self) -> None:
        state = self._state
        if state.space.next_wake is not None and state.now >= max(state.space.next_wake, self._wake_ms):
            self._wake_ms = state.now + WAKE_MS
            state.rows(state.space.wake(state.now))
        if state.now >= self._window_ms:
            self._window_ms = state.now + USAGE_WINDOW_MS
            self._used = {subnet: [0, now] for subnet, (now, _) in self._used.items() if now}
            self._enough = {subnet: enough for subnet, enough in self._enough.items() if subnet in self._used}
        for request, waiting in list(self._waiting.items()):
            if waiting.due_ms <= state.now:
                self._finish(request, self._too_late(waiting))
            elif waiting.seeker is not None:
                self._attempt(request, waiting)

    def _too_late(self, waiting: _Waiting) -> RingIpamError:
        state = self._state
        verb = waiting.verb
        seconds = f"{verb.timeout_ms / 1000:g} s"
        if state.ring is None:
            return NotReadyError(f"no ring yet after {seconds}: {self._election.explain()}")
        if state.unconfirmed:
            return NotReadyError(f"nothing was issued within {seconds}: {state.hold}")
        if isinstance(verb, Allocate):
            subnet = verb.subnet or state.settings.subnet
            holders = self._holders(_issuable(verb, subnet), waiting.seeker)
            text = f"no free address in {subnet} within {seconds}: {_in_words(holders)}"
            return RequestTimeoutError(text, holders=holders)
        if isinstance(verb, AllocateBlock):
            return RequestTimeoutError(f"no free block of /{verb.prefix_len} within {seconds}")
        assert isinstance(verb, ClaimAddress)
        wanted = Range(verb.address, verb.address + 1)
        shown = to_address(verb.family, verb.address)
        holders = self._holders(wanted, waiting.seeker)
        text = ", ".join(f"{h['host']} owns it ({h['state']})" for h in holders) or "its owner is not known yet"
        return RequestTimeoutError(f"{shown} could not be claimed within {seconds}: {text}", holders=holders)

    def _stop_search(self, waiting: _Waiting) -> None:
        if waiting.seeker is None:
            return
        wanted, exact = self._wanted(waiting)
        self._searches.stop(wanted, waiting.seeker, exact=exact)
        waiting.seeker = None

    def _wanted(self, waiting: _Waiting) -> tuple[Range, bool]:
        """The range a request is content with an address of, and whether it wants exactly that."""
        verb = waiting.verb
        match verb:
            case ClaimAddress():
                return Range(verb.address, verb.address + 1), True
            case AllocateBlock():
                return waiting.blocks[-1] if waiting.blocks else (verb.subnet or self._state.universe).range, True
            case Allocate():
                return _issuable(verb, verb.subnet or self._state.settings.subnet), False
            case Prime():
                return self._state.extent, False

    def pending(self) -> list[dict[str, object]]:
        """What waits, for whom, for what: as `status` shows it."""
        shown: list[dict[str, object]] = []
        for waiting in self._waiting.values():
            verb = waiting.verb
            if isinstance(verb, Prime):
                continue
            wanted, exact = self._wanted(waiting)
            if isinstance(verb, Allocate):
                text = str(verb.subnet or self._state.settings.subnet)
            elif isinstance(verb, AllocateBlock):
                text = str(verb.subnet or self._state.universe)
            else:
                text = f"{to_address(verb.family, verb.address)}/{verb.prefix_len}"
            reason = self._searches.waiting_for(wanted, exact=exact) if self._state.ring else self._election.explain()
            shown.append({"id": verb.id, "subnet": text, "waiting_for": reason})
        return shown


@lru_cache(maxsize=1)
def _time(seconds: int) -> datetime:
    """One object for all leases of a second."""
    return datetime.fromtimestamp(seconds, UTC)


def _issuable(verb: Allocate, subnet: Cidr) -> Range:
    """What may be issued to a request for `subnet`."""
    issuable = subnet.issuable
    return issuable if verb.span is None else verb.span.intersect(issuable) or Range(issuable.start, issuable.start)


def _agree(lease: Lease, verb: Allocate | ClaimAddress) -> bool:
    """Whether a lease of the same id is the one that was asked for."""
    return all(lease.labels.get(key) == verb.labels.get(key) for key in verb.same)


def _in_words(holders: list[dict[str, object]]) -> str:
    return ", ".join(f"{h['host']} owns {h['owned']} ({h['state']})" for h in holders)
