"""Every checker catches a bug it is there for when nobody else looks: a mutant of the core, on a few seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import sim.cluster
import sim.run
from ringipam.core.disputes import Disputes
from ringipam.core.donor import Donor
from ringipam.core.durable import PutMeta
from ringipam.core.memory import Memory
from ringipam.core.pledges import Pledges
from ringipam.core.removal import Removals
from ringipam.core.state import State
from ringipam.messages import Dispute, Disputed
from sim.checkers import Checker, all_checkers
from sim.checkers.agreement import OneRingIsFormed
from sim.checkers.answers import EveryRequestAnswered
from sim.checkers.asking import EveryLeaseWasAskedFor
from sim.checkers.boots import StartsAreCounted
from sim.checkers.bounds import NothingGrowsWithoutBound
from sim.checkers.conflicts import NobodyIsContested
from sim.checkers.convergence import Convergence
from sim.checkers.durability import AcknowledgedIsDurable
from sim.checkers.fenced import FencedIssuesNothing
from sim.checkers.fitting import AnswersFitTheQuestion
from sim.checkers.healing import ConvergesInTime
from sim.checkers.idempotence import OneAllocationEach, SameAnswerAgain
from sim.checkers.inside import LeasesInsidePossession
from sim.checkers.judge import NobodyWasToldTwice
from sim.checkers.laws import RingsJoinInAnyOrder
from sim.checkers.leaks import NothingLeaks
from sim.checkers.leases import NoAddressLeasedTwice
from sim.checkers.listed import DoubtfulIsListed
from sim.checkers.memory import LostMemoryIsNoticed
from sim.checkers.news import NewsTravelsFast
from sim.checkers.possession import NoAddressPossessedTwice
from sim.checkers.prefetch import PrefetchLeavesSome
from sim.checkers.quarantine import ReleasedAddressesRest
from sim.checkers.records import OneRecordAStep
from sim.checkers.recovery import RisesFromEveryRecord
from sim.checkers.releases import ReleasesFreeTheirOwn
from sim.checkers.requests import SpaceIsGrantedOnce
from sim.checkers.rounds import (
    EpochsAndStandingsGoOn,
    NothingStaysSuspended,
    PromisesAreKept,
    TakeoversWerePromised,
)
from sim.checkers.size import RingStaysSmall
from sim.checkers.synced import DiskHoldsWhatMemoryDoes
from sim.checkers.truth import NoSpaceIsTrue
from sim.checkers.witnesses import NewcomersAreVouchedFor
from sim.cluster import World
from sim.mutants import MUTANTS
from sim.mutants.command import shown
from sim.plan import Plan
from sim.run import run

SEEDS = 10

PAIRS: list[tuple[str, type[Checker]]] = [
    ("half-is-a-quorum", OneRingIsFormed),
    ("donor-keeps-what-it-grants", NoAddressPossessedTwice),
    ("ring-never-tidied", RingStaysSmall),
    ("grant-before-durable", NoAddressPossessedTwice),
    ("version-not-raised", NobodyIsContested),
    ("claim-grants-a-leased-address", NoAddressLeasedTwice),
    ("claim-grants-a-leased-address", LeasesInsidePossession),
    ("cancelled-callers-are-served", EveryLeaseWasAskedFor),
    ("reply-before-commit", AcknowledgedIsDurable),
    ("lists-pass-the-queue", AcknowledgedIsDurable),
    ("restart-loses-leases", NobodyWasToldTwice),
    ("news-in-memory-only", DiskHoldsWhatMemoryDoes),
    ("a-record-for-each-change", OneRecordAStep),
    ("boots-not-counted", StartsAreCounted),
    ("granted-again", SpaceIsGrantedOnce),
    ("granted-again-after-a-denial", SpaceIsGrantedOnce),
    ("prefetch-takes-the-last", PrefetchLeavesSome),
    ("newcomers-not-vouched-for", NewcomersAreVouchedFor),
    ("release-of-another-lease", ReleasesFreeTheirOwn),
    ("asking-again-is-a-new-request", SameAnswerAgain),
    ("asking-again-is-a-new-request", OneAllocationEach),
    ("another-subnets-address", AnswersFitTheQuestion),
    ("nobody-looks-at-the-time", EveryRequestAnswered),
    ("one-refusal-is-enough", NoSpaceIsTrue),
    ("rests-in-memory-only", ReleasedAddressesRest),
    ("merged-by-owner", RingsJoinInAnyOrder),
    ("waiting-list-leaks", NothingGrowsWithoutBound),
    ("news-not-broadcast", NewsTravelsFast),
    ("nothing-is-reconciled", ConvergesInTime),
    ("nothing-is-reconciled", Convergence),
    ("released-and-lost", NothingLeaks),
    ("restart-frees-leased-addresses", RisesFromEveryRecord),
]


def _fenced_in_word_only(state: State, reason: str) -> None:
    state.change(PutMeta("fenced", reason))


def _epoch_of_a_newcomer(state: State, epoch: int) -> None:
    state.epoch = max(epoch, state.epoch)
    state.change(PutMeta("epoch", "1"))


def _agreed_and_forgotten(disputes: Disputes, holder: str, dispute: Dispute) -> None:
    disputes._router.send(holder, Disputed(dispute.number))


PLANTED: list[tuple[str, dict[tuple[type, str], Callable[..., object]], type[Checker]]] = [
    ("rollback", {(State, "fence"): _fenced_in_word_only}, FencedIssuesNothing),
    (
        "rollback",
        {(Memory, "objection"): lambda *_: "", (State, "_recognise"): lambda *_: None},
        LostMemoryIsNoticed,
    ),
    ("wrong-removal", {(Disputes, "raised"): _agreed_and_forgotten}, DoubtfulIsListed),
    ("removal", {(Removals, "_electorate"): lambda *_: []}, TakeoversWerePromised),
    ("wrong-removal", {(Donor, "eligible"): lambda *_: True}, PromisesAreKept),
    ("removal", {(State, "raise_epoch"): _epoch_of_a_newcomer}, EpochsAndStandingsGoOn),
    ("removal", {(Pledges, "end"): lambda *_: None}, NothingStaysSuspended),
]
"""Bugs in how hosts go and come back, planted by hand: a kind of fault, what is replaced, and who must see it."""


@pytest.mark.parametrize(("faults", "planted", "checker"), PLANTED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_bug_in_how_hosts_go_is_caught_by_the_checker_meant_for_it(
    monkeypatch: pytest.MonkeyPatch,
    faults: str,
    planted: dict[tuple[type, str], Callable[..., object]],
    checker: type[Checker],
) -> None:
    for (owner, name), replacement in planted.items():
        monkeypatch.setattr(owner, name, replacement)
    monkeypatch.setattr(sim.cluster, "all_checkers", lambda world: [checker(world)])
    monkeypatch.setattr(sim.run, "WHAT_IF", 0)

    for seed in range(2 * SEEDS):
        violation = run(Plan(seed, faults=faults)).violation
        if violation:
            break

    assert violation is not None, f"not caught within {2 * SEEDS} seeds"
    assert violation.startswith(checker.__name__), violation


@pytest.mark.parametrize(("mutant", "checker"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_bug_is_caught_by_the_checker_meant_for_it(
    monkeypatch: pytest.MonkeyPatch, mutant: str, checker: type[Checker]
) -> None:
    monkeypatch.setattr(sim.cluster, "all_checkers", lambda world: [checker(world)])
    monkeypatch.setattr(sim.run, "WHAT_IF", 0)
    plan = shown(MUTANTS[mutant])

    for seed in range(plan.seed, plan.seed + SEEDS):
        violation = run(replace(plan, seed=seed)).violation
        if violation:
            break

    assert violation is not None, f"not caught within {SEEDS} seeds"
    assert violation.startswith(checker.__name__), violation


def test_no_checker_is_left_out() -> None:
    kinds = {type(checker) for checker in all_checkers(World(hosts=0))} | {RisesFromEveryRecord}

    assert {checker for _, checker in PAIRS} | {checker for *_, checker in PLANTED} == kinds
