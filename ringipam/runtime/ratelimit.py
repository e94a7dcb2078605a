"""Log lines that strangers can cause, at a rate that fills no disk."""

from __future__ import annotations

import logging

import trio

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
"""Where the lines of a node go: the logger, or what marks them as those of one of two nodes."""

PAUSE_S = 10.0
SOURCES_MAX = 256


class RateLimitedLog:
    """One line for each source in `PAUSE_S`; the next one says how many were left out."""

    def __init__(self, logger: Log) -> None:
        self._logger = logger
        self._sources: dict[str, tuple[float, int]] = {}  # when it was last heard, lines left out since; oldest first

    def warning(self, source: str, text: str) -> None:
        """Log `text`, unless `source` had a line a moment ago."""
        now = trio.current_time()
        last, left_out = self._sources.pop(source, (None, 0))
        if last is not None and now - last < PAUSE_S:
            self._sources[source] = (last, left_out + 1)
            return
        if len(self._sources) >= SOURCES_MAX:
            del self._sources[next(iter(self._sources))]
        self._sources[source] = (now, 0)
        more = f" (and {left_out} more like it)" if left_out else ""
        self._logger.warning("%s%s", text, more, extra={"peer": source})
