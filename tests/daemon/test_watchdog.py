"""The watchdog hears of the daemon only while its core answers (docs/operations.md, "As a service")."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
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


def beats(manager: socket.socket) -> int:
    """How many there were since this was asked last."""
    count = 0
    while True:
        try:
            count += "WATCHDOG=1" in manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return count


async def test_a_core_that_does_not_answer_misses_its_watchdog(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    node = Book()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, node)
        await trio.sleep(10.5 * WATCHED_S)
        assert beats(manager) == 21, "twice in the time that it has"

        node.holding = trio.Event()
        await trio.sleep(10 * WATCHED_S)
        assert beats(manager) == 0

        node.holding.set()
        node.holding = None
        await trio.sleep(1.1 * WATCHED_S)
        assert beats(manager) > 0
        nursery.cancel_scope.cancel()


async def test_a_node_that_only_refuses_is_not_alive_either(manager: socket.socket, autojump_clock: MockClock) -> None:
    node = Book()
    node.refusal = NotReadyError("there is nothing to tell")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, node)
        await trio.sleep(10 * WATCHED_S)

        assert beats(manager) == 0
        nursery.cancel_scope.cancel()


async def test_a_manager_that_is_gone_or_reads_nothing_holds_up_nobody(
    manager: socket.socket, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon._report, Book())
        await trio.sleep(2_000 * WATCHED_S)  # many more than the socket's buffer holds
        nursery.cancel_scope.cancel()

    assert "cannot notify the service manager" in caplog.text
