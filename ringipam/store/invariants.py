"""What holds in every state that a correct peer stores, whatever happened to it. Reads and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from ringipam.address import Cidr, parse_cidr, to_address
from ringipam.core.durable import Change, PutMember, PutTokens, Stored
from ringipam.errors import RequestError
from ringipam.lease import Lease
from ringipam.ring.intervals import Intervals
from ringipam.ring.quarantine import Quarantine, Rows

SHOWN_MAX = 5
"""So many are named; of the others, how many there are."""
COUNTERS = ("boots", "commit", "epoch")


class Breach(NamedTuple):
    """An invariant that does not hold, and the changes that restore it, where nothing can be lost by them."""

    what: str
    mend: tuple[Change, ...] = ()


def breaches(stored: Stored, family: int) -> list[Breach]:
    """What is wrong with a state whose rows all read well; nothing, for a peer that has only been started."""
    found = list(_facts(stored))
    if found or not stored.meta:
        return found
    universe = parse_cidr(stored.meta["universe"])
    owned = _owned(stored, universe)
    return [
        *_ring(stored, universe),
        *_leases(stored),
        *_rests(stored, universe),
        *_suspended(stored, owned, universe),
        *_members(stored),
        *_rounds(stored, universe),
        *_numbers(stored),
    ]


def notes(stored: Stored) -> list[str]:
    """What is no damage, and an operator should know: leases where this peer owns nothing."""
    try:
        universe = parse_cidr(stored.meta["universe"])
    except (KeyError, RequestError):
        return []
    owned = _owned(stored, universe)
    orphans = [
        lease
        for lease in stored.leases.values()
        if _inside(lease, universe) and not owned.count(int(lease.address), int(lease.address) + 1)
    ]
    shown = _several(f"{lease.id} {lease.address}" for lease in sorted(orphans, key=lambda lease: lease.address.packed))
    return [f"leases on addresses that the ring gives to others: {shown}"] if orphans else []


def _facts(stored: Stored) -> Iterator[Breach]:
    """Who the peer is and what its range is; the rest cannot be judged without."""
    if not stored.meta:
        if stored != Stored():
            yield Breach("the peer's own name and range are missing")
        return
    for key in ("peer", "universe"):
        if not stored.meta.get(key):
            yield Breach(f"the fact {key!r} is missing")
    for key in COUNTERS:
        if not stored.meta.get(key, "0").partition(" ")[0].isdecimal():  # behind that of commits stands their hash
            yield Breach(f"the fact {key!r} is no number: {stored.meta[key]!r:.80}")


def _ring(stored: Stored, universe: Cidr) -> Iterator[Breach]:
    """Normal form (safety.md S3); that tokens lie inside and the first where it must is a matter of reading them."""
    tokens = sorted(stored.tokens.items())
    spare = tuple(start for (_, before), (start, claim) in pairwise(tokens) if before == claim)
    if spare:
        shown = _several(map(universe.text, spare))
        yield Breach(
            f"the ring is not in normal form: tokens like the one before them at {shown}", (PutTokens(spare, ()),)
        )


def _leases(stored: Stored) -> Iterator[Breach]:
    holders: dict[object, list[Lease]] = {}
    for lease in stored.leases.values():
        holders.setdefault(lease.address, []).append(lease)
    for address, leases in holders.items():
        if len(leases) > 1:
            yield Breach(f"{address} is leased {len(leases)} times: {_several(lease.id for lease in leases)}")


def _rests(stored: Stored, universe: Cidr) -> Iterator[Breach]:
    """Rests do not overlap, and nothing rests that is leased."""
    rests = sorted((start, end, until) for start, (end, until) in stored.quarantine.items())
    overlapping = [start for (_, end, _), (start, _, _) in pairwise(rests) if start < end]
    resting = Intervals((start, end) for start, end, _ in rests)
    leases = (int(lease.address) for lease in stored.leases.values() if _inside(lease, universe))
    leased = sorted(address for address in leases if resting.count(address, address + 1))
    if overlapping:
        kept = Quarantine()
        for start, end, until in sorted(rests, key=lambda rest: rest[2]):
            kept.rest(start, end, until)
        yield Breach(f"rests overlap at {_several(map(universe.text, overlapping))}", (_instead(stored, kept),))
    elif leased:
        kept = Quarantine()
        for rest in rests:
            kept.rest(*rest)
        for address in leased:
            kept.cut(address, address + 1)
        yield Breach(f"leased addresses rest: {_several(map(universe.text, leased))}", (_instead(stored, kept),))


def _instead(stored: Stored, kept: Quarantine) -> Rows:
    """What makes `kept` of the rests that are stored."""
    wanted = {start: (end, until) for start, end, until in kept}
    dropped = tuple(start for start in stored.quarantine if start not in wanted)
    return Rows(
        dropped, tuple((start, *rest) for start, rest in wanted.items() if stored.quarantine.get(start) != rest)
    )


def _suspended(stored: Stored, owned: Intervals, universe: Cidr) -> Iterator[Breach]:
    """A peer is suspended only where it is the owner (safety.md S1)."""
    reached = universe.start
    for start, end in sorted(stored.suspended.items()):
        if start < reached:
            yield Breach(f"suspended ranges overlap, or lie outside of the range, at {universe.text(start)}")
        elif owned.count(start, end) != end - start:
            yield Breach(f"suspended where this peer is not the owner: {_range_text(universe, start, end)}")
        reached = end


def _members(stored: Stored) -> Iterator[Breach]:
    """Who owns space is a member (safety.md S4)."""
    owners = {claim.owner for claim in stored.tokens.values()} - {"", stored.meta["peer"]} - stored.members.keys()
    if owners:
        mend = tuple(PutMember(owner, "") for owner in sorted(owners))
        yield Breach(f"owners in the ring who are no members: {_several(sorted(owners))}", mend)


def _rounds(stored: Stored, universe: Cidr) -> Iterator[Breach]:
    me = stored.meta["peer"]
    for coordinator, pledge in stored.pledges.items():
        if pledge.epoch < 1 or not pledge.targets or me in pledge.targets:
            yield Breach(f"the promise made to {coordinator} is none: {pledge}")
    for epoch, removal in stored.rounds.items():
        if epoch < 1 or not removal.targets or me in removal.targets:
            yield Breach(f"the removal of epoch {epoch} is none: {removal}")
        outside = [taken for taken in removal.taken if not universe.range.covers(taken)]
        if outside:
            shown = _several(_range_text(universe, *taken) for taken in outside)
            yield Breach(f"the removal of epoch {epoch} took what is not in the range: {shown}")


def _numbers(stored: Stored) -> Iterator[Breach]:
    """No process began, and nothing was said, after the last commit (safety.md S12)."""
    last = int(stored.meta.get("commit", "0").partition(" ")[0])
    for nonce, first in stored.boots.items():
        if not 0 <= first <= last + 1:
            yield Breach(f"process {nonce} began with commit {first}, and there are only {last}")
    if stored.published and not 0 <= min(stored.published) <= max(stored.published) <= last:
        yield Breach(f"commit {max(stored.published)} is known to others, and there are only {last}")


# ── ranges and words ──────────────────────────────────────────────────────────────────────────────


def _owned(stored: Stored, universe: Cidr) -> Intervals:
    tokens = sorted(stored.tokens.items())
    ends = [start for start, _ in tokens[1:]] + [universe.range.end]
    pieces = zip(tokens, ends, strict=False)
    return Intervals((start, end) for (start, claim), end in pieces if claim.owner == stored.meta.get("peer"))


def _inside(lease: Lease, universe: Cidr) -> bool:
    return lease.address.version == universe.family and int(lease.address) in universe.range


def _range_text(universe: Cidr, start: int, end: int) -> str:
    return f"{to_address(universe.family, start)} to {to_address(universe.family, end - 1)}"


def _several(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
    return ", ".join(found[:SHOWN_MAX]) + more
