"""Every kind of fault strikes, says so by its mark, and can be switched on alone; none strikes unasked."""

from __future__ import annotations

import pytest

from ringipam.core.rng import Rng
from sim.cluster import World
from sim.faults import KINDS, Fault, draw, schedule
from sim.marks import SITUATIONS
from sim.run import Plan, run

SEEDS = 12


def test_there_are_faults_of_every_class_the_catalogue_names() -> None:
    assert len(KINDS) >= 36
    assert len(SITUATIONS) >= 60
    assert len({*SITUATIONS}) == len(SITUATIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_strikes_alone_without_a_violation_and_leaves_its_mark(kind: str) -> None:
    struck = 0
    for seed in range(SEEDS):
        result = run(Plan(seed, seconds=30, faults=kind))
        assert result.violation is None, result.violation
        assert not [mark for mark in result.marks if mark.startswith("fault ") and mark != f"fault {kind}"]
        struck += f"fault {kind}" in result.marks
        if struck:
            break

    assert struck


def test_without_faults_none_strikes() -> None:
    result = run(Plan(3, seconds=20, faults="none"))

    assert not [mark for mark in result.marks if mark.startswith("fault ")]


def test_a_swarm_has_some_kinds_only_and_now_and_then_all() -> None:
    drawn = [{fault.kind for fault in draw(Rng(seed), "swarm", ["h1", "h2", "h3"], 40_000)} for seed in range(400)]

    assert set().union(*drawn) == set(KINDS)
    assert any(len(kinds) <= 4 for kinds in drawn)


def test_hosts_that_a_plan_left_out_are_not_struck() -> None:
    world = World(hosts=2)

    schedule(world, [Fault(100, "crash", ("h9",), 1_000, 1), Fault(100, "pair", ("h1", "h9"), 1_000, 1)])
    world.run_for(1_000)

    assert "fault crash" not in world.marks
    assert "fault pair" not in world.marks
