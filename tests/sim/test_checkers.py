"""Every checker catches the bug it is there for: each test plants one in the core and runs seeds until it is caught."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sim.cluster
import sim.run
from ringipam.core import allocator, donor, election, outbox, search, spreading, state
from ringipam.core.durable import Change, DropLease, PutTokens
from ringipam.core.events import Persist
from ringipam.core.settings import NEVER
from ringipam.lease import Lease
from sim.checkers.agreement import OneRingIsFormed
from sim.checkers.answers import EveryRequestAnswered
from sim.checkers.asking import EveryLeaseWasAskedFor
from sim.checkers.base import Checker
from sim.checkers.convergence import Convergence
from sim.checkers.durability import AcknowledgedIsDurable
from sim.checkers.idempotence import OneAllocationEach, SameAnswerAgain
from sim.checkers.inside import LeasesInsidePossession
from sim.checkers.leaks import NothingLeaks
from sim.checkers.leases import NoAddressLeasedTwice
from sim.checkers.possession import NoAddressPossessedTwice
from sim.checkers.quarantine import ReleasedAddressesRest
from sim.checkers.synced import DiskHoldsWhatMemoryDoes
from sim.checkers.truth import NoSpaceIsTrue
from sim.run import Plan, run

SEEDS = 25

Plant = Callable[[pytest.MonkeyPatch], None]


def a_donor_keeps_what_it_grants(patch: pytest.MonkeyPatch) -> None:
    class Forgetful(donor.Donor):
        def _give(self, asker: str, number: int, block: object) -> None:
            join, self._state.join = self._state.join, lambda *_: None  # type: ignore[method-assign,assignment]
            super()._give(asker, number, block)  # type: ignore[arg-type]
            self._state.join = join  # type: ignore[method-assign]

    patch.setattr("ringipam.core.peer.Donor", Forgetful)


def a_leased_address_is_granted(patch: pytest.MonkeyPatch) -> None:
    class Blind(donor.Donor):
        def _give_exactly(self, asker: str, request: donor.SpaceRequest) -> None:
            if self._state.owns(request.start, request.end):
                self._give(asker, request.number, donor.Range(request.start, request.end))

    patch.setattr("ringipam.core.peer.Donor", Blind)


def answers_do_not_wait_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: outbox.Outbox) -> list[outbox.Visible]:
        seen = [effect for effect in self._queue if not isinstance(effect, Persist)]
        persists = [effect for effect in self._queue if isinstance(effect, Persist)]
        self._queue.clear()
        self._queue.extend(persists)
        return seen

    patch.setattr(outbox.Outbox, "visible", hasty)


def asking_again_is_a_new_request(patch: pytest.MonkeyPatch) -> None:
    original = allocator.Allocator._allocate

    def forgetful(self: allocator.Allocator, waiting: allocator._Waiting, verb: allocator.Allocate) -> object:
        of = self._state.leases.of
        self._state.leases.of = lambda _: []  # type: ignore[method-assign]
        try:
            return original(self, waiting, verb)
        finally:
            self._state.leases.of = of  # type: ignore[method-assign]

    patch.setattr(allocator.Allocator, "_allocate", forgetful)


def nobody_looks_at_the_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(allocator.Allocator, "tick", lambda self: None)
    patch.setattr(allocator.Allocator, "deadline", NEVER)


def one_refusal_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(search.Searches, "open_donors", lambda *_: [])


def nothing_is_reconciled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spreading.Spreading, "reconcile", lambda *_: None)


def every_elector_decides_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(election.Election, "_quorum", lambda *_: 1)


def quarantine_is_kept_in_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.State, "rows", lambda *_: None)


def callers_that_left_are_served(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(allocator.Allocator, "cancel", lambda *_: None)


def news_stays_in_memory(patch: pytest.MonkeyPatch) -> None:
    original = state.State.change

    def forgetful(self: state.State, change: Change) -> None:
        if not isinstance(change, PutTokens) or any(claim.owner == self.me for _, claim in change.put):
            original(self, change)

    patch.setattr(state.State, "change", forgetful)


def released_addresses_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forgetful(self: allocator.Allocator, lease: Lease) -> None:
        self._state.leases.remove(lease)
        self._state.change(DropLease(lease.lease))

    patch.setattr(allocator.Allocator, "_free", forgetful)


@pytest.mark.parametrize(
    ("plant", "checker"),
    [
        (a_donor_keeps_what_it_grants, NoAddressPossessedTwice),
        (answers_do_not_wait_for_the_disk, NoAddressPossessedTwice),
        (a_leased_address_is_granted, NoAddressLeasedTwice),
        (a_leased_address_is_granted, LeasesInsidePossession),
        (answers_do_not_wait_for_the_disk, AcknowledgedIsDurable),
        (news_stays_in_memory, DiskHoldsWhatMemoryDoes),
        (callers_that_left_are_served, EveryLeaseWasAskedFor),
        (asking_again_is_a_new_request, SameAnswerAgain),
        (asking_again_is_a_new_request, OneAllocationEach),
        (nobody_looks_at_the_time, EveryRequestAnswered),
        (one_refusal_is_enough, NoSpaceIsTrue),
        (every_elector_decides_alone, OneRingIsFormed),
        (quarantine_is_kept_in_memory, ReleasedAddressesRest),
        (nothing_is_reconciled, Convergence),
        (released_addresses_are_forgotten, NothingLeaks),
    ],
    ids=lambda value: value.__name__,
)
def test_a_planted_bug_is_caught_by_the_checker_meant_for_it(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, checker: type[Checker]
) -> None:
    monkeypatch.setattr(sim.cluster, "all_checkers", lambda world: [checker(world)])
    monkeypatch.setattr(sim.run, "WHAT_IF", 0)
    plant(monkeypatch)

    for seed in range(SEEDS):
        violation = run(Plan(seed, seconds=40)).violation
        if violation:
            break

    assert violation is not None, f"not caught within {SEEDS} seeds"
    assert violation.startswith(checker.__name__), violation
