"""Every broken variant of the core is noticed on the seed that is known to show it, and leaves the core as it was."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from ringipam.core.donor import Donor
from ringipam.errors import RequestError
from sim.__main__ import main
from sim.checkers import all_checkers
from sim.cluster import World
from sim.mutants import MUTANTS, Edit, Mutant, Shown, applied
from sim.mutants.command import hunt, shown
from sim.mutants.mutant import edited
from sim.run import Plan, Run, run

CALM = Plan(4, hosts=3, seconds=6, faults="none")


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS.values() if mutant.explored is None], ids=lambda mutant: mutant.name
)
def test_a_mutant_is_caught_on_its_seed(mutant: Mutant) -> None:
    found = hunt(mutant, [shown(mutant)])

    assert found.caught_by in mutant.caught_by


def test_there_are_enough_of_them_and_each_is_another() -> None:
    edits = [frozenset((str(edit.of), edit.old, edit.new) for edit in mutant.edits) for mutant in MUTANTS.values()]

    assert len(MUTANTS) >= 40
    assert sum("weave #" in mutant.rule for mutant in MUTANTS.values()) >= 10
    assert len(set(edits)) == len(edits)
    assert len({mutant.does for mutant in MUTANTS.values()}) == len(MUTANTS)
    assert all(edit.old != edit.new for mutant in MUTANTS.values() for edit in mutant.edits)


PLANTED_BY_HAND = {
    *("FencedIssuesNothing", "LostMemoryIsNoticed", "DoubtfulIsListed", "TakeoversWerePromised"),
    *("PromisesAreKept", "EpochsAndStandingsGoOn", "NothingStaysSuspended"),
}
"""What these must catch stands in test_checkers.py: bugs that no edit of a line makes."""


def test_each_expects_checkers_that_exist_and_each_checker_has_a_mutant() -> None:
    checkers = {type(checker).__name__ for checker in all_checkers(World(hosts=0))} | {"RisesFromEveryRecord"}
    expected = {name for mutant in MUTANTS.values() for name in mutant.caught_by}

    assert expected - {"exception", "explore"} == checkers - PLANTED_BY_HAND


def test_afterwards_the_core_is_what_it_was() -> None:
    before = run(CALM).digest

    for name in MUTANTS:
        with applied(name):
            pass
    run(shown(MUTANTS["donor-keeps-what-it-grants"]))

    assert run(CALM).digest == before


def test_an_exception_leaves_the_core_as_it_was_too() -> None:
    own = Donor.give.__code__

    with suppress(KeyError), applied("donor-keeps-what-it-grants"):
        broken = Donor.give.__code__
        raise KeyError

    assert broken is not own
    assert Donor.give.__code__ is own


def test_an_edit_that_fits_the_core_no_more_says_so_and_changes_nothing() -> None:
    own = Donor.give.__code__
    fits = Edit(Donor.give, "if number:", "if not number:")

    with (
        pytest.raises(ValueError, match=r"does not stand once in Donor\.asked"),
        edited([fits, Edit(Donor.asked, "!", "?")]),
    ):
        pass

    assert Donor.give.__code__ is own


def test_a_plan_with_a_mutant_that_there_is_not_is_refused() -> None:
    with pytest.raises(RequestError, match="there is no mutant 'sound'"):
        Run(replace(CALM, mutant="sound"))


def test_fingerprints_of_one_bit_do_no_harm_while_they_are_salted() -> None:
    """What the mutant without salts is compared with: it is the missing salt that is caught."""
    mutant = MUTANTS["fingerprints-unsalted"]

    with edited(mutant.edits[:1]):
        assert run(replace(shown(mutant), mutant="")).violation is None


def test_the_command_says_who_was_caught_by_whom(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "donor-keeps-what-it-grants", "--quick", "--jobs", "1", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["caught_by"]) == ("donor-keeps-what-it-grants", "NoAddressPossessedTwice")
    assert found["events"] > 0


def test_the_command_fails_if_a_mutant_survives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = MUTANTS["donor-keeps-what-it-grants"]
    harmless = replace(
        mutant,
        edits=(Edit(Donor.give, "if number:", "if number > 0:"),),
        shown=Shown(1, seconds=4, hosts=2, faults="none"),
        standard=False,
    )
    monkeypatch.setitem(MUTANTS, mutant.name, harmless)

    assert main(["mutants", mutant.name, "--seeds", "1..2", "--jobs", "1"]) == 1

    assert "NOT CAUGHT in 2 seeds" in capsys.readouterr().out


def test_the_command_explores_for_mutants_that_seeds_seldom_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "gone-before-the-heirs-have-it", "--jobs", "1"]) == 0

    assert "found by exploration" in capsys.readouterr().out


def test_the_command_refuses_names_of_no_mutant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "sound"]) == 2
    assert "sound" in capsys.readouterr().err
