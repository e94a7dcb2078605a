"""A planted bug's failing seed becomes a short run that fails by the same checker, and replays."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import sim.shrink
from ringipam.core import allocator
from ringipam.core.events import Allocate
from sim.__main__ import main
from sim.faults import KINDS, Fault
from sim.mutants import applied
from sim.run import Plan, Run, run
from sim.saved import load, save
from sim.shrink import Shrunk, shrink
from sim.trials import Failure, attempt, trials
from sim.workload import Ask
from tests.sim.conftest import Planting

LIMIT = 100_000
"""Seconds that never end: what is tested does not depend on time."""


def shrunk(plan: Plan, *, jobs: int = 1) -> Shrunk:
    outcome = shrink(plan, seconds=LIMIT, jobs=jobs, tell=lambda step, best: None)
    assert outcome is not None
    return outcome


@pytest.mark.parametrize(
    ("mutant", "seed"),
    [
        ("donor-keeps-what-it-grants", 0),
        ("reply-before-commit", 0),
        ("rests-in-memory-only", 1),
        ("one-acceptance-is-enough", 141),
    ],
)
def test_a_planted_bug_comes_down_to_three_hosts_and_five_faults(plant: Planting, mutant: str, seed: int) -> None:
    plant(mutant)

    outcome = shrunk(Plan(seed))

    after = outcome.after
    assert after.kind == outcome.before.kind
    assert len(after.hosts) <= 3
    assert len(after.faults) <= 5
    assert len(after.asked) <= 5
    assert after.plan.seed == outcome.before.plan.seed == seed
    assert run(after.plan).violation == after.violation


def test_no_request_that_is_left_can_be_left_out(plant: Planting) -> None:
    plant("rests-in-memory-only")

    plan = shrunk(Plan(1)).after.plan

    assert plan.asks
    for n in range(len(plan.asks)):
        fewer = Plan(plan.seed, plan.hosts, plan.seconds, only=plan.only, asks=(*plan.asks[:n], *plan.asks[n + 1 :]))
        assert run(fewer).violation is None


def test_many_processes_come_to_what_one_comes_to_and_inherit_what_is_patched(plant: Planting) -> None:
    plant("one-acceptance-is-enough")

    one, many = shrunk(Plan(141)), shrunk(Plan(141), jobs=3)

    assert many.after == one.after


def test_what_two_processes_try_is_taken_in_order_of_the_candidates(plant: Planting) -> None:
    """The second candidate is done long before the first, and yet the first is taken."""
    plant("reply-before-commit")
    slow, quick, passing = Plan(0, hosts=40), Plan(0, hosts=2), Plan(0, hosts=2, asks=())

    with trials("AcknowledgedIsDurable", float("inf"), 2) as judge:
        found = judge.first([passing, slow, quick])

    assert found is not None
    assert found[0] == 1
    assert found[1].plan.hosts == 40


def test_another_checkers_failure_is_no_success(plant: Planting) -> None:
    plant("reply-before-commit")

    with trials("NoAddressLeasedTwice", float("inf"), 1) as judge:
        assert judge.first([Plan(0)]) is None


def test_exceptions_are_the_same_if_their_type_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: allocator.Allocator, waiting: object, verb: Allocate) -> None:
        raise {"h1": ZeroDivisionError, "h2": LookupError}.get(self._state.me.partition(".")[0], OSError)(verb.id)

    monkeypatch.setattr(allocator.Allocator, "_allocate", broken)
    before = attempt(Plan(2))
    assert before is not None

    outcome = shrunk(Plan(2))

    assert before.kind.startswith("exception: ")
    assert outcome.after.kind == before.kind
    assert outcome.after.violation.startswith(before.kind + ":")


def test_a_failure_that_needs_four_hosts_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other seed is taken, as none has it in a world of three."""

    def crowded(self: Run) -> None:
        if len(self.world.hosts) >= 4:
            raise LookupError("crowded")

    complete = Run.complete

    def fail_when_crowded(self: Run) -> object:
        self.world.loop.after(1_000, crowded, self)
        return complete(self)

    monkeypatch.setattr(Run, "complete", fail_when_crowded)
    monkeypatch.setattr(sim.shrink, "OTHER_SEEDS", 3)

    outcome = shrunk(Plan(5, hosts=6, seconds=10))

    assert outcome.after.hosts == ["h1", "h2", "h3", "h4"]
    assert outcome.after.plan.seed == 5
    assert outcome.after.faults == ()


def test_if_the_seed_does_not_come_down_another_is_taken_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete = Run.complete

    def crowded(self: Run) -> None:
        """Seed 5 needs its five hosts, seed 7 fails with any."""
        if self.plan.seed == 7 or (self.plan.seed == 5 and len(self.world.hosts) >= 5):
            raise LookupError("crowded")

    def fail_when_crowded(self: Run) -> object:
        self.world.loop.after(1_000, crowded, self)
        return complete(self)

    monkeypatch.setattr(Run, "complete", fail_when_crowded)

    arguments = ["shrink", "--seed", "5", "--seconds", "10", "--jobs", "1", "--out", str(tmp_path / "short")]
    assert main(arguments) == 0

    assert "The seed is another, not 5 but 7, whose smaller world breaks the same rule." in capsys.readouterr().out
    assert load(tmp_path / "short").seed == 7


def test_faults_are_made_simpler_and_stay_in_their_half(plant: Planting) -> None:
    plant("one-acceptance-is-enough")

    after = shrunk(Plan(141)).after

    (fault,) = after.faults
    assert (fault.kind, fault.strength, fault.for_ms) == ("isolate-founder", 0, 50)
    assert len(fault.hosts) == 1
    assert fault.at_ms < after.plan.faulty_ms


def test_hosts_that_are_left_out_take_their_faults_and_requests_with_them() -> None:
    faults = (
        Fault(5, "pair", ("h1", "h3"), 100, 0),
        Fault(6, "crash", ("h3", "h2"), 100, 0),
        Fault(7, "loss", ("h3",), 100, 0),
        Fault(8, "crash", ("h3",), 100, 0),
    )
    asks = (Ask(1, "h1", Allocate("a", None, 100)), Ask(2, "h3", Allocate("b", None, 100)))

    plan = sim.shrink._with_hosts(Plan(1, 3, only=faults, asks=asks), ["h1", "h2"])

    assert plan.without == ("h3",)
    assert plan.only == (Fault(6, "crash", ("h2",), 100, 0),)
    assert plan.asks == asks[:1]
    assert KINDS["loss"].hosts == 0


def test_when_time_is_up_what_was_found_counts(plant: Planting) -> None:
    plant("donor-keeps-what-it-grants")

    outcome = shrink(Plan(0), seconds=0, jobs=1, tell=lambda step, best: None)

    assert outcome is not None
    assert outcome.out_of_time
    assert outcome.after == outcome.before


def test_shrink_saves_a_run_that_replays_and_writes_its_page(
    plant: Planting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("donor-keeps-what-it-grants")
    failing = Run(Plan(0))
    result = failing.complete()
    save(tmp_path / "seed-0.json", failing, result)
    page = tmp_path / "page.html"

    assert main(["shrink", str(tmp_path / "seed-0.json"), "--jobs", "2", "--page", str(page)]) == 0

    said = capsys.readouterr()
    short = tmp_path / "seed-0-short.json"
    lines = said.out.splitlines()
    assert lines[-2:] == [f"saved: {short}", f"replay: python -m sim replay {short}"]
    assert lines[0].split() == ["before", "after"]
    assert ["hosts", "5", "2"] in [line.split() for line in lines]
    assert "as it was: 5 hosts" in said.err
    violation = next(line for line in lines if line.startswith("violation: NoAddressPossessedTwice"))
    assert "NoAddressPossessedTwice" in page.read_text()

    assert main(["replay", str(short)]) == 1
    assert violation in capsys.readouterr().out.splitlines()


def test_shrink_says_all_that_as_json(plant: Planting, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant("donor-keeps-what-it-grants")
    out = tmp_path / "short.json"

    assert main(["shrink", "--seed", "0", "--jobs", "1", "--json", "--out", str(out)]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["checker"] == "NoAddressPossessedTwice"
    assert said["file"] == str(out)
    assert said["before"]["hosts"] == 5
    assert said["after"]["hosts"] == len(load(out).asks or ()) + 1 == 2
    assert said["after"]["events"] < said["before"]["events"]
    assert not said["out_of_time"]


def test_a_run_without_a_violation_is_not_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passing = Run(Plan(3, seconds=10, faults="none"))
    save(tmp_path / "run", passing, passing.complete())

    assert main(["shrink", str(tmp_path / "run")]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == "no violation: there is nothing to shrink"
    assert os.listdir(tmp_path) == ["run"]


def test_a_core_that_is_not_deterministic_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with applied("donor-keeps-what-it-grants"):
        found = shrunk(Plan(0))
    monkeypatch.setattr("sim.__main__.shrink", lambda *_, **__: found)

    assert main(["shrink", "--seed", "0", "--out", str(tmp_path / "run")]) == 2
    assert "does not replay: no violation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["file", "--seed", "1"],
        ["--seed", "x"],
        ["--seed", "1", "--jobs", "0"],
        ["--seed", "1", "--seconds-limit", "0"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["shrink", *arguments])

    assert exit_.value.code == 2
    assert capsys.readouterr().err


def test_a_sound_core_breaks_nothing_however_much_is_left_out() -> None:
    """Not even if no request is left: a ring that nobody asks for is not missing."""
    whole = Run(Plan(1))
    assert whole.complete().violation is None
    plan = Plan(1, only=tuple(whole.faults), asks=tuple(whole.users.asked))
    half = replace(plan, asks=tuple(whole.users.asked[::2]))

    shorter = [
        replace(plan, asks=()),
        replace(half, only=plan.only[::2] if plan.only else ()),
        sim.shrink._with_hosts(plan, ["h3"]),
        sim.shrink._with_hosts(half, ["h2", "h5"]),
        sim.shrink._lasting(sim.shrink._with_hosts(half, ["h1", "h4", "h5"]), 32),
    ]

    assert [run(short).violation for short in shorter] == [None] * len(shorter)


def test_trials_go_no_further_than_they_are_patient(plant: Planting) -> None:
    plant("one-refusal-is-enough")

    late = attempt(Plan(3))

    assert isinstance(late, Failure)
    assert attempt(Plan(3), late.at_ms - 1_000) is None
    assert attempt(Plan(3), late.at_ms + 1_000) == late
    assert attempt(Plan(3), deadline=0.0) is None
    assert attempt(Plan(0, hosts=2, without=("h1", "h2"))) is None
