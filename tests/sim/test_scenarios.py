"""Weave's incidents end well, with every checker on; and a scenario can fail."""

from __future__ import annotations

import json

import pytest

from ringipam.core.donor import Donor
from sim.__main__ import main
from sim.checkers import Violation
from sim.scenarios import SCENARIOS, Scenario, play


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(s, id=s.name, marks=[pytest.mark.slow] if s.slow else []) for s in SCENARIOS],
)
def test_it_ends_well(scenario: Scenario) -> None:
    outcome = play(scenario)

    assert outcome.leased > 0
    assert outcome.found


def test_one_seed_is_one_history() -> None:
    (scenario,) = (s for s in SCENARIOS if s.name == "owner-of-all-dies")

    assert play(scenario, 5) == play(scenario, 5)
    assert play(scenario, 5) != play(scenario, 6)


def test_a_donor_that_never_answers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Donor, "asked", lambda self, asker, request: None)
    (scenario,) = (s for s in SCENARIOS if s.name == "last-address")

    with pytest.raises(Violation):
        play(scenario)


def test_the_command_prints_one_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "donor-crash-given", "owner-of-all-dies"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["owner-of-all-dies", "donor-crash-given"]
    assert "removal" in lines[3], "what a scenario lacks is said"


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "donor-crash-given", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == {}
    assert found["outcomes"][0]["hosts"] == 3


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "no-such"]) == 2
    assert "no-such" in capsys.readouterr().err
