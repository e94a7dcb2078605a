"""What the daemon's log looks like, and that nobody can fill a disk through it."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ringipam.journal import KINDS_MAX, LINES_MAX, WINDOW_S, Journal, Limit, read_by_the_journal


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("ringipam")  # one of its own: what tests of other things log does not count
    yield logger
    logger.handlers.clear()


class Pipe(io.StringIO):
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


def writing(logger: logging.Logger, format_: str = "text", *, prefixed: bool = False) -> tuple[Pipe, Journal]:
    pipe = Pipe()
    journal = Journal(pipe, format_, prefixed=prefixed)
    logger.addHandler(journal)
    return pipe, journal


# ── how a line looks ──────────────────────────────────────────────────────────────────────────────


def test_text_is_time_level_and_what_happened(logger: logging.Logger) -> None:
    pipe, _ = writing(logger)

    logger.warning("cannot reach %s", "host2")

    [line] = pipe.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING cannot reach host2", line)


def test_json_is_one_object_a_line_with_the_peer_where_it_is_known(logger: logging.Logger) -> None:
    pipe, _ = writing(logger, "json")

    logger.error("refusing host2", extra={"peer": "host2.77c1"})
    logger.info("stopping")

    refusing, stopping = map(json.loads, pipe.lines())
    assert refusing | {"time": ""} == {"time": "", "level": "error", "event": "refusing host2", "peer": "host2.77c1"}
    assert stopping.keys() == {"time", "level", "event"}


@pytest.mark.parametrize(("level", "priority"), [("CRITICAL", 2), ("ERROR", 3), ("WARNING", 4), ("INFO", 6)])
@pytest.mark.parametrize("format_", ["text", "json"])
def test_the_journal_is_told_the_priority_of_every_line(
    logger: logging.Logger, level: str, priority: int, format_: str
) -> None:
    pipe, _ = writing(logger, format_, prefixed=True)

    try:
        raise ZeroDivisionError("a defect")
    except ZeroDivisionError:
        logger.log(logging.getLevelNamesMapping()[level], "failed", exc_info=True)

    assert all(line.startswith(f"<{priority}>") for line in pipe.lines())
    assert "ZeroDivisionError: a defect" in pipe.getvalue()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_nothing_that_a_client_or_peer_says_makes_a_second_line_or_draws_on_a_terminal(
    logger: logging.Logger, format_: str
) -> None:
    pipe, _ = writing(logger, format_)

    logger.warning("%s failed", "GET /\n2026-11-21T09:00:00.000Z ERROR forged\x1b[2J")

    [line] = pipe.lines()
    assert "\x1b" not in line
    assert "forged" in line


def test_a_log_that_nobody_reads_stops_nobody(logger: logging.Logger, tmp_path: Path) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115  # closing it would flush, and fail again
    logger.addHandler(Journal(full, "text"))

    logger.warning("said to nobody")

    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_only_what_leads_to_the_journal_is_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as file:
        status = (tmp_path / "journal").stat()
        assert not read_by_the_journal(journal)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

        assert read_by_the_journal(journal)
        assert not read_by_the_journal(file), "redirected after systemd had set the variable"
    assert not read_by_the_journal(io.StringIO())


# ── how much is written ───────────────────────────────────────────────────────────────────────────


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def line(text: str, *arguments: object, **extra: str) -> logging.LogRecord:
    record = logging.LogRecord("ringipam", logging.WARNING, "", 0, text, arguments, None)
    record.__dict__.update(extra)
    return record


def test_of_one_kind_only_so_many_lines_are_written_in_a_while() -> None:
    limit = Limit(time := Time())

    written = sum(limit.filter(line("closed a connection from %s", host)) for host in range(1_000))
    others = limit.filter(line("the disk works again"))

    assert (written, others) == (LINES_MAX, True)
    time.now += WINDOW_S
    assert [record.getMessage() for record in limit.overdue()] == [
        f"{1_000 - LINES_MAX} more lines of this kind were left out, the last of them: closed a connection from 999"
    ]
    assert limit.filter(line("closed a connection from %s", "host2"))


def test_how_many_were_left_out_is_told_even_if_no_line_of_the_kind_follows() -> None:
    limit = Limit(time := Time())
    for _ in range(LINES_MAX + 1):
        limit.filter(line("closed"))

    assert limit.overdue() == []
    time.now += WINDOW_S
    assert len(limit.overdue()) == 1
    assert limit.overdue() == []


def test_at_the_end_everything_that_was_left_out_is_told(logger: logging.Logger) -> None:
    pipe, journal = writing(logger)
    for _ in range(LINES_MAX + 3):
        logger.warning("closed")

    journal.tell_left_out(all_of_them=True)

    assert len(pipe.lines()) == LINES_MAX + 1
    assert "3 more lines of this kind" in pipe.lines()[-1]


def test_what_varies_in_a_line_makes_no_kind_of_its_own() -> None:
    limit = Limit(Time())

    written = sum(
        limit.filter(line("%s", f"{n} is outside", kind="outside", peer=f"host{n}.77c1")) for n in range(1_000)
    )

    assert written == LINES_MAX


def test_lines_at_a_quiet_pace_are_all_written() -> None:
    limit = Limit(time := Time())
    for _ in range(1_000):
        assert limit.filter(line("every second"))
        time.now += 1.0

    time.now += WINDOW_S
    assert limit.overdue() == []


def test_memory_does_not_grow_with_the_number_of_kinds() -> None:
    limit = Limit(Time())
    for number in count():
        limit.filter(line(f"kind {number}"))
        if number > 3 * KINDS_MAX:
            break

    assert len(limit._windows) == KINDS_MAX
