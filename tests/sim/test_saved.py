"""Saved runs come back as they were; whatever else is in a file is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringipam.address import Cidr
from ringipam.core.events import Allocate, ClaimAddress, Leases, Release
from ringipam.errors import RequestError
from sim.__main__ import main
from sim.faults import KINDS, Fault
from sim.run import Plan, Run, run
from sim.saved import load, save
from sim.workload import Ask

SAVED: dict[str, Any] = {
    "ringipam_run": 1,
    "seed": 7,
    "hosts": 3,
    "seconds": 20,
    "mutant": None,
    "without": ["h2"],
    "violation": None,
    "digest": "",
    "faults": [{"at_ms": 10, "kind": "crash", "hosts": ["h1"], "for_ms": 50, "strength": 0}],
    "requests": [
        {
            "at_ms": 1,
            "host": "h1",
            "verb": "allocate",
            "id": "c",
            "subnet": "10.0.0.0/28",
            "timeout_ms": 9,
            "cancel_ms": 5,
        },
        {"at_ms": 2, "host": "h1", "verb": "claim", "id": "d", "address": "10.0.0.9", "len": 24, "timeout_ms": 9},
        {"at_ms": 3, "host": "h3", "verb": "release", "id": "c", "named": True},
        {"at_ms": 4, "host": "h3", "verb": "list", "cluster": True},
    ],
}
"""A file by hand: it is one until a test spoils it."""

NAMES = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=8)
HOSTS = st.integers(1, 9).map(lambda number: f"h{number}")
TIMES = st.integers(0, 9_999)
SUBNETS = st.none() | st.builds(lambda n: Cidr(4, n << 8, 24), st.integers(0, 2**24 - 1))
SUBNETS6 = st.builds(lambda n: Cidr(6, n << 64, 64), st.integers(0, 2**64 - 1))
VERBS = (
    st.builds(Allocate, NAMES, SUBNETS | SUBNETS6, TIMES)
    | st.builds(ClaimAddress, NAMES, st.just(4), st.integers(0, 2**32 - 1), st.integers(0, 32), TIMES)
    | st.builds(ClaimAddress, NAMES, st.just(6), st.integers(0, 2**128 - 1), st.integers(0, 128), TIMES)
    | st.builds(Leases, cluster=st.booleans())
).flatmap(lambda verb: st.builds(Ask, TIMES, HOSTS, st.just(verb), cancel_ms=st.none() | TIMES))
RELEASES = st.builds(Ask, TIMES, HOSTS, st.builds(Release, NAMES), st.booleans(), st.none() | TIMES)
FAULTS = st.builds(
    Fault,
    TIMES,
    st.sampled_from([*KINDS]),
    st.lists(HOSTS, unique=True, max_size=4).map(tuple),
    st.integers(0, 12_000),
    st.integers(0, 30),
)
PLANS = st.builds(
    Plan,
    seed=st.integers(-(2**63), 2**64 - 1),
    hosts=st.integers(4, 1_000),
    seconds=st.integers(20, 600),
    faults=st.just("saved"),
    only=st.lists(FAULTS, max_size=5).map(tuple),
    asks=st.none() | st.lists(VERBS | RELEASES, max_size=5).map(tuple),
    without=st.sampled_from([(), ("h1",), ("h3", "h2")]),
    mutant=st.sampled_from(["", "no_quorum"]),
)


@given(PLANS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plans_with_all_faults_and_requests_come_back(tmp_path: Path, plan: Plan) -> None:
    """Only written, not run: whatever the mutant is called."""
    prepared = Run(Plan(1, hosts=1, seconds=2, faults="none"))
    result = prepared.complete()
    prepared.plan, prepared.faults = plan, list(plan.only or ())
    prepared.users.asked = list(plan.asks or ())

    save(tmp_path / "run", prepared, result)

    assert load(tmp_path / "run") == plan


def test_a_saved_run_is_the_same_run_with_drawn_and_with_written_requests(tmp_path: Path) -> None:
    drawn = Run(Plan(3, hosts=3, seconds=20))
    first = drawn.complete()
    save(tmp_path / "drawn", drawn, first)

    written = Run(Plan(3, hosts=3, seconds=20, asks=tuple(drawn.users.asked)))
    second = written.complete()
    save(tmp_path / "written", written, second)

    assert run(load(tmp_path / "drawn")).digest == first.digest
    assert run(load(tmp_path / "written")).digest == second.digest


def spoil(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        part: Any = data
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = to

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        part: Any = data
        for step in path[:-1]:
            part = part[step]
        del part[path[-1]]

    return change


SPOILT = {
    "the wrong version": spoil("ringipam_run", to=2),
    "no version": without("ringipam_run"),
    "no seed": without("seed"),
    "a seed that is text": spoil("seed", to="7"),
    "a seed that is a fraction": spoil("seed", to=1.5),
    "a seed of many digits": spoil("seed", to=10**30),
    "no hosts": spoil("hosts", to=0),
    "fewer hosts than none": spoil("hosts", to=-3),
    "a truth for hosts": spoil("hosts", to=True),
    "more hosts than memory": spoil("hosts", to=10**12),
    "all hosts left out": spoil("without", to=["h1", "h2", "h3"]),
    "a stranger left out": spoil("without", to=["h4"]),
    "one name for those left out": spoil("without", to="h1"),
    "a run of no time": spoil("seconds", to=1),
    "a run of centuries": spoil("seconds", to=10**12),
    "a mutant that is a number": spoil("mutant", to=5),
    "no faults": without("faults"),
    "faults that are null": spoil("faults", to=None),
    "faults that are names": spoil("faults", to=["crash"]),
    "an unknown fault": spoil("faults", 0, "kind", to="volcano"),
    "a fault that is a list": spoil("faults", 0, "kind", to=["crash"]),
    "a fault without hosts": without("faults", 0, "hosts"),
    "a fault on one host twice": spoil("faults", 0, "hosts", to=["h1", "h1"]),
    "a fault before the beginning": spoil("faults", 0, "at_ms", to=-1),
    "a fault while all heals": spoil("faults", 0, "at_ms", to=10_000),
    "a fault that goes on for ever": spoil("faults", 0, "for_ms", to=12_001),
    "a fault beyond strength": spoil("faults", 0, "strength", to=31),
    "no requests": without("requests"),
    "requests that are text": spoil("requests", to="[]"),
    "an unknown verb": spoil("requests", 0, "verb", to="steal"),
    "no verb": without("requests", 0, "verb"),
    "a verb that is an object": spoil("requests", 0, "verb", to={}),
    "a request of nobody": without("requests", 0, "host"),
    "an id that is a number": spoil("requests", 0, "id", to=1),
    "an id of two lines": spoil("requests", 0, "id", to="a\nb"),
    "half a character": spoil("requests", 0, "id", to="\ud800"),
    "a subnet that is none": spoil("requests", 0, "subnet", to="10.0.0.0/99"),
    "a subnet that is a number": spoil("requests", 0, "subnet", to=24),
    "a time-out before now": spoil("requests", 0, "timeout_ms", to=-5),
    "a caller who left before": spoil("requests", 0, "cancel_ms", to=-1),
    "an address that is none": spoil("requests", 1, "address", to="10.0.0"),
    "an address that is a number": spoil("requests", 1, "address", to=9),
    "a prefix that is too long": spoil("requests", 1, "len", to=33),
    "a release that is named yes": spoil("requests", 2, "named", to="yes"),
    "a list of 1": spoil("requests", 3, "cluster", to=1),
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT.keys())
def test_a_file_that_is_no_saved_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None]
) -> None:
    data = deepcopy(SAVED)
    change(data)

    refused(tmp_path, capsys, json.dumps(data).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"NaN",
        b"9" * 10_000,
        json.dumps(SAVED).encode()[:-9],
    ],
    ids=["empty", "null", "list", "number", "deep", "binary", "NaN", "digits", "torn"],
)
def test_a_file_of_something_else_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    refused(tmp_path, capsys, content)


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    """By both commands that read such a file."""
    file = tmp_path / "run.json"
    file.write_bytes(content)

    for command in ("replay", "shrink"):
        assert main([command, str(file)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"sim: {file} is not a saved run: ")
        assert said.err.count("\n") == 1
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_that_is_not_there_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"sim: {tmp_path / 'none'}: No such file or directory\n"

    with pytest.raises(RequestError):
        load(tmp_path)


def test_the_file_by_hand_is_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text(json.dumps(SAVED))

    assert main(["replay", str(tmp_path / "run")]) == 0
    assert "seed 7: 2 hosts" in capsys.readouterr().out
