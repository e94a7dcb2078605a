"""A script goes the same way in the simulator and in the shell: answers, and after every step all that is durable."""

from __future__ import annotations

from collections import Counter

import pytest
from scripts import Ask, Crash, Part, draw, in_the_shell, in_the_simulator

from ringipam.core.events import Release

SCRIPTS = 48
SCRIPTS_A_TEST = 12


@pytest.mark.parametrize("first", range(0, SCRIPTS, SCRIPTS_A_TEST))
def test_both_drivers_go_the_same_way(first: int) -> None:
    for seed in range(first, first + SCRIPTS_A_TEST):
        script = draw(seed)

        simulated, real = in_the_simulator(script), in_the_shell(script, seed)

        assert real.answers == simulated.answers, f"script {seed}"
        for number, step in enumerate(script.steps):
            assert real.disks[number] == simulated.disks[number], f"script {seed}, after step {number}, {step}"


def test_the_order_in_which_trio_runs_tasks_changes_nothing() -> None:
    script = draw(2)

    assert in_the_shell(script, 1) == in_the_shell(script, 2) == in_the_shell(script, 3)


def test_the_scripts_reach_what_they_are_to_compare() -> None:
    reached: Counter[object] = Counter()
    for seed in range(SCRIPTS):
        script = draw(seed)
        reached.update(type(step.verb) if isinstance(step, Ask) else type(step) for step in script.steps)
        course = in_the_simulator(script)
        reached.update(answer if isinstance(answer, str) else "other" for answer in course.answers)
        disks = [disk for disks in course.disks for disk in disks.values()]
        reached.update(table for disk in disks for table, rows in disk.items() if rows not in ("[]", "None"))

    tables = ("tokens", "leases", "quarantine", "members", "acceptor", "answered")
    errors = ("NoSpaceError", "InUseError", "NotFoundError")
    assert [wanted for wanted in (*tables, *errors, Crash, Part, Release) if not reached[wanted]] == []
