"""The watchdog hears of the daemon only while its core answers (docs/operations.md, "As a service")."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from asking import Book

from ringipam import daemon
from ringipam.errors import NotReadyError

WATCHED_S = 60


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(WATCHED_S * 1_000_000))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


async def beats(manager: socket.socket, for_s: float) -> int:
    """How many come in so long a time; a socket holds ten, so they are taken as they come."""
    count, end = 0, trio.current_time() + for_s
    while trio.current_time() < end:
        await trio.sleep(WATCHED_S / 10)
        with suppress(BlockingIOError):
            count += "WATCHDOG=1" in manager.recv(4096).decode().split("\n")
    return count


async def test_a_core_that_does_not_answer_misses_its_watchdog(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    node = Book()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, node)
        assert await beats(manager, 10.2 * WATCHED_S) == 20, "twice in the time that it has"

        node.holding = hangs = trio.Event()
        assert await beats(manager, 10 * WATCHED_S) == 0

        node.holding = None
        hangs.set()
        assert await beats(manager, 10 * WATCHED_S) >= 19
        nursery.cancel_scope.cancel()


async def test_a_node_that_only_refuses_is_not_alive_either(manager: socket.socket, autojump_clock: MockClock) -> None:
    node = Book()
    node.refusal = NotReadyError("there is nothing to tell")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, node)

        assert await beats(manager, 10 * WATCHED_S) == 0
        nursery.cancel_scope.cancel()


async def test_a_manager_that_is_gone_or_reads_nothing_holds_up_nobody(
    manager: socket.socket, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, Book())
        await trio.sleep(2_000 * WATCHED_S)  # many more beats than the socket holds
        nursery.cancel_scope.cancel()

    assert "cannot notify the service manager" in caplog.text
