"""Backup, check, repair and history: what they find, what they mend, and that evidence stays."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_store_damage import CLAIM, DEFINITIONS, ME, START, SUBNET, directory, fill, forge, lease, loaded, spoil

from ringipam.address import Range, to_address
from ringipam.claim import Claim
from ringipam.core.durable import (
    BeginAnew,
    Change,
    Pledge,
    PutBoot,
    PutLease,
    PutMeta,
    PutPledge,
    PutPublished,
    PutRound,
    PutTokens,
    Record,
    Recorded,
    Round,
    Stored,
    Suspensions,
)
from ringipam.core.memory import Memory
from ringipam.errors import OutOfRangeError, StoreError
from ringipam.ring.space import Rows
from ringipam.store.backup import back_up
from ringipam.store.history import history
from ringipam.store.inspection import inspect
from ringipam.store.invariants import breaches
from ringipam.store.repair import repair
from ringipam.store.statements import HISTORY_ROWS_MAX
from ringipam.store.store import Store

__all__ = ["directory"]  # the fixture

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
AT = int(SUBNET[1])


def commit(directory: Path, *changes: Change) -> None:
    store = Store.open(directory, 4)
    store.commit(changes)
    store.close()


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# ── backup ────────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_is_one_file_for_its_owner_that_holds_what_was_committed(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "running", 4)
    fill(store)
    (tmp_path / "restored").mkdir()
    file = tmp_path / "restored" / "ringipam.db"

    back_up(tmp_path / "running", file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["ringipam.db"]
    assert loaded(tmp_path / "restored") == store.load()
    store.close()


def test_a_backup_takes_the_place_of_nothing(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(StoreError, match="there already"):
        back_up(directory, tmp_path / "notes")

    assert (tmp_path / "notes").read_text() == "mine"


def test_a_backup_of_nothing_or_of_what_is_damaged_leaves_no_file(directory: Path, tmp_path: Path) -> None:
    database = directory / "ringipam.db"
    database.write_bytes(database.read_bytes()[:-4096])

    with pytest.raises(StoreError, match=r"damaged|malformed"):
        back_up(directory, tmp_path / "copy")
    with pytest.raises(StoreError, match="no database"):
        back_up(tmp_path, tmp_path / "copy")
    with pytest.raises(StoreError, match="cannot write"):
        back_up(directory, tmp_path / "nowhere" / "copy")

    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_backup_under_load_is_a_state_that_was_committed(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "running", 4)
    store.commit([PutMeta("peer", ME)])
    enough = threading.Event()

    def load() -> None:
        number = 0
        while not enough.is_set():
            store.commit([PutLease(lease(number)), PutMeta("commit", str(number))])
            number += 1

    writer = threading.Thread(target=load)
    writer.start()
    try:
        for number in range(5):
            (tmp_path / f"r{number}").mkdir()
            back_up(tmp_path / "running", tmp_path / f"r{number}" / "ringipam.db")
    finally:
        enough.set()
        writer.join()
    store.close()

    for number in range(5):
        found = loaded(tmp_path / f"r{number}")
        assert len(found.leases) == int(found.meta.get("commit", "-1")) + 1


# ── check ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_node_left_is_sound_and_looking_changes_nothing(directory: Path) -> None:
    before = everything(directory)

    found = inspect(directory)

    assert found.faults == []
    assert found.sound
    assert found.stored == loaded(directory)
    assert len(found.history) == 20
    assert everything(directory).keys() == before.keys()


def test_the_commits_of_a_peer_are_sound_as_it_notes_them(directory: Path) -> None:
    memory = Memory(Stored(), "nonce")
    began = memory.begin()
    noted = memory.commit([began], 1_000)
    published = memory.publish()
    assert noted is not None
    assert published is not None

    commit(directory, began, noted, published)

    assert inspect(directory).faults == []


def test_a_directory_in_use_is_not_looked_over(directory: Path) -> None:
    store = Store.open(directory, 4)

    with pytest.raises(StoreError, match="in use by process"):
        inspect(directory)
    store.close()


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no data directory"):
        inspect(tmp_path / "data")

    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "is gone"), (b"", "is empty"), (b"notes " * 900, "cannot be read|not a database")]
)
def test_a_database_that_is_none_is_named(directory: Path, content: bytes | None, says: str) -> None:
    (directory / "ringipam.db").unlink()
    if content is not None:
        (directory / "ringipam.db").write_bytes(content)

    (fault,) = inspect(directory).faults

    assert fault.startswith("the database") or "not a database" in fault
    assert any(word in fault for word in says.split("|"))


def test_every_damaged_row_is_named_at_once(directory: Path) -> None:
    spoil(directory, "UPDATE leases SET address = '10.32.9.9' WHERE lease IN ('L00003', 'L00007')")
    spoil(directory, "UPDATE history SET owner = 'host9' WHERE number = 4")

    found = inspect(directory)

    assert [fault.split(":")[0] for fault in found.faults] == [
        "table leases, row 'L00003'",
        "table leases, row 'L00007'",
        "table history, row 4",
    ]
    assert len(found.stored.leases) == 198


BREACHES: dict[str, tuple[Sequence[Change], str]] = {
    "tokens alike": ([PutTokens((), ((START + 8, Claim(0, 0, ME, ME)),))], "not in normal form"),
    "rests that overlap": ([Rows((), ((START + 1001, START + 1009, 5),))], "rests overlap"),
    "a lease that rests": ([Rows((), ((START + 3, START + 5, 5),))], "leased addresses rest"),
    "suspended elsewhere": ([Suspensions((), (Range(START - 8, START - 4),))], "suspended"),
    "an owner who is no member": ([PutTokens((), ((START + 4096, Claim(0, 9, "h9.9", ME)),))], "no members: h9.9"),
    "a promise of nothing": ([PutPledge("h9.9", Pledge(0, ()))], "the promise made to h9.9"),
    "a removal of oneself": ([PutRound(9, Round((ME,), False, ()))], "the removal of epoch 9"),
    "a process of the future": ([PutBoot("n9", 99)], "process n9 began with commit 99"),
    "a commit of the future": ([PutPublished(99, 1)], "commit 99 is known to others"),
    "a number that is none": ([PutMeta("epoch", "one")], "'epoch' is no number"),
}


@pytest.mark.parametrize(("changes", "says"), BREACHES.values(), ids=BREACHES.keys())
def test_an_invariant_that_does_not_hold_is_named(directory: Path, changes: Sequence[Change], says: str) -> None:
    commit(directory, *changes)

    faults = inspect(directory).faults

    assert len(faults) == 1
    assert says in faults[0]


def test_an_address_that_is_leased_twice_is_named(directory: Path) -> None:
    forge(directory, "leases", "UPDATE leases SET address = '10.32.0.9' WHERE lease = 'L00003'")

    assert inspect(directory).faults == ["state: 10.32.0.9 is leased 2 times: c3, c8"]


def test_leases_where_others_own_are_worth_a_note_and_no_fault(directory: Path) -> None:
    commit(directory, BeginAnew("host1.ffff"))

    found = inspect(directory)

    assert found.faults == []
    assert "c0 10.32.0.1" in found.notes[0]
    assert "and 195 more" in found.notes[0]


def test_a_peer_that_knows_nothing_yet_is_sound() -> None:
    assert breaches(Stored(), 4) == []


# ── repair ────────────────────────────────────────────────────────────────────────────────────────


def mended(directory: Path, answer: bool = True) -> tuple[bool, list[str], list[str]]:
    """Whether all is sound afterwards; what was said; what was asked."""
    said: list[str] = []
    asked: list[str] = []

    def ask(what: str) -> bool:
        asked.append(what)
        return answer

    return repair(directory, NOW, ask, said.append), said, asked


def kept(directory: Path) -> Path:
    return directory.with_name("data.before-repair-20261121T090000Z")


def test_what_is_sound_is_left_alone(directory: Path) -> None:
    before = everything(directory)

    assert mended(directory) == (True, ["sound: there is nothing to repair"], [])
    assert everything(directory) == before
    assert not kept(directory).exists()


MENDABLE = ["tokens alike", "rests that overlap", "a lease that rests", "an owner who is no member"]


@pytest.mark.parametrize("breach", MENDABLE)
def test_what_can_be_mended_without_loss_is_mended_after_a_copy(directory: Path, breach: str) -> None:
    changes, says = BREACHES[breach]
    commit(directory, *changes)
    before = everything(directory)
    state = loaded(directory)

    sound, said, asked = mended(directory)

    assert sound
    assert says in asked[0]
    assert any(str(kept(directory)) in line for line in said)
    assert (kept(directory) / "ringipam.db").read_bytes() == before["ringipam.db"]
    assert stat.S_IMODE(kept(directory).stat().st_mode) == 0o700
    assert loaded(directory).leases == state.leases


def test_of_two_rests_the_longer_stands(directory: Path) -> None:
    commit(directory, *BREACHES["rests that overlap"][0])

    mended(directory)

    assert loaded(directory).quarantine == {
        START + 1000: (START + 1003, 1_800_000_000_000),
        START + 1003: (START + 1009, 5),
    }


def test_whoever_says_no_gets_nothing_changed(directory: Path) -> None:
    commit(directory, *BREACHES["tokens alike"][0])
    before = loaded(directory)

    sound, said, asked = mended(directory, answer=False)

    assert not sound
    assert len(asked) == 1
    assert loaded(directory) == before
    assert any("remain" in line for line in said)


@pytest.mark.parametrize("breach", sorted(BREACHES.keys() - set(MENDABLE)))
def test_what_would_be_a_guess_is_not_asked_for(directory: Path, breach: str) -> None:
    commit(directory, *BREACHES[breach][0])
    before = loaded(directory)

    sound, _, asked = mended(directory)

    assert (sound, asked) == (False, [])
    assert loaded(directory) == before


def test_a_lost_lease_is_not_made_up_for_and_the_others_are_saved(directory: Path) -> None:
    spoil(directory, "UPDATE leases SET address = '10.32.9.9' WHERE lease = 'L00003'")
    before = (directory / "ringipam.db").read_bytes()

    sound, said, asked = mended(directory)

    assert (sound, asked) == (False, [])
    assert (directory / "ringipam.db").read_bytes() == before
    saved = directory.with_name("data.salvaged-20261121T090000Z.json")
    data = json.loads(saved.read_text())
    assert (data["peer"], len(data["leases"])) == (ME, 199)
    assert "L00003" in data["faults"][0]
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert f"`ringipam remove-peer` for {ME}" in said[-1]


def test_a_row_that_vanished_is_not_counted_away(directory: Path) -> None:
    spoil(directory, "DROP TRIGGER leases_row_gone")
    spoil(directory, "DELETE FROM leases WHERE lease = 'L00003'")
    spoil(directory, DEFINITIONS["leases_row_gone"])

    sound, _, asked = mended(directory)

    assert (sound, asked) == (False, [])


def test_a_count_that_was_damaged_is_counted_anew(directory: Path) -> None:
    before = loaded(directory)
    spoil(directory, "UPDATE sums SET rows = 5 WHERE name = 'leases'")

    sound, _, asked = mended(directory)

    assert sound
    assert "count the rows of leases anew" in asked[0]
    assert loaded(directory) == before


def test_damaged_lines_of_the_audit_log_are_dropped_when_asked(directory: Path) -> None:
    before = loaded(directory)
    spoil(directory, "UPDATE history SET owner = 'host9' WHERE number = 4")
    assert loaded(directory) == before, "nothing is decided by the audit log"

    sound, _, asked = mended(directory)

    assert sound
    assert "drop 1 damaged lines" in asked[0]
    assert len(inspect(directory).history) == 19


def test_a_file_that_is_damaged_between_its_rows_is_written_anew(directory: Path) -> None:
    before = loaded(directory)
    database = directory / "ringipam.db"
    content = bytearray(database.read_bytes())
    content[36:40] = (3).to_bytes(4, "big")  # how many pages are in use by nothing
    database.write_bytes(content)
    with pytest.raises(StoreError):
        loaded(directory)

    sound, _, asked = mended(directory)

    assert sound
    assert "write the file anew" in asked[0]
    assert loaded(directory) == before
    assert len(inspect(directory).history) == 20
    assert (kept(directory) / "ringipam.db").read_bytes() == content


def test_definitions_that_were_changed_are_made_anew(directory: Path) -> None:
    before = loaded(directory)
    spoil(directory, "DROP TRIGGER leases_row_gone")
    assert inspect(directory).faults == ["file: the definition of leases_row_gone is not what it was"]

    sound, _, asked = mended(directory)

    assert sound
    assert "write the file anew" in asked[0]
    assert loaded(directory) == before


def test_what_another_version_wrote_is_not_taken_for_damaged(directory: Path) -> None:
    for version, says in ((1, "an older ringipam"), (99, "a newer ringipam")):
        spoil(directory, f"PRAGMA user_version = {version}")
        for look in (inspect, mended):
            with pytest.raises(StoreError, match=says):
                look(directory)
    assert not kept(directory).exists()


def test_the_leases_on_both_sides_of_a_damaged_page_are_saved(directory: Path) -> None:
    """SQLite reads a table up to a damaged page, from either end."""
    database = directory / "ringipam.db"
    content = bytearray(database.read_bytes())
    page = content.index(b"L00100") // 4096
    content[page * 4096 : page * 4096 + 8] = bytes(8)
    database.write_bytes(content)

    sound, _, asked = mended(directory)

    saved = json.loads(directory.with_name("data.salvaged-20261121T090000Z.json").read_text())
    ids = {found["lease"] for found in saved["leases"]}
    assert (sound, asked) == (False, [])
    assert {"L00000", "L00199"} <= ids
    assert "L00100" not in ids


def test_a_directory_in_use_is_not_repaired(directory: Path) -> None:
    store = Store.open(directory, 4)

    with pytest.raises(StoreError, match="in use by process"):
        mended(directory)
    store.close()


# ── history ───────────────────────────────────────────────────────────────────────────────────────


def test_history_is_what_is_recorded_of_the_ranges_around_an_address(tmp_path: Path) -> None:
    store = Store.open(tmp_path, 4)
    first = Recorded(5, START, START + 16, "", CLAIM, ME)
    second = Recorded(9, START + 8, START + 12, ME, Claim(0, 2, "host2.77c1", ME), ME)
    store.commit([Record((first, second))])

    at_ms = {offset: _times(tmp_path, START + offset) for offset in (0, 7, 8, 11, 12, 15, 16)}

    assert at_ms == {0: [5], 7: [5], 8: [5, 9], 11: [5, 9], 12: [5], 15: [5], 16: []}
    assert history(tmp_path, 4, START + 8)["history"][1] == {  # type: ignore[index]
        "at_ms": 9,
        "first": "10.32.0.8",
        "last": "10.32.0.11",
        "before": ME,
        "owner": "host2.77c1",
        "epoch": 0,
        "version": 2,
        "writer": ME,
        "source": ME,
    }
    store.close()


def _times(directory: Path, address: int) -> list[int]:
    lines = history(directory, 4, address)["history"]
    assert isinstance(lines, list)
    return [line["at_ms"] for line in lines]


def test_history_reaches_to_both_ends_of_ipv6(tmp_path: Path) -> None:
    store = Store.open(tmp_path, 6)
    store.commit([Record((Recorded(5, 0, 1 << 128, "", CLAIM, ME),))])
    store.close()

    for address in (0, 9 << 100, (1 << 128) - 1):
        assert history(tmp_path, 6, address)["address"] == str(to_address(6, address))
        assert len(history(tmp_path, 6, address)["history"]) == 1  # type: ignore[arg-type]
    with pytest.raises(OutOfRangeError):
        history(tmp_path, 4, START)


def test_the_audit_log_forgets_the_oldest(tmp_path: Path) -> None:
    store = Store.open(tmp_path, 4)
    lines = [Recorded(number, START, START + 1, "", CLAIM, ME) for number in range(HISTORY_ROWS_MAX + 5)]
    for number in range(0, len(lines), 20_000):
        store.commit([Record(tuple(lines[number : number + 20_000]))])
    store.close()
    db = sqlite3.connect(tmp_path / "ringipam.db")

    assert db.execute("SELECT count(*), min(at_ms), max(at_ms) FROM history").fetchone() == (
        HISTORY_ROWS_MAX,
        5,
        HISTORY_ROWS_MAX + 4,
    )
    db.close()
    assert inspect(tmp_path).rows == []


def test_history_of_a_damaged_line_is_refused_and_of_no_database_too(directory: Path, tmp_path: Path) -> None:
    spoil(directory, "UPDATE history SET owner = 'host9' WHERE number = 4")

    with pytest.raises(StoreError, match="line 4 is damaged"):
        history(directory, 4, AT)
    with pytest.raises(StoreError, match="no database"):
        history(tmp_path, 4, AT)
