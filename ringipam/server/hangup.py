"""Notices clients that go away while their request waits, at no cost to requests that do not wait.

A connection has one task, which cannot read while it handles a request. Instead of a second task for each
connection, woken by every request, all sockets are registered once in an epoll set of their own that asks
for nothing but hang-ups; trio waits for that set like for any file descriptor.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

import trio


class HangupWatch:
    """Calls back, once, when the other end of a watched socket is gone."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._gone: dict[int, Callable[[], None]] = {}

    def watch(self, sock: socket.socket, gone: Callable[[], None]) -> None:
        """Call `gone` when the client closes, until `unwatch`; a unix client may close its sending half and wait.

        Over TCP half a close looks like a whole one and counts as one.
        """
        events = select.EPOLLHUP if sock.family == socket.AF_UNIX else select.EPOLLRDHUP
        self._gone[sock.fileno()] = gone
        self._epoll.register(sock.fileno(), events | select.EPOLLONESHOT)

    def unwatch(self, sock: socket.socket) -> None:
        """Before `sock` is closed, which takes it out of the set too."""
        del self._gone[sock.fileno()]

    async def run(self) -> None:
        """Runs for ever; closes the set when cancelled."""
        with self._epoll:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for fd, _ in self._epoll.poll(0):
                    if gone := self._gone.get(fd):
                        gone()
