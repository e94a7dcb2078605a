"""What was committed is there after every kind of end; what failed says so; nobody else gets at it."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ringipam.core.durable import PutLease, PutMeta
from ringipam.errors import StoreError
from ringipam.lease import Lease
from ringipam.store.store import Store

SUBNET = IPv4Network("10.32.0.0/12")
ROOT = Path(__file__).parents[2]


def lease(number: int) -> Lease:
    since = datetime(2026, 11, 21, 9, tzinfo=UTC)
    return Lease(f"L{number:05}", f"c{number}", SUBNET[number + 1], 12, SUBNET, "container", "host1", since)


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    store = Store.open(directory, 4)
    try:
        yield store
    finally:
        store.close()


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    """Another process, which has the data directory as its argument."""
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ── one process at a time ─────────────────────────────────────────────────────────────────────────

HOLDER = """
import sys
from pathlib import Path
from ringipam.store.store import Store
store = Store.open(Path(sys.argv[1]), 4)
print("held", flush=True)
sys.stdin.read()
store.close()
"""


def test_a_directory_in_use_is_refused_by_naming_who_has_it(tmp_path: Path) -> None:
    with start(HOLDER, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(StoreError, match=f"in use by process {holder.pid}"):
            Store.open(tmp_path, 4)

        holder.communicate("")
    with opened(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="cannot use the data directory"):
        Store.open(tmp_path / "file", 4)
    with pytest.raises(StoreError, match="cannot use the data directory"):
        Store.open(tmp_path / "file" / "below", 4)


def test_nobody_else_can_read_what_is_stored(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "data") as store:
        store.commit([PutMeta("peer", "host1.3f9a")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "data").iterdir()}

    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert {"ringipam.db", "ringipam.db-wal", "lock"} <= set(modes)


# ── ends ──────────────────────────────────────────────────────────────────────────────────────────

COMMITTER = """
import sys
from pathlib import Path
from itertools import count
sys.path.insert(0, "tests/store")
from test_store_durability import lease
from ringipam.core.durable import PutLease
from ringipam.store.store import Store
store = Store.open(Path(sys.argv[1]), 4)
for number in count():
    store.commit([PutLease(lease(number))])
    print(lease(number).lease, flush=True)
"""


def test_every_acknowledged_commit_survives_a_kill(tmp_path: Path) -> None:
    with start(COMMITTER, tmp_path) as committer:
        assert committer.stdout is not None
        acknowledged = [committer.stdout.readline().strip() for _ in range(1_200)]
        committer.send_signal(signal.SIGKILL)
        acknowledged += committer.stdout.read().split()

    with opened(tmp_path) as store:
        kept = store.load().leases

    assert set(acknowledged) <= set(kept)
    assert len(kept) <= len(acknowledged) + 1


def test_after_opening_everything_is_in_the_database_itself(tmp_path: Path) -> None:
    """A log left by a killed process may never have been synced; what is loaded from it will be acted upon."""
    with start(COMMITTER, tmp_path) as committer:
        assert committer.stdout is not None
        first = committer.stdout.readline().strip()
        committer.kill()

    with opened(tmp_path):
        assert not (tmp_path / "ringipam.db-wal").stat().st_size
        db = sqlite3.connect(f"file:{tmp_path}/ringipam.db?immutable=1", uri=True)
        found = db.execute("SELECT count(*) FROM leases WHERE lease = ?", (first,)).fetchone()
        db.close()

    assert found == (1,)


def test_the_log_does_not_grow_with_what_is_committed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(3_000):
            store.commit([PutLease(lease(number % 10))])

        assert (tmp_path / "ringipam.db-wal").stat().st_size < 8 << 20


# ── failures ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def files_cannot_grow(size: int) -> Iterator[None]:
    """The kernel refuses to write any file of this process beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_fails_the_commit_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([PutLease(lease(0))])

        with files_cannot_grow((tmp_path / "ringipam.db-wal").stat().st_size), pytest.raises(StoreError) as caught:
            store.commit([PutLease(lease(number)) for number in range(1, 2_000)])
        store.reopen()

        assert "ringipam.db" in caught.value.message
        assert set(store.load().leases) == {"L00000"}
        store.commit([PutLease(lease(1))])
        assert set(store.load().leases) == {"L00000", "L00001"}


def test_after_a_failure_nothing_works_until_it_is_reopened(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with files_cannot_grow(4_096), pytest.raises(StoreError):
            store.commit([PutLease(lease(number)) for number in range(2_000)])

        with pytest.raises(StoreError):
            store.commit([PutLease(lease(1))])
        with pytest.raises(StoreError):
            store.load()

        store.reopen()
        assert store.load().leases == {}


@pytest.mark.parametrize(
    "change",
    [
        PutMeta("peer", "\ud800"),  # no Unicode
        PutMeta("boots", 1 << 70),  # type: ignore[arg-type]
        PutMeta("boots", None),  # type: ignore[arg-type]
    ],
    ids=["text", "number", "nothing"],
)
def test_what_cannot_be_stored_fails_as_a_whole(tmp_path: Path, change: PutMeta) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(StoreError):
            store.commit([PutLease(lease(0)), change])

        store.reopen()
        assert store.load().leases == {}


def test_a_change_that_is_none_leaves_nothing_half_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(KeyError):
            store.commit([PutLease(lease(0)), "no change"])  # type: ignore[list-item]

        store.reopen()
        assert store.load().leases == {}


def test_a_reopened_database_that_was_taken_away_is_refused_and_the_directory_stays_held(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        (tmp_path / "ringipam.db").rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="is gone"):
            store.reopen()
        with pytest.raises(StoreError, match="in use by process"):
            Store.open(tmp_path, 4)

        (tmp_path / "elsewhere").rename(tmp_path / "ringipam.db")
        store.reopen()
        store.load()


def test_a_shell_that_writes_for_long_fails_the_commit_rather_than_holding_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringipam.store.store.BUSY_S", 0.05)
    with opened(tmp_path) as store:
        shell = sqlite3.connect(tmp_path / "ringipam.db", isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program"):
            store.commit([PutLease(lease(0))])

        shell.close()
        store.reopen()
        store.commit([PutLease(lease(0))])


def test_a_shell_may_read_while_the_node_runs(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        shell = sqlite3.connect(tmp_path / "ringipam.db", isolation_level=None)
        shell.execute("BEGIN")
        assert shell.execute("SELECT count(*) FROM leases").fetchone() == (0,)
        store.commit([PutLease(lease(0))])
        shell.execute("COMMIT")
        assert shell.execute("SELECT address FROM leases").fetchone() == ("10.32.0.1",)
        shell.close()


def test_a_shell_that_keeps_the_log_from_being_folded_is_complained_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringipam.store.store.BUSY_S", 0.05)
    with opened(tmp_path) as store:
        shell = sqlite3.connect(tmp_path / "ringipam.db", isolation_level=None)
        shell.execute("BEGIN")
        shell.execute("SELECT count(*) FROM leases").fetchone()
        store.commit([PutLease(lease(0))])
        with pytest.raises(StoreError, match="another program is reading it"):
            store.reopen()

        shell.close()
        store.reopen()
        assert set(store.load().leases) == {"L00000"}


def test_a_python_whose_sqlite_is_too_old_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(StoreError, match="or newer is needed"):
        Store.open(tmp_path, 4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.root
def test_a_full_disk_refuses_and_loses_nothing_and_works_again_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(256 << 10))
    acknowledged: list[str] = []

    def commit_until_it_fails(store: Store) -> None:
        for number in range(10_000):
            store.commit([PutLease(lease(number))])
            acknowledged.append(lease(number).lease)

    with opened(small_disk / "data") as store:
        with pytest.raises(StoreError, match="disk is full"):
            commit_until_it_fails(store)
        with pytest.raises(StoreError):
            store.commit([PutLease(lease(99_999))])

        ballast.unlink()
        store.reopen()

        assert list(store.load().leases) == acknowledged
        store.commit([PutLease(lease(20_000))])
        assert list(store.load().leases) == [*acknowledged, "L20000"]


@pytest.mark.root
def test_a_data_directory_on_a_read_only_disk_is_refused(small_disk: Path) -> None:
    with opened(small_disk / "data"):
        pass
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(StoreError, match="read-only"):
        Store.open(small_disk / "data", 4)


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    with start(HOLDER, tmp_path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()

    with opened(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
