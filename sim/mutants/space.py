"""Broken variants of which address is issued, and of how long it rests after use."""

from __future__ import annotations

from ringipam.core.allocator import Allocator
from ringipam.core.donor import Donor
from ringipam.core.state import State
from ringipam.ring.space import Space
from sim.mutants.mutant import Edit, Mutant, Shown

MUTANTS = (
    Mutant(
        "another-subnets-address",
        "design, subnets",
        "An address comes from anywhere in the universe, whatever subnet was asked for.",
        ("AnswersFitTheQuestion",),
        (Edit(Allocator._allocate, "pick(*issuable, barred)", "pick(*state.universe.issuable, barred)"),),
        shown=Shown(2),
    ),
    Mutant(
        "network-address-issued",
        "design, subnets",
        "The first and the last address of a subnet are issued like any other.",
        ("AnswersFitTheQuestion",),
        (Edit(Allocator._allocate, "pick(*issuable, barred)", "pick(*subnet.range, barred)"),),
    ),
    Mutant(
        "excluded-addresses-issued",
        "design, exclusions",
        "Addresses that the operator excluded are issued once their range was granted.",
        ("AnswersFitTheQuestion", "NothingLeaks"),
        (Edit(State._gain, "in self.excluded.within(start, end):", "in ():"),),
        shown=Shown(26),
    ),
    Mutant(
        "issued-and-still-free",
        "design, possession",
        "An address that is issued stays among the free ones.",
        ("exception", "NoAddressLeasedTwice", "NothingLeaks", "RisesFromEveryRecord"),
        (Edit(Allocator._issue, "state.rows(state.space.remove(address, address + 1))", "pass"),),
    ),
    Mutant(
        "released-and-lost",
        "design, leaks",
        "A released address is never issued again.",
        ("NothingLeaks", "ReleasedAddressesRest", "RisesFromEveryRecord", "NoSpaceIsTrue"),
        (
            Edit(
                Allocator.free,
                "if not state.inside(lease.address.version, address) or not state.entitled(address, address + 1):",
                "if True:",
            ),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "counted-as-free-and-at-rest",
        "design, space",
        "An address at rest is free at the same time, and counts twice.",
        ("ReleasedAddressesRest", "NothingLeaks", "exception"),
        (Edit(Space.rest, "self._take(start, end)", "self.free.add(start, end)"),),
        shown=Shown(1),
    ),
    Mutant(
        "no-rest-after-use",
        "S20, weave #2744",
        "A released address is free at once.",
        ("ReleasedAddressesRest",),
        (Edit(Allocator.free, "if state.settings.quarantine_ms:", "if False:"),),
        shown=Shown(1),
    ),
    Mutant(
        "rests-in-memory-only",
        "S20",
        "Quarantines are not durable.",
        ("ReleasedAddressesRest",),
        (Edit(State.rows, "if rows.dropped or rows.put:", "if False:"),),
        shown=Shown(1),
    ),
    Mutant(
        "rests-end-with-a-restart",
        "S20",
        "A restarted peer issues at once what was resting.",
        ("ReleasedAddressesRest", "RisesFromEveryRecord"),
        (Edit(State._fill_space, "sorted(stored.quarantine.items())", "()"),),
        shown=Shown(4),
    ),
    Mutant(
        "rests-do-not-travel",
        "S20",
        "A grant does not say which of its addresses rest.",
        ("ReleasedAddressesRest",),
        (Edit(Donor.give, "Grant(number, segments, rests)", "Grant(number, segments, ())"),),
        shown=Shown(1),
    ),
    Mutant(
        "rests-are-not-observed",
        "S20",
        "Addresses at rest are issued before free ones.",
        ("ReleasedAddressesRest",),
        (
            Edit(
                Space.pick,
                "if free is not None:",
                "if free is not None and self._quarantine.first_due(*piece) is None:",
            ),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "rests-are-cut-short",
        "S20",
        "A released address rests for a tenth of the time.",
        ("ReleasedAddressesRest",),
        (
            Edit(
                Allocator.free,
                "state.now + state.settings.quarantine_ms",
                "state.now + state.settings.quarantine_ms // 10",
            ),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "gains-by-gossip-do-not-rest",
        "S20",
        "A range whose grant was lost, and of whose rests nothing is known, is issued at once.",
        ("ReleasedAddressesRest",),
        (Edit(State._gain, "elif not first and self.settings.quarantine_ms:", "elif False:"),),
        shown=Shown(1),
    ),
    Mutant(
        "donor-gives-all",
        "S17",
        "A donor gives away all it has free, not half of it.",
        ("PrefetchLeavesSome",),
        (Edit(Space.donation, "limit = max(held // 2, int(last and held > 0))", "limit = held"),),
        shown=Shown(2, seconds=60),
    ),
    Mutant(
        "ring-never-tidied",
        "W13",
        "Housekeeping neither returns fragments nor coalesces tokens: the ring grows with all that ever happened.",
        ("RingStaysSmall",),
        (
            Edit(Donor.tick, "self._return_fragments()", "pass"),
            Edit(Donor.tick, "if runs:", "if False:"),
        ),
        shown=Shown(471, seconds=120, hosts=8, faults="none"),
        standard=False,
    ),
)
