"""The daemon's log on standard error: how a line looks, and how many of one kind are written in a while."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TextIO

WINDOW_S = 10.0
LINES_MAX = 20
"""Of one kind, in a window."""
KINDS_MAX = 256

PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""syslog(3)'s numbers, as the journal takes them (sd-daemon(3))."""


@dataclass(slots=True)
class _Window:
    """What was written of one kind of line lately."""

    ends_s: float
    last: logging.LogRecord
    lines: int = 0
    left_out: int = 0


class Limit(logging.Filter):
    """Lets at most `LINES_MAX` lines of a kind through in `WINDOW_S`; `overdue` then tells how many were left out.

    The kind of a line is what its caller calls it (`extra={"kind": …}`), else its text before anything was put into
    it: not what a peer or a client can choose. So the log grows at a rate that the number of kinds bounds.
    """

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._windows: dict[tuple[str, int, str], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._now_s()
        kind = (record.name, record.levelno, getattr(record, "kind", "") or record.msg)
        window = self._windows.get(kind)
        if window is None or (now >= window.ends_s and not window.left_out):
            if window is None and len(self._windows) >= KINDS_MAX:
                del self._windows[next(iter(self._windows))]
            window = self._windows[kind] = _Window(now + WINDOW_S, record)
        window.last = record
        window.lines += 1
        window.left_out += window.lines > LINES_MAX
        return window.lines <= LINES_MAX

    def overdue(self, *, all_of_them: bool = False) -> list[logging.LogRecord]:
        """A line for each kind of which some were left out, once its window is over; then it begins anew."""
        told = []
        for kind, window in list(self._windows.items()):
            if all_of_them or self._now_s() >= window.ends_s:
                del self._windows[kind]
                if window.left_out:
                    told.append(_summary(window.last, window.left_out))
        return told


def _summary(last: logging.LogRecord, left_out: int) -> logging.LogRecord:
    text = f"{left_out} more lines of this kind were left out, the last of them: {last.getMessage()}"
    return logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, text, None, None)


class Journal(logging.Handler):
    """Writes to `stream`, in one of `LOG_FORMATS`; each line begins with its priority if the journal reads it."""

    def __init__(self, stream: TextIO, format_: str, *, prefixed: bool = False) -> None:
        super().__init__()
        self._stream = stream
        self._render = _as_json if format_ == "json" else _as_journal_text if prefixed else _as_text
        self._prefixed = prefixed
        self._limit = Limit()
        self.addFilter(self._limit)

    @property
    def for_machines(self) -> bool:
        """Whether whoever reads it expects lines of this form only."""
        return self._prefixed or self._render is _as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            prefix = f"<{PRIORITIES.get(record.levelno, 6)}>" if self._prefixed else ""
            self._stream.write("".join(f"{prefix}{line}\n" for line in self._render(record)))
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            pass  # nobody reads it any more; the daemon has more to do than to talk

    def tell_left_out(self, *, all_of_them: bool = False) -> None:
        """Write how many lines were left out in windows that are over, or in all."""
        for record in self._limit.overdue(all_of_them=all_of_them):
            self.emit(record)


def open_journal(format_: str) -> Journal:
    """From now on everything that is logged goes to standard error in this form."""
    journal = Journal(sys.stderr, format_, prefixed=read_by_the_journal(sys.stderr))
    logging.basicConfig(level=logging.INFO, handlers=[journal], force=True)
    return journal


def read_by_the_journal(stream: TextIO) -> bool:
    """Whether `stream` leads to systemd's journal, as the environment says (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _as_text(record: logging.LogRecord) -> list[str]:
    return [f"{_time(record)} {record.levelname} {_text(record)}", *_traceback(record)]


def _as_journal_text(record: logging.LogRecord) -> list[str]:
    """The journal knows the time, and the level from the prefix."""
    return [_text(record), *_traceback(record)]


def _as_json(record: logging.LogRecord) -> list[str]:
    line: dict[str, object] = {"time": _time(record), "level": record.levelname.lower(), "event": _text(record)}
    if peer := getattr(record, "peer", ""):
        line["peer"] = peer
    if traceback := _traceback(record):
        line["traceback"] = traceback
    return [json.dumps(line, ensure_ascii=False)]


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(record: logging.LogRecord) -> str:
    """One line that does nothing to a terminal, whatever was put into it."""
    text = record.getMessage()
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _traceback(record: logging.LogRecord) -> list[str]:
    return logging.Formatter().formatException(record.exc_info).splitlines() if record.exc_info else []
