"""What strangers can make us log."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from ringipam.runtime.ratelimit import PAUSE_S, SOURCES_MAX, RateLimitedLog


async def test_one_source_has_one_line_at_a_time(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(logging.getLogger("ringipam"))
    for _ in range(1000):
        log.warning("192.0.2.1", "garbage")
    log.warning("192.0.2.2", "garbage too")
    mock_clock.jump(PAUSE_S)
    log.warning("192.0.2.1", "garbage")

    assert caplog.messages == ["garbage", "garbage too", "garbage (and 999 more like it)"]
    assert [vars(record)["peer"] for record in caplog.records] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]


async def test_memory_does_not_grow_with_the_number_of_sources(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(logging.getLogger("ringipam"))
    for number in range(SOURCES_MAX * 3):
        log.warning(f"2001:db8::{number:x}", "garbage")
        await trio.lowlevel.checkpoint()

    assert len(log._sources) == SOURCES_MAX
