"""What must hold, one property a file. A checker sees every step of every host and raises `Violation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.checkers.base import Checker, Violation

if TYPE_CHECKING:
    from sim.cluster import World

__all__ = ["Checker", "Violation", "all_checkers"]


def all_checkers(world: World) -> list[Checker]:
    """A fresh set for one run."""
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

    kinds = (
        OneRingIsFormed,
        NoAddressPossessedTwice,
        NobodyIsContested,
        TakeoversWerePromised,
        PromisesAreKept,
        EpochsAndStandingsGoOn,
        FencedIssuesNothing,
        LostMemoryIsNoticed,
        DoubtfulIsListed,
        NoAddressLeasedTwice,
        LeasesInsidePossession,
        EveryLeaseWasAskedFor,
        AcknowledgedIsDurable,
        NobodyWasToldTwice,
        DiskHoldsWhatMemoryDoes,
        OneRecordAStep,
        StartsAreCounted,
        SpaceIsGrantedOnce,
        PrefetchLeavesSome,
        NewcomersAreVouchedFor,
        ReleasesFreeTheirOwn,
        SameAnswerAgain,
        OneAllocationEach,
        AnswersFitTheQuestion,
        EveryRequestAnswered,
        NoSpaceIsTrue,
        ReleasedAddressesRest,
        RingsJoinInAnyOrder,
        NothingGrowsWithoutBound,
        NewsTravelsFast,
        ConvergesInTime,
        Convergence,
        NothingLeaks,
        NothingStaysSuspended,
        RingStaysSmall,
    )
    return [kind(world) for kind in kinds]
