"""A campaign names what failed and where it is saved, goes on where it stopped, and tells what it never reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import sim.campaign
from sim.__main__ import main
from sim.run import Plan, Result, Run, run
from tests.sim.conftest import Planting

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def campaign(*more: str, seeds: str = "0..3") -> int:
    return main(["campaign", "--seeds", seeds, "--nodes", "3", "--seconds", "10", "--jobs", "2", *more])


def test_a_failing_seed_is_named_with_a_file_that_replays(plant: Planting, capsys: pytest.CaptureFixture[str]) -> None:
    plant("donor-keeps-what-it-grants")

    assert campaign(seeds="2..2") == 1

    file = "sim-failures/seed-2.json"
    lines = capsys.readouterr().out.splitlines()
    violation = run(Plan(2, 3, 10)).violation
    assert lines[:2] == [f"failed: seed 2: NoAddressPossessedTwice: {file}", f"  {violation}"]
    assert lines[2].startswith("1 seeds, 1 failed, ")

    assert main(["replay", file]) == 1
    assert f"violation: {violation}" in capsys.readouterr().out


def test_a_campaign_without_failures_says_what_it_never_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign() == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 seeds, 0 failed, ")
    assert lines[0].endswith(" 1 seeds run twice")
    assert lines[1].endswith(f", {len(lines) - 2} never")
    assert "  never: a damaged frame was refused" in lines
    assert "  never: a lease was released" not in lines
    assert not Path("sim-failures").exists()


def test_the_summary_as_json(plant: Planting, capsys: pytest.CaptureFixture[str]) -> None:
    plant("donor-keeps-what-it-grants")

    assert campaign("--json", "--failures", "elsewhere", seeds="2..2") == 1

    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    failed = {"seed": 2, "checker": "NoAddressPossessedTwice", "file": "elsewhere/seed-2.json"}
    assert said["failed"] == [failed]
    assert (said["seeds"], said["twice"]) == (1, 0)
    assert said["events"] > 0
    assert "a damaged frame was refused" in said["unreached"]
    assert not {*said["unreached"]} & {*said["marks"]}


def test_every_twentieth_seed_is_run_twice_and_must_be_the_same_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planted bug: what a run does depends on how many came before it in its process."""
    runs = count()
    complete = Run.complete

    def restless(self: Run) -> Result:
        self.world.trace.note(0, "h1", f"run {next(runs)}")
        return complete(self)

    monkeypatch.setattr(Run, "complete", restless)

    assert campaign(seeds="19..41") == 1

    lines = capsys.readouterr().out.splitlines()
    failed = sorted(line for line in lines if line.startswith("failed: "))
    assert failed == [f"failed: seed {seed}: NotDeterministic: sim-failures/seed-{seed}.json" for seed in (20, 40)]


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


def without_time(text: str) -> list[str]:
    return [line.partition(" events in ")[0] for line in text.splitlines()]


def test_a_campaign_goes_on_where_its_log_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Path("log")
    assert campaign("--log", "log", seeds="0..2") == 0
    assert len(log.read_text().splitlines()) == 4
    capsys.readouterr()
    assert campaign(seeds="0..3") == 0
    at_once = capsys.readouterr().out
    judged = tuple(json.loads(line)["seed"] for line in log.read_text().splitlines()[1:])

    monkeypatch.setattr(sim.campaign, "judge", _only_seed_three)
    assert campaign("--log", "log", seeds="0..3") == 0

    assert without_time(capsys.readouterr().out) == without_time(at_once)
    assert [json.loads(line)["seed"] for line in log.read_text().splitlines()[1:]] == [*judged, 3]


_judge = sim.campaign.judge


def _only_seed_three(plan: Plan) -> object:
    assert plan.seed == 3
    return _judge(plan)


def test_what_failed_before_the_campaign_went_on_is_named_again(
    plant: Planting, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("donor-keeps-what-it-grants")
    assert campaign("--log", "log", seeds="2..2") == 1
    first = capsys.readouterr().out

    assert campaign("--log", "log", seeds="2..2") == 1

    assert capsys.readouterr().out.splitlines()[:2] == first.splitlines()[:2]


@pytest.mark.parametrize("kept", [0, 7, -1, -40])
def test_a_log_that_was_torn_by_a_kill_loses_its_last_line_only(kept: int, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("log")
    campaign("--log", "log", "--jobs", "1")
    whole = log.read_text()
    first = capsys.readouterr().out
    log.write_text(whole[:kept])

    assert campaign("--log", "log", "--jobs", "1") == 0

    assert log.read_text() == whole
    assert without_time(capsys.readouterr().out) == without_time(first)


@pytest.mark.parametrize("other", [("--faults", "none"), ("--mutant", "dialled-once")])
def test_another_campaigns_log_is_refused(other: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    campaign("--log", "log", seeds="0..0")
    before = Path("log").read_text()
    capsys.readouterr()

    assert campaign("--log", "log", *other, seeds="0..0") == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"sim: log is the log of another campaign: {before.splitlines()[0]}\n"
    assert Path("log").read_text() == before


HEADER = '{"hosts": 3, "seconds": 10, "faults": "swarm"}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"precious",
        b"precious\n",
        b"\xff\xfe\n",
        HEADER.encode() + b"{}\n",
        HEADER.encode() + b"7\n",
        HEADER.encode() + b'{"seed": 0, "dig\n',
        HEADER.encode()
        + b'{"seed":"0","digest":"","events":1,"violation":null,"file":"","marks":[],"late":false,"twice":false}\n',
        HEADER.encode()
        + b'{"seed":0,"digest":"","events":"1","violation":null,"file":"","marks":[],"late":false,"twice":false}\n',
    ],
)
def test_a_damaged_log_is_an_error_of_one_line_and_stays_as_it_is(
    content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("log").write_bytes(content)

    assert campaign("--log", "log", seeds="0..0") == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "sim: log is not the log of a campaign\n"
    assert Path("log").read_bytes() == content


# ── several machines ─────────────────────────────────────────────────────────────────────────────

OVER_DASK = """
import sys
from sim.__main__ import main

if __name__ == "__main__":
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        sys.exit(main([*sys.argv[1:], "--scheduler", cluster.scheduler_address]))
"""


def test_a_dask_cluster_comes_to_what_one_machine_comes_to(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    arguments = ["campaign", "--seeds", "0..3", "--nodes", "3", "--seconds", "10", "--faults", "crash"]
    Path("over_dask.py").write_text(OVER_DASK)

    done = subprocess.run(
        [sys.executable, "over_dask.py", *arguments, "--log", "log"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert main([*arguments, "--log", "here", "--jobs", "1"]) == 0
    assert without_time(done.stdout) == without_time(capsys.readouterr().out)
    assert sorted(Path("log").read_text().splitlines()) == sorted(Path("here").read_text().splitlines())


def test_without_dask_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    assert campaign("--scheduler", "tcp://127.0.0.1:1") == 2

    assert capsys.readouterr().err == "sim: --scheduler needs Dask: pip install 'ringipam[cluster]'\n"
