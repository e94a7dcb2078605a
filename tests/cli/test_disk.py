"""backup, check, repair and history: what they print, and their exit status (docs/cli.md)."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from ipaddress import IPv4Network, IPv6Network
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
SUBNET6 = IPv6Network("fd00:32::/48")
CLAIM = Claim(0, 1, ME, ME)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a node that has stopped."""
    fill(tmp_path / "data", SUBNET)
    return tmp_path / "data"


@pytest.fixture
def both(data: Path) -> Path:
    """The data directory of a daemon with two ranges."""
    fill(data / "ipv6", SUBNET6)
    return data


def fill(directory: Path, subnet: IPv4Network | IPv6Network) -> None:
    since = datetime(2026, 11, 21, 9, tzinfo=UTC)
    start, address = int(subnet[0]), subnet[1]
    store = Store.open(directory, subnet.version)
    store.commit(
        [
            PutMeta("peer", ME),
            PutMeta("universe", str(subnet)),
            PutTokens((), ((start, CLAIM),)),
            PutLease(Lease("L1", "c1", address, subnet.prefixlen, subnet, "container", "host1", since)),
            Record((Recorded(1_795_251_600_000, start, start + 8, "", CLAIM, ME),)),
        ]
    )
    store.close()


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


# ── two ranges ────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_has_a_file_for_each_range_and_makes_both_or_none(run: Run, both: Path, tmp_path: Path) -> None:
    done = run("backup", str(tmp_path / "copy"), "--data-dir", str(both))

    assert (done.status, done.out) == (0, f"the IPv6 range is in {tmp_path}/copy.ipv6\n")
    for name, universe in (("copy", SUBNET), ("copy.ipv6", SUBNET6)):
        with closing(sqlite3.connect(tmp_path / name)) as db:
            assert db.execute("SELECT value FROM meta WHERE key = 'universe'").fetchone() == (str(universe),)

    (tmp_path / "copy").unlink()
    again = run("backup", str(tmp_path / "copy"), "--data-dir", str(both))
    assert again.status == 1
    assert "copy.ipv6 is there already" in again.err
    (both / "ipv6/ringipam.db").write_bytes(b"no database")
    damaged = run("backup", str(tmp_path / "other"), "--data-dir", str(both))
    assert (damaged.status, list(tmp_path.glob("other*"))) == (1, [])


def test_check_looks_over_both_ranges_and_says_which_is_faulty(run: Run, both: Path) -> None:
    sound = run("check", "--data-dir", str(both))
    spoil(both / "ipv6", "UPDATE leases SET id = 'c2'")
    faulty = run("check", "--data-dir", str(both))
    as_json = json.loads(run("check", "--data-dir", str(both), "--json").out)

    assert (sound.status, sound.out) == (0, "sound\n")
    line = "IPv6: table leases, row 'L1': it is not what was written: its checksum does not fit"
    assert (faulty.status, faulty.out) == (1, f"{line}\n")
    assert as_json == {"sound": False, "faults": [line], "notes": []}


def test_repair_mends_the_range_that_needs_it(run: Run, both: Path) -> None:
    spoil(both / "ipv6", "UPDATE sums SET rows = 7 WHERE name = 'leases'")

    done = run("repair", "--yes", "--data-dir", str(both))

    assert done.status == 0
    assert done.out.splitlines()[0] == "IPv4: sound: there is nothing to repair"
    assert "IPv6: count the rows of leases anew: they are well, their sum is not" in done.out
    assert run("check", "--data-dir", str(both)).status == 0


def test_the_history_of_a_directory_is_that_of_the_range_of_the_address(run: Run, both: Path) -> None:
    for address in ("10.32.0.7", "fd00:32::7"):
        shown = json.loads(run("history", address, "--data-dir", str(both), "--json").out)
        assert (shown["address"], shown["history"][0]["owner"]) == (address, ME)


def test_the_tools_refuse_while_a_daemon_has_either_range(run: Run, both: Path) -> None:
    store = Store.open(both / "ipv6", 6)
    for command in ("check", "repair"):
        done = run(command, "--data-dir", str(both))
        assert done.status == 1
        assert "ipv6 is in use by process" in done.err
    store.close()
