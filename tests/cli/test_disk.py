"""backup, check, repair and history: what they print, and their exit status (docs/cli.md)."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from io import StringIO
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from asking import Book
from running import Run

from ringipam.claim import Claim
from ringipam.core.durable import PutLease, PutMeta, PutTokens, Record, Recorded
from ringipam.lease import Lease
from ringipam.store.store import Store

ME = "host1.3f9a"
SUBNET = IPv4Network("10.32.0.0/12")
START = int(SUBNET[0])
CLAIM = Claim(0, 1, ME, ME)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a node that has stopped."""
    since = datetime(2026, 11, 21, 9, tzinfo=UTC)
    address = IPv4Address("10.32.0.1")
    store = Store.open(tmp_path / "data", 4)
    store.commit(
        [
            PutMeta("peer", ME),
            PutMeta("universe", str(SUBNET)),
            PutTokens((), ((START, CLAIM),)),
            PutLease(Lease("L1", "c1", address, 12, SUBNET, "container", "host1", since)),
            Record((Recorded(1_795_251_600_000, START, START + 8, "", CLAIM, ME),)),
        ]
    )
    store.close()
    return tmp_path / "data"


def spoil(data: Path, statement: str) -> None:
    db = sqlite3.connect(data / "ringipam.db", isolation_level=None)
    db.execute(statement)
    db.close()


def test_a_backup_is_silent_and_refuses_to_overwrite(run: Run, data: Path, tmp_path: Path) -> None:
    first = run("backup", str(tmp_path / "copy"), "--data-dir", str(data))
    second = run("backup", str(tmp_path / "copy"), "--data-dir", str(data))

    assert (first.status, first.out, first.err) == (0, "", "")
    assert (second.status, second.out) == (1, "")
    assert "is there already" in second.err


def test_check_says_sound_or_one_line_for_each_fault(run: Run, data: Path) -> None:
    sound = run("check", "--data-dir", str(data))
    spoil(data, "UPDATE leases SET id = 'c2'")
    faulty = run("check", "--data-dir", str(data))
    as_json = run("check", "--data-dir", str(data), "--json")

    assert (sound.status, sound.out) == (0, "sound\n")
    line = "table leases, row 'L1': it is not what was written: its checksum does not fit"
    assert (faulty.status, faulty.out) == (1, f"{line}\n")
    assert (as_json.status, json.loads(as_json.out)) == (1, {"sound": False, "faults": [line], "notes": []})


def test_check_and_repair_refuse_while_a_daemon_has_the_data(run: Run, data: Path) -> None:
    store = Store.open(data, 4)
    for command in ("check", "repair"):
        done = run(command, "--data-dir", str(data))
        assert done.status == 1
        assert "in use by process" in done.err
    store.close()


def test_repair_asks_and_does_what_is_agreed_to(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(data, "UPDATE sums SET rows = 7 WHERE name = 'leases'")

    monkeypatch.setattr("sys.stdin", StringIO(""))
    declined = run("repair", "--data-dir", str(data))
    assert (declined.status, run("check", "--data-dir", str(data)).status) == (1, 1)
    for copy in data.parent.glob("data.*"):
        copy.rename(data.parent / f"first{copy.suffix}")  # the next one may be of the same second

    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    agreed = run("repair", "--data-dir", str(data))

    assert "count the rows of leases anew: they are well, their sum is not? [y/N]" in agreed.out
    assert (agreed.status, run("check", "--data-dir", str(data)).status) == (0, 0)


def test_repair_with_yes_asks_nothing(run: Run, data: Path) -> None:
    spoil(data, "UPDATE sums SET rows = 7 WHERE name = 'leases'")

    assert run("repair", "--yes", "--data-dir", str(data)).status == 0


def test_history_of_a_directory_is_shown_in_columns_or_as_json(run: Run, data: Path) -> None:
    shown = run("history", "10.32.0.7", "--data-dir", str(data))
    as_json = run("history", "10.32.0.7", "--data-dir", str(data), "--json")
    nothing = run("history", "10.32.0.8", "--data-dir", str(data))

    assert shown.out.splitlines()[1].split() == [
        *("2026-11-21", "09:00:00Z", "10.32.0.0", "10.32.0.7", "nobody", ME, "0", "1", ME, ME)
    ]
    assert json.loads(as_json.out)["history"][0]["owner"] == ME
    assert (nothing.status, nothing.out) == (0, "")
    assert "nothing is recorded" in nothing.err


def test_history_is_otherwise_asked_of_the_daemon(run: Run, book: Book) -> None:
    done = run("history", "10.32.0.9", "--json")

    assert json.loads(done.out)["history"][0]["owner"] == "host2.77c1"
    assert run("history", "ten").status == 2


def test_an_address_of_the_other_family_is_refused(run: Run, data: Path) -> None:
    done = run("history", "fd00::1", "--data-dir", str(data))

    assert done.status == 1
    assert "the range here is IPv4" in done.err
