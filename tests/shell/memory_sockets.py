"""A network in memory: sockets that trio takes for its own, so that the production transport listens and dials as ever.

Handed to trio by `trio.socket.set_custom_socket_factory`. Bytes take a while, come in pieces, fill buffers of a bounded
size, and stop where a path is cut; a connection can break anywhere, also in the middle of a frame.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from math import inf

import trio

from ringipam.core.rng import Rng

BUFFER_BYTES = 16 << 10
SYN_TIMEOUT_S = 120.0
CUT_NOTICED_MS = (1_000, 3_000)
"""As long as the kernel takes with the options of `ringipam.runtime.transport`."""

Address = tuple[str, int]


def fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Pipe:
    """The bytes on their way from one end of a connection to the other."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.size = 0
        self.ended = False
        """The writer has said its last; seen behind what was sent."""
        self.unread = False
        """The reader is gone."""
        self.error: int | None = None
        """Why the connection is broken; seen behind what is left of what was sent."""
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._last_arrival = 0.0
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()

    def put(self, data: bytes) -> None:
        self._last_arrival = max(
            self._last_arrival, trio.current_time() + self.network.delay_s(self.source, self.target)
        )
        self._chunks.append((self._last_arrival, data))
        self.size += len(data)
        self.wake()

    def take(self, limit: int) -> bytes | None:
        """What has arrived, up to `limit` bytes; b"" at the end, None if nothing has come yet. Raises OSError."""
        if self._blocked() and self.error is None:
            return None
        if self._chunks and self._chunks[0][0] <= trio.current_time():
            at, data = self._chunks.popleft()
            size = self.network.piece(min(limit, len(data)))
            if size < len(data):
                self._chunks.appendleft((at, data[size:]))
            self.size -= size
            self._writers.unpark_all()
            return data[:size]
        if self._chunks:
            return None
        if self.error is not None:
            raise fault(self.error)
        return b"" if self.ended else None

    async def readable(self) -> None:
        """Returns when `take` may give more than it did."""
        due = self._chunks[0][0] if self._chunks and not self._blocked() else inf
        with trio.CancelScope(deadline=due):
            await self._readers.park()

    async def writable(self) -> None:
        await self._writers.park()

    def break_off(self, number: int, keep: int) -> None:
        """The connection is broken; of what is under way the first `keep` bytes still arrive."""
        if self.error is None:
            self.error = number
            left = b"".join(data for _, data in self._chunks)[:keep]
            self._chunks = deque([(trio.current_time(), left)] if left else [])
            self.size = len(left)
            self.wake()

    def wake(self) -> None:
        self._readers.unpark_all()
        self._writers.unpark_all()

    def _blocked(self) -> bool:
        return self.network.is_cut(self.source, self.target) or (self.source, self.target) in self.network.stalled


class MemorySocket(trio.socket.SocketType):
    """One end of a connection, or a listener."""

    def __init__(self, network: Network, host: str, family: int, kind: int, proto: int) -> None:
        super().__init__()
        self.network = network
        self.host = host
        self.inbox: Pipe | None = None
        self.outbox: Pipe | None = None
        self.closed = False
        self._kind = (family, kind, proto)
        self._local: Address = (host, 0)
        self._remote: Address | None = None
        self._shut = False
        self._listening = False
        self._backlog: deque[MemorySocket] = deque()
        self._acceptors = trio.lowlevel.ParkingLot()
        network.sockets[self] = None

    # ── what the production code asks of a socket ────────────────────────────────────────────────

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AddressFamily(self._kind[0])

    @property
    def type(self) -> socket.SocketKind:
        return socket.SocketKind(self._kind[1])

    @property
    def proto(self) -> int:
        return self._kind[2]

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802  # trio's name
        return self._shut

    def fileno(self) -> int:
        return -1 if self.closed else 1

    def setsockopt(self, *arguments: object) -> None:
        self._check()

    def getsockopt(self, level: int, option: int, size: int | None = None) -> int:  # type: ignore[override]
        self._check()
        return int(self._listening) if option == socket.SO_ACCEPTCONN else 0

    def getsockname(self) -> Address:
        self._check()
        return self._local

    def getpeername(self) -> Address:
        self._check()
        if self._remote is None or (self.inbox is not None and self.inbox.error is not None):
            raise fault(errno.ENOTCONN)
        return self._remote

    async def bind(self, address: Address) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        self._check()
        if address[0] != self.host:
            raise fault(errno.EADDRNOTAVAIL)
        if address in self.network.listeners:
            raise fault(errno.EADDRINUSE)
        self._local = address

    def listen(self, backlog: int = 0) -> None:
        self._listening = True
        self.network.listeners[self._local] = self

    async def accept(self) -> tuple[MemorySocket, Address]:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            if self._backlog:
                accepted = self._backlog.popleft()
                return accepted, accepted._remote or ("", 0)
            await self._acceptors.park()

    async def connect(self, address: Address) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        self._check()
        target = address[0]
        await trio.sleep(self.network.delay_s(self.host, target) + self.network.delay_s(target, self.host))
        if self.network.is_cut(self.host, target) or self.network.is_cut(target, self.host):
            await trio.sleep(SYN_TIMEOUT_S)
            raise fault(errno.ETIMEDOUT)
        listener = self.network.listeners.get(address)
        if listener is None:
            raise fault(errno.ECONNREFUSED)
        there = MemorySocket(self.network, target, *self._kind)
        self.inbox = there.outbox = Pipe(self.network, target, self.host)
        self.outbox = there.inbox = Pipe(self.network, self.host, target)
        self._local = (self.host, self.network.next_port())
        self._remote, there._local, there._remote = address, address, self._local
        listener._backlog.append(there)
        listener._acceptors.unpark_all()

    async def recv(self, limit: int, flags: int = 0, /) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            assert self.inbox is not None
            data = self.inbox.take(limit)
            if data is not None:
                self.network.passed(self.host, data)
                return data
            await self.inbox.readable()

    async def send(self, data: memoryview, flags: int = 0, /) -> int:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            pipe = self.outbox
            assert pipe is not None
            if pipe.error is not None or pipe.unread:
                raise fault(pipe.error or errno.EPIPE)
            room = min(self.network.buffer_bytes - pipe.size, len(data))
            if room > 0:
                size = self.network.piece(room)
                pipe.put(bytes(data[:size]))
                return size
            await pipe.writable()

    def shutdown(self, how: int) -> None:
        self._check()
        self._shut = True
        assert self.outbox is not None
        self.outbox.ended = True
        self.outbox.wake()

    def close(self) -> None:
        """As TCP does it: with bytes unread the connection is reset, and what was sent last may be lost."""
        if self.closed:
            return
        self.closed = True
        del self.network.sockets[self]
        if self.network.listeners.get(self._local) is self:
            del self.network.listeners[self._local]
        self.refuse()
        self._acceptors.unpark_all()
        if self.inbox is not None and self.outbox is not None:
            if self.inbox.size and not self.network.is_cut(self.host, self.outbox.target):
                self.outbox.break_off(errno.ECONNRESET, 0)
            self.outbox.ended = self.inbox.unread = True
            self.inbox.wake()
            self.outbox.wake()

    def refuse(self) -> None:
        """Drop who waits to be accepted."""
        while self._backlog:
            self._backlog.popleft().close()

    def _check(self) -> None:
        if self.closed:
            raise fault(errno.EBADF)


class Network(trio.abc.SocketFactory):
    """All hosts' sockets, and what is wrong between them. Chance comes from `rng` alone."""

    def __init__(self, rng: Rng) -> None:
        self.delay_us = (100, 2_000)
        self.buffer_bytes = BUFFER_BYTES
        self.pieces = 0
        """Per mille of reads and writes that move only a part of what they could."""
        self.stalled: dict[tuple[str, str], None] = {}
        """Paths whose reader does not read."""
        self.listeners: dict[Address, MemorySocket] = {}
        self.sockets: dict[MemorySocket, None] = {}
        self._rng = rng
        self._homes: dict[trio.lowlevel.Task, str] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._ports = 32_768
        self._hash = blake2b(digest_size=16)

    def socket(self, family: int, type: int, proto: int) -> MemorySocket:  # type: ignore[override]  # noqa: A002
        return MemorySocket(self, self._here(), family, type, proto)

    def live_at(self, host: str) -> None:
        """From here on the running task, and every task below it, is at this IP address."""
        self._homes[trio.lowlevel.current_task()] = host

    def _here(self) -> str:
        task = trio.lowlevel.current_task()
        while task not in self._homes:
            assert task.parent_nursery is not None
            task = task.parent_nursery.parent_task
        return self._homes[task]

    @property
    def digest(self) -> str:
        """Every byte that was read so far, where and in which pieces."""
        return self._hash.hexdigest()

    def passed(self, host: str, data: bytes) -> None:
        self._hash.update(f"{host} {len(data)} ".encode())
        self._hash.update(data)

    def delay_s(self, source: str, target: str) -> float:
        return self._rng.between(*self.delay_us) / 1e6

    def piece(self, size: int) -> int:
        """How much of `size` bytes is moved at once."""
        return self._rng.between(1, size) if self.pieces and self._rng.chance(self.pieces) else size

    def next_port(self) -> int:
        self._ports += 1
        return self._ports

    # ── faults ───────────────────────────────────────────────────────────────────────────────────

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts

    def cut(self, source: str, target: str, nursery: trio.Nursery) -> None:
        """Nothing passes from `source` to `target`; the kernel ends their connections after a while."""
        self._cuts[source, target] = None
        for pipe in self.pipes_between(source, target):
            nursery.start_soon(self._end_if_cut, pipe, self._rng.between(*CUT_NOTICED_MS) / 1000)

    def mend(self, source: str, target: str) -> None:
        self._cuts.pop((source, target), None)
        self._wake()

    def stall(self, source: str, target: str) -> None:
        """`target` stops reading what comes from `source`."""
        self.stalled[source, target] = None

    def resume(self, source: str, target: str) -> None:
        self.stalled.pop((source, target), None)
        self._wake()

    def reset(self, one: str, other: str) -> bool:
        """Break the connections between two hosts anywhere in what is under way; whether it was inside of something."""
        inside = False
        for pipe in self.pipes_between(one, other):
            keep = self._rng.below(pipe.size + 1)
            inside = inside or 0 < keep < pipe.size
            pipe.break_off(errno.ECONNRESET, keep)
        return inside

    def inject(self, source: str, target: str, data: bytes) -> bool:
        """Put bytes into what one host says to another; whether there was a connection."""
        pipes = [pipe for pipe in self.pipes_between(source, target) if pipe.source == source and not pipe.ended]
        for pipe in pipes:
            pipe.put(data)
        return bool(pipes)

    def lose_host(self, host: str) -> None:
        """Its process is dead: the kernel resets what it had open, and nobody listens there."""
        for sock in [sock for sock in self.sockets if sock.host == host]:
            if sock.outbox is not None:
                if not self.is_cut(host, sock.outbox.target):
                    sock.outbox.break_off(errno.ECONNRESET, self._rng.below(sock.outbox.size + 1))
                sock.close()
        for address in [address for address in self.listeners if address[0] == host]:
            self.listeners.pop(address).refuse()

    def pipes_between(self, one: str, other: str) -> Iterator[Pipe]:
        for sock in list(self.sockets):
            if sock.outbox is not None and {sock.host, sock.outbox.target} == {one, other}:
                yield sock.outbox

    async def _end_if_cut(self, pipe: Pipe, after_s: float) -> None:
        await trio.sleep(after_s)
        if self.is_cut(pipe.source, pipe.target) or self.is_cut(pipe.target, pipe.source):
            pipe.break_off(errno.ETIMEDOUT, 0)

    def _wake(self) -> None:
        for sock in list(self.sockets):
            if sock.inbox is not None:
                sock.inbox.wake()
