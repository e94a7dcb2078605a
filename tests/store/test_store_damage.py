"""A database that is not as ringipam left it is refused with a line that says what to do, and left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.core.durable import (
    Change,
    Conflict,
    Pledge,
    PutAcceptor,
    PutAnswered,
    PutBoot,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutPledge,
    PutPoint,
    PutPublished,
    PutRound,
    PutTokens,
    Record,
    Recorded,
    Round,
    Stored,
    Suspensions,
)
from ringipam.errors import StoreError
from ringipam.lease import Lease
from ringipam.messages import Ballot, Founding, Point
from ringipam.ring.space import Rows
from ringipam.store import schema
from ringipam.store.statements import COLUMNS
from ringipam.store.store import Store

SUBNET = IPv4Network("10.32.0.0/12")
START = int(SUBNET[0])
ME = "host1.3f9a"


def lease(number: int) -> Lease:
    since = datetime(2026, 11, 21, 9, tzinfo=UTC)
    return Lease(f"L{number:05}", f"c{number}", SUBNET[number + 1], 12, SUBNET, "container", "host1", since, {"a": "b"})


CLAIM = Claim(0, 1, ME, ME)
COMMITS: tuple[tuple[Change, ...], ...] = (
    (PutMeta("peer", ME), PutMeta("universe", str(SUBNET)), PutMeta("commit", "5")),
    (PutMeta("cluster", "6f1c"), PutTokens((), tuple((START + 16 * i, Claim(0, i % 2, ME, ME)) for i in range(100)))),
    tuple(PutLease(lease(i)) for i in range(200)),
    (PutMember("host2.77c1", "host2:6783"), PutAnswered("host2.77c1", 4)),
    (PutAcceptor(Ballot(3, ME), Ballot(2, ME), Founding("6f1c", (ME,))),),
    (Rows((), ((START + 1000, START + 1003, 1_800_000_000_000),)),),
    (PutConflict(Conflict(START, START + 5, (ME,), 1_800_000_000_000, "host2.77c1")),),
    (PutBoot("n1", 1), PutPublished(1, 99), PutPoint("host2.77c1", Point("n7", 12, 77))),
    (PutPledge("host2.77c1", Pledge(7, ("host3.aaaa",))),),
    (PutRound(6, Round(("host4.bbbb",), True, (Range(START, START + 8),))),),
    (Record(tuple(Recorded(1_800_000_000_000 + i, START, START + 16, "", CLAIM, ME) for i in range(20))),),
    (Suspensions((), (Range(START + 32, START + 48),)),),
)
"""A bit of everything, over several pages."""


def fill(store: Store) -> None:
    for changes in COMMITS:
        store.commit(changes)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The data directory of a node that has stopped."""
    store = Store.open(tmp_path / "data", 4)
    fill(store)
    store.close()
    return tmp_path / "data"


def files(directory: Path) -> dict[str, bytes]:
    """What must not be touched."""
    kept = (directory / "ringipam.db", directory / "ringipam.db-wal")
    return {path.name: path.read_bytes() for path in kept if path.exists() and path.stat().st_size}


def loaded(directory: Path) -> Stored:
    store = Store.open(directory, 4)
    try:
        return store.load()
    finally:
        store.close()


def refusal(directory: Path) -> str:
    """Why the directory is refused; sees that its files stay as they are and that its lock is let go."""
    before = files(directory)
    with pytest.raises(StoreError) as caught:
        loaded(directory)
    with pytest.raises(StoreError):
        loaded(directory)
    assert files(directory) == before
    assert "\n" not in caught.value.message
    return caught.value.message


def spoil(directory: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(directory / "ringipam.db", isolation_level=None)
    db.execute(statement, values)
    db.close()


def forge(directory: Path, table: str, statement: str) -> None:
    """Change rows as `spoil` does, and give them the checksums and sums they would have had."""
    db = sqlite3.connect(directory / "ringipam.db", isolation_level=None)
    schema.ready(db)
    db.execute(statement)
    columns = ", ".join(row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] != "sum")
    db.execute(f"UPDATE {table} SET sum = row_sum('{table}', {columns})")
    schema.resum(db, table)
    db.close()


# ── what was there is gone ────────────────────────────────────────────────────────────────────────


def test_a_database_that_has_vanished_is_not_begun_anew(directory: Path) -> None:
    (directory / "ringipam.db").unlink()

    assert "is gone" in refusal(directory)
    assert not (directory / "ringipam.db").exists()


def test_a_database_that_was_emptied_is_not_begun_anew(directory: Path) -> None:
    (directory / "ringipam.db").write_bytes(b"")

    assert f"move {directory} away" in refusal(directory)


@pytest.mark.parametrize("database", [None, b""])
def test_a_log_without_its_database_is_kept(tmp_path: Path, database: bytes | None) -> None:
    """SQLite deletes the log of an empty database when it opens it."""
    (tmp_path / "ringipam.db-wal").write_bytes(b"x" * 5000)
    if database is not None:
        (tmp_path / "ringipam.db").write_bytes(database)

    refusal(tmp_path)

    assert (tmp_path / "ringipam.db-wal").read_bytes() == b"x" * 5000


def test_a_first_start_that_was_interrupted_is_taken_up(tmp_path: Path) -> None:
    empty, blank, unmarked = tmp_path / "empty", tmp_path / "blank", tmp_path / "unmarked"
    empty.mkdir()
    (empty / "ringipam.db").touch()
    blank.mkdir()
    spoil(blank, "PRAGMA journal_mode = WAL")
    Store.open(unmarked, 4).close()
    (unmarked / "initialised").unlink()

    for directory in (empty, blank, unmarked):
        assert loaded(directory) == Stored()
        assert (directory / "initialised").exists()


# ── what is there is something else ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("marked", [True, False])
def test_a_file_that_is_no_database_is_refused(directory: Path, marked: bool) -> None:
    (directory / "ringipam.db").write_bytes(b"These are somebody's notes. " * 400)
    if not marked:
        (directory / "initialised").unlink()

    assert "is damaged" in refusal(directory)


@pytest.mark.parametrize("statement", ["CREATE TABLE notes (text)", "PRAGMA user_version = 1"])
def test_a_database_of_another_program_is_refused(tmp_path: Path, statement: str) -> None:
    spoil(tmp_path, statement)

    assert "not a database of ringipam" in refusal(tmp_path)


def test_a_newer_schema_is_refused(directory: Path) -> None:
    spoil(directory, f"PRAGMA user_version = {schema.VERSION + 1}")

    assert "newer ringipam" in refusal(directory)


def test_a_database_of_the_other_family_is_refused(directory: Path) -> None:
    with pytest.raises(StoreError, match="IPv4 universe, this one is IPv6"):
        Store.open(directory, 6)


def test_an_older_schema_is_brought_up_to_date(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = loaded(directory)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE promises (x TEXT) STRICT",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)

    assert loaded(directory) == before
    assert loaded(directory) == before
    spoil(directory, "INSERT INTO promises VALUES ('kept')")


DEFINITIONS = {
    f"{table}_row_gone": next(s for s in schema.MIGRATIONS[1] if s.startswith(f"CREATE TRIGGER {table}_row_gone"))
    for table in COLUMNS
}

# ── what is there is damaged ──────────────────────────────────────────────────────────────────────

BAD_ROWS = {
    "a token that is no address": ("tokens", "UPDATE tokens SET first = 'ten' WHERE first = '10.32.0.16'"),
    "a token of the other family": ("tokens", "UPDATE tokens SET first = '::1' WHERE first = '10.32.0.16'"),
    "a token outside the universe": ("tokens", "UPDATE tokens SET first = '11.0.0.0' WHERE first = '10.32.0.16'"),
    "no token at the first address": ("tokens", "DELETE FROM tokens WHERE first = '10.32.0.0'"),
    "no tokens": ("tokens", "DELETE FROM tokens"),
    "a claim of a negative version": ("tokens", "UPDATE tokens SET version = -1 WHERE first = '10.32.0.16'"),
    "a claim of nobody": ("tokens", "UPDATE tokens SET owner = '' WHERE first = '10.32.0.16'"),
    "a universe that is none": ("meta", "UPDATE meta SET value = '10.32.0.0' WHERE key = 'universe'"),
    "a universe of the other family": ("meta", "UPDATE meta SET value = 'fd00::/64' WHERE key = 'universe'"),
    "a lease without an address": ("leases", "UPDATE leases SET address = '' WHERE lease = 'L00007'"),
    "a lease of an impossible prefix": ("leases", "UPDATE leases SET prefix_len = 33 WHERE lease = 'L00007'"),
    "a lease of a subnet with host bits": ("leases", "UPDATE leases SET subnet = '10.0.0.1/8' WHERE lease = 'L00007'"),
    "a lease without an id": ("leases", "UPDATE leases SET id = '' WHERE lease = 'L00007'"),
    "a lease of no time": ("leases", "UPDATE leases SET since = 'today' WHERE lease = 'L00007'"),
    "a lease of local time": ("leases", "UPDATE leases SET since = '2026-11-21T09:00:00' WHERE lease = 'L00007'"),
    "labels that are a list": ("leases", "UPDATE leases SET labels = '[]' WHERE lease = 'L00007'"),
    "labels that are no JSON": ("leases", "UPDATE leases SET labels = '{' WHERE lease = 'L00007'"),
    "half a Paxos value": ("paxos", "UPDATE paxos SET cluster = NULL"),
    "Paxos members that are numbers": ("paxos", "UPDATE paxos SET members = '[1]'"),
    "a rest that ends before it begins": ("quarantine", "UPDATE quarantine SET last = '10.0.0.0'"),
    "a standing that is none": ("peers", "UPDATE peers SET standing = 'gone'"),
    "a round neither done nor not": ("rounds", "UPDATE rounds SET done = 2"),
    "a round that took no ranges": ("rounds", "UPDATE rounds SET taken = '[[1]]'"),
    "a suspension that ends before it begins": ("suspended", "UPDATE suspended SET last = '10.0.0.0'"),
    "a conflict of no peers": ("conflicts", "UPDATE conflicts SET peers = 'host1'"),
}


@pytest.mark.parametrize(("table", "statement"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_row_that_ringipam_never_wrote_is_named(directory: Path, table: str, statement: str) -> None:
    forge(directory, table, statement)

    message = refusal(directory)

    assert f"table {table}" in message or "table tokens: there is none at the first address" in message
    assert "is damaged" in message
    assert "checksum" not in message


CHANGED_VALUES = {
    "meta": "UPDATE meta SET value = 'host1.3f9b' WHERE key = 'peer'",
    "tokens": "UPDATE tokens SET owner = 'host2.77c1' WHERE first = '10.32.0.16'",
    "leases": "UPDATE leases SET address = '10.32.0.9' WHERE lease = 'L00007'",
    "peers": "UPDATE peers SET standing = 'left'",
    "paxos": "UPDATE paxos SET promised_round = 4",
    "answered": "UPDATE answered SET number = 5",
    "quarantine": "UPDATE quarantine SET until_ms = 0",
    "conflicts": "UPDATE conflicts SET since_ms = 0",
    "boots": "UPDATE boots SET first = 2",
    "published": "UPDATE published SET head = 2",
    "points": "UPDATE points SET number = 2",
    "pledges": "UPDATE pledges SET epoch = 2",
    "rounds": "UPDATE rounds SET done = 0",
    "suspended": "UPDATE suspended SET last = '10.32.0.40'",
}


@pytest.mark.parametrize(("table", "statement"), CHANGED_VALUES.items(), ids=CHANGED_VALUES.keys())
def test_a_value_that_still_reads_well_but_is_not_what_was_written_is_noticed(
    directory: Path, table: str, statement: str
) -> None:
    spoil(directory, statement)

    message = refusal(directory)

    assert f"table {table}, row" in message
    assert "checksum does not fit" in message


@pytest.mark.parametrize("table", [*CHANGED_VALUES])
def test_a_row_that_was_lost_is_noticed(directory: Path, table: str) -> None:
    spoil(directory, f"DROP TRIGGER {table}_row_gone")
    spoil(directory, f"DELETE FROM {table} WHERE sum = (SELECT min(sum) FROM {table})")
    spoil(directory, DEFINITIONS[f"{table}_row_gone"])

    assert f"table {table}: of" in refusal(directory)


def test_every_table_of_the_state_is_watched() -> None:
    assert CHANGED_VALUES.keys() == COLUMNS.keys()


def test_definitions_that_were_changed_are_refused(directory: Path) -> None:
    spoil(directory, "DROP TRIGGER leases_row_gone")

    assert "the definition of leases_row_gone is not what it was" in refusal(directory)


def test_a_table_somebody_made_for_himself_does_no_harm(directory: Path) -> None:
    spoil(directory, "CREATE TABLE notes (text TEXT)")

    assert len(loaded(directory).leases) == 200


def test_two_spellings_of_one_address_are_refused(tmp_path: Path) -> None:
    claim = Claim(0, 1, ME, ME)
    store = Store.open(tmp_path, 6)
    store.commit([PutTokens((), ((1, claim),))])
    store.close()
    forge(tmp_path, "tokens", "INSERT INTO tokens SELECT '0:0::1', epoch, version, owner, writer, 0 FROM tokens")

    with pytest.raises(StoreError, match="it stands there twice"):
        Store.open(tmp_path, 6)


def test_text_that_is_no_text_is_refused(directory: Path) -> None:
    spoil(directory, "UPDATE peers SET address = CAST(x'ff41' AS TEXT)")

    assert "is damaged" in refusal(directory)


@pytest.mark.parametrize("size", [1, 15, 16, 99, 100, 511, 512, 4095, 4096, 4097, 8192, 20480, -4096, -1])
def test_a_truncated_database_is_refused(directory: Path, size: int) -> None:
    whole = (directory / "ringipam.db").read_bytes()
    (directory / "ringipam.db").write_bytes(whole[:size])

    refusal(directory)


def running(tmp_path: Path) -> Path:
    """The files of a node as a power cut would leave them: most of what it wrote is in the log."""
    store = Store.open(tmp_path / "running", 4)
    fill(store)
    shutil.copytree(tmp_path / "running", tmp_path / "cut", ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    return tmp_path / "cut"


def test_the_log_of_a_node_that_was_cut_off_is_read(tmp_path: Path) -> None:
    directory = running(tmp_path)

    assert loaded(directory) == loaded(tmp_path / "running")


@pytest.mark.parametrize("keep", [-4096, 8192, 100])
def test_a_damaged_database_with_a_log_is_left_as_it_is(tmp_path: Path, keep: int) -> None:
    """A connection that may write would fold the log into the damaged file when it is closed."""
    store = Store.open(tmp_path / "running", 4)
    fill(store)
    store.reopen()  # folds the log: what follows is all that is in it
    store.commit([PutAnswered("host2.77c1", 5)])
    shutil.copytree(tmp_path / "running", tmp_path / "cut", ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    database = tmp_path / "cut" / "ringipam.db"
    database.write_bytes(database.read_bytes()[:keep])

    refusal(tmp_path / "cut")

    assert files(tmp_path / "cut").keys() == {"ringipam.db", "ringipam.db-wal"}


def test_a_torn_log_gives_what_was_committed_before_it_or_a_refusal(tmp_path: Path) -> None:
    directory = running(tmp_path)
    log = (directory / "ringipam.db-wal").read_bytes()
    database = (directory / "ringipam.db").read_bytes()
    leases = []
    for size in range(0, len(log), 5_000):
        (directory / "ringipam.db").write_bytes(database)
        (directory / "ringipam.db-wal").write_bytes(log[:size])
        with suppress(StoreError):  # the ring is missing where the log ends before it was formed
            leases.append(len(loaded(directory).leases))

    assert set(leases) == {0, 200}


def test_addresses_and_times_are_text_for_the_shell(directory: Path) -> None:
    db = sqlite3.connect(directory / "ringipam.db")
    row = db.execute("SELECT id, address, subnet, since, labels FROM leases WHERE lease = 'L00000'").fetchone()
    rest = db.execute("SELECT first, last FROM quarantine").fetchone()
    db.close()

    assert row == ("c0", "10.32.0.1", "10.32.0.0/12", "2026-11-21T09:00:00Z", '{"a": "b"}')
    assert rest == ("10.32.3.232", "10.32.3.234")
