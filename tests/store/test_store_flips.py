"""Bytes of the database or its log are not what was written: refused, or harmless (S12, S14).

Harmless is, in the database itself, that what is loaded is the truth. The end of the log cannot be told from one that
was torn by a power cut, so there it may also be a state that was committed earlier: of that, peers tell (S12).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_store_damage import COMMITS, fill, lease, loaded

from ringipam.core.durable import PutLease, PutMeta, Stored
from ringipam.errors import StoreError
from ringipam.store.store import Store

FLIPS = 200


def stopped(store: Store, directory: Path, to: Path) -> None:
    fill(store)
    store.close()
    shutil.copytree(directory, to)


def cut_off(store: Store, directory: Path, to: Path) -> None:
    """All there is stands in the log."""
    fill(store)
    shutil.copytree(directory, to, ignore=shutil.ignore_patterns("*-shm"))
    store.close()


def cut_off_when_folded(store: Store, directory: Path, to: Path) -> None:
    """The log is whole and every page of it is in the database already: a shorter log is older than the database."""
    fill(store)
    shell = sqlite3.connect(directory / "ringipam.db")
    assert shell.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
    shutil.copytree(directory, to, ignore=shutil.ignore_patterns("*-shm"))
    shell.close()
    store.close()


Ending = Callable[[Store, Path, Path], None]


def history() -> list[Stored]:
    """Every state that was ever committed, the latest last."""
    states = [Stored()]
    for number in range(len(COMMITS)):
        state = Stored()
        for changes in COMMITS[: number + 1]:
            for change in changes:
                state.apply(change)
        states.append(state)
    return states


@pytest.mark.parametrize(
    ("ending", "file"),
    [
        (stopped, "ringipam.db"),
        (cut_off, "ringipam.db"),
        (cut_off, "ringipam.db-wal"),
        (cut_off_when_folded, "ringipam.db"),
        (cut_off_when_folded, "ringipam.db-wal"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_byte_that_was_changed_is_named_or_does_no_harm(tmp_path: Path, ending: Ending, file: str) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    ending(Store.open(tmp_path / "running", 4), tmp_path / "running", original)
    whole = (original / file).read_bytes()
    assert loaded(shutil.copytree(original, tmp_path / "whole")) == history()[-1]
    harmless = history() if file.endswith("-wal") else history()[-1:]
    chance = random.Random(f"{ending.__name__} {file}")
    wrong, said = [], []

    for offset in [*range(100), *(chance.randrange(len(whole)) for _ in range(FLIPS))]:
        spoiled = bytearray(whole)
        spoiled[offset] ^= chance.randrange(1, 256)
        shutil.copytree(original, copy)
        (copy / file).write_bytes(spoiled)
        try:
            if loaded(copy) not in harmless:
                wrong.append(offset)
        except StoreError as error:
            said.append(error.message)
            if (copy / file).read_bytes() != spoiled:
                wrong.append(offset)  # the evidence is gone
        shutil.rmtree(copy)

    assert not wrong
    assert [message for message in said if f"{copy}/ringipam.db" not in message or "\n" in message] == []
    if file == "ringipam.db" and ending is stopped:
        assert len(said) > FLIPS // 4


def test_a_copy_made_while_the_node_writes_is_a_state_that_was_committed_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are of different moments: the log may have been folded in between, and begun anew."""
    monkeypatch.setattr("ringipam.store.store.CHECKPOINT_PAGES", 10)
    store = Store.open(tmp_path / "running", 4)
    store.commit([PutMeta("commit", "-1")])
    enough = threading.Event()

    def write() -> None:
        number = 0
        while not enough.is_set():
            store.commit([PutLease(lease(number)), PutMeta("commit", str(number))])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(30):
            copied = tmp_path / f"c{number}"
            copied.mkdir()
            for name in ("initialised", "ringipam.db", "ringipam.db-wal"):
                shutil.copyfile(tmp_path / "running" / name, copied / name)
    finally:
        enough.set()
        writer.join()
    store.close()

    wrong = []
    for number in range(30):
        with suppress(StoreError):
            found = loaded(tmp_path / f"c{number}")
            if sorted(found.leases) != [lease(at).lease for at in range(int(found.meta["commit"]) + 1)]:
                wrong.append(number)
    assert not wrong


def test_a_log_that_ends_early_gives_an_earlier_state(tmp_path: Path) -> None:
    with_log = tmp_path / "cut"
    store = Store.open(tmp_path / "running", 4)
    cut_off(store, tmp_path / "running", with_log)
    log = with_log / "ringipam.db-wal"
    log.write_bytes(log.read_bytes()[:-1])

    assert loaded(with_log) == history()[-2]


def test_a_store_goes_on_after_harmless_damage(tmp_path: Path) -> None:
    directory = tmp_path / "cut"
    cut_off(Store.open(tmp_path / "running", 4), tmp_path / "running", directory)
    log = directory / "ringipam.db-wal"
    log.write_bytes(log.read_bytes()[:-1])
    store = Store.open(directory, 4)

    store.commit([PutLease(lease(500)), PutMeta("boots", "2")])
    store.reopen()

    assert "L00500" in store.load().leases
    store.close()
