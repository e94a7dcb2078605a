"""Every checker catches the bug it is there for: each test plants one in the core and runs seeds until it is caught."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sim.cluster
from ringipam.core import allocator, donor, outbox, search, spreading
from ringipam.core.events import Persist
from sim.checkers.answers import EveryRequestAnswered
from sim.checkers.base import Checker
from sim.checkers.convergence import Convergence
from sim.checkers.durability import AcknowledgedIsDurable
from sim.checkers.idempotence import SameAnswerAgain
from sim.checkers.inside import LeasesInsidePossession
from sim.checkers.leases import NoAddressLeasedTwice
from sim.checkers.possession import NoAddressPossessedTwice
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
    patch.setattr(allocator.Allocator, "deadline", None)


def one_refusal_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(search.Searches, "open_donors", lambda *_: [])


def nothing_is_reconciled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spreading.Spreading, "reconcile", lambda *_: None)


@pytest.mark.parametrize(
    ("plant", "checker"),
    [
        (a_donor_keeps_what_it_grants, NoAddressPossessedTwice),
        (a_leased_address_is_granted, NoAddressLeasedTwice),
        (a_leased_address_is_granted, LeasesInsidePossession),
        (answers_do_not_wait_for_the_disk, AcknowledgedIsDurable),
        (asking_again_is_a_new_request, SameAnswerAgain),
        (nobody_looks_at_the_time, EveryRequestAnswered),
        (one_refusal_is_enough, NoSpaceIsTrue),
        (nothing_is_reconciled, Convergence),
    ],
    ids=lambda value: value.__name__,
)
def test_a_planted_bug_is_caught_by_the_checker_meant_for_it(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, checker: type[Checker]
) -> None:
    monkeypatch.setattr(sim.cluster, "all_checkers", lambda world: [checker(world)])
    plant(monkeypatch)

    for seed in range(SEEDS):
        violation = run(Plan(seed, seconds=40)).violation
        if violation:
            break

    assert violation is not None, f"not caught within {SEEDS} seeds"
    assert violation.startswith(checker.__name__), violation
