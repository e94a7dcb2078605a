"""Serves HTTP on sockets: accepts, reads, answers in order, gives up on the slow, the gone and the too many.

Works on plain non-blocking sockets with trio's low-level waits: a request costs one wait, one receive and one
send, which is about half of what trio's streams take for the same.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus

import trio

from ringipam.runtime.strangers import place_of
from ringipam.server.hangup import HangupWatch
from ringipam.server.http import CONTINUE, TEXT, Request, RequestParser, Response, render

RECEIVE_SIZE = 16 * 1024
IDLE_S = 60.0
"""A whole request must have arrived so long after the answer to the one before."""
SEND_S = 10.0
"""How long a client may take to accept an answer."""
CONNECTIONS_MAX = 1024
"""At each door: those who come over TCP keep nobody from the unix socket."""
PLACE_CONNECTIONS_MAX = 64
"""From one place (ringipam.runtime.strangers), unless it is this host, where many programs share one."""
LOOK_S = 1.0
"""How often slow clients are looked for, at least; a deadline set anew by each request costs more than that."""
NEAR = ("", "127.0.0.1", "::/64")

Handler = Callable[[Request], Awaitable[Response]]

_client: ContextVar[socket.socket | None] = ContextVar("client", default=None)
"""The connection that the running task serves."""

_log = logging.getLogger(__name__)


def caller_process() -> int:
    """For a handler: which process connected, as numbered here.

    0 if it is not seen from here (in a process namespace that is not inside this one's), or not on this host.
    """
    sock = _client.get()
    if sock is None or sock.family is not socket.AF_UNIX:
        return 0
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def came_over_tcp() -> bool:
    """For a handler: whether the request came by a door that others than users of this host may find."""
    sock = _client.get()
    return sock is not None and sock.family is not socket.AF_UNIX


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, what answers there, and what secures a new connection, if anything."""

    listener: socket.socket
    handler: Handler
    context: Callable[[], ssl.SSLContext | None] = lambda: None


class Server:
    """All connections of one daemon. `serve` runs it; `drain` ends it kindly."""

    def __init__(self, *, idle_s: float = IDLE_S, connections_max: int = CONNECTIONS_MAX) -> None:
        self._idle_s = idle_s
        self._connections_max = connections_max
        self._connections: set[_Connection] = set()
        self._hangups = HangupWatch()
        self._emptied = trio.Event()
        self._accepting = trio.CancelScope()

    async def serve(self, doors: Sequence[Door]) -> None:
        """Accept on every listening socket, each with its handler, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hangups.run)
            nursery.start_soon(self._give_up_on_the_slow)
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for door in doors:
                        accepting.start_soon(self._accept, door, nursery)
            await trio.sleep_forever()

    async def _give_up_on_the_slow(self) -> None:
        while True:
            await trio.sleep(min(LOOK_S, self._idle_s / 4))
            now = trio.current_time()
            for connection in list(self._connections):
                if now >= connection.due:
                    connection.scope.cancel()

    async def drain(self, patience_s: float) -> None:
        """Accept nothing more, close what is idle, and let requests under way end within `patience_s`."""
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.end()
        with trio.move_on_after(patience_s):
            while self._connections:
                self._emptied = trio.Event()
                await self._emptied.wait()

    async def _accept(self, door: Door, nursery: trio.Nursery) -> None:
        places: Counter[str] = Counter()
        while True:
            sock, place = await _next_client(door.listener)
            if places.total() >= self._connections_max:
                _turn_away(sock, door, f"more than {self._connections_max} connections")
            elif places[place] >= PLACE_CONNECTIONS_MAX and place not in NEAR:
                _turn_away(sock, door, f"more than {PLACE_CONNECTIONS_MAX} connections from {place}")
            elif (connection := self._connect(sock, door)) is not None:
                places[place] += 1
                nursery.start_soon(self._serve_one, connection, places, place)

    def _connect(self, sock: socket.socket, door: Door) -> _Connection | None:
        """None if the client is gone already."""
        context = door.context()
        if context is not None:
            try:
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:
                sock.close()
                return None
        connection = _Connection(sock, door.handler, self._idle_s)
        self._connections.add(connection)
        return connection

    async def _serve_one(self, connection: _Connection, places: Counter[str], place: str) -> None:
        self._hangups.watch(connection.sock, connection.scope.cancel)
        _client.set(connection.sock)
        try:
            await connection.serve()
        except OSError:
            pass  # the client reset the connection, or was not let in: nobody is left to be told
        finally:
            self._hangups.unwatch(connection.sock)
            connection.sock.close()
            self._connections.discard(connection)
            places[place] -= 1
            if not places[place]:
                del places[place]
            if not self._connections:
                self._emptied.set()


async def _next_client(listener: socket.socket) -> tuple[socket.socket, str]:
    """A new connection, and the place it comes from; empty for a unix socket."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, source = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            continue
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            _log.warning("cannot accept a connection: %s", error.strerror)
            await trio.sleep(0.1)  # whatever is short now may be there again then
        else:
            sock.setblocking(False)
            return sock, place_of(source[0]) if source else ""


def _turn_away(sock: socket.socket, door: Door, why: str) -> None:
    body = f"{why}; close some or try again\n".encode()
    with sock, suppress(OSError):  # it is turned away all the same
        if door.context() is None:
            sock.send(render(Response(HTTPStatus.SERVICE_UNAVAILABLE, body, TEXT), keep_alive=False))


class _Connection:
    """One client. Requests are answered in the order they came, one at a time."""

    def __init__(self, sock: socket.socket, handler: Handler, idle_s: float) -> None:
        self.sock = sock
        self.scope = trio.CancelScope()
        """Cancelled when the client is gone, so that a waiting handler learns of it (safety.md S18)."""
        self.due = trio.current_time() + idle_s
        """When the client has taken too long, on trio's clock; never while its request is handled."""
        self._handler = handler
        self._idle_s = idle_s
        self._parser = RequestParser()
        self._secured = isinstance(sock, ssl.SSLSocket)
        self._handling = False
        self._ending = False

    def end(self) -> None:
        """Close now if no request is under way, else after its answer."""
        self._ending = True
        if not self._handling:
            self.scope.cancel()

    async def serve(self) -> None:
        """Until the client closes, or is too slow, or sends what is not HTTP; raises OSError if it resets."""
        requests = self._parser.complete
        with self.scope:
            while await self._receive():
                while requests:
                    if not await self._answer(requests.popleft()):
                        return
                    if requests:  # others have their turn between requests that came in one piece
                        await trio.lowlevel.checkpoint()
                if self._parser.fault is not None:
                    body = f"bad request: {self._parser.fault}\n".encode()
                    await self._send(render(Response(HTTPStatus.BAD_REQUEST, body, TEXT), keep_alive=False))
                    return

    async def _receive(self) -> bool:
        """Read until a request is complete or can never be; False if the client has closed."""
        self.due = trio.current_time() + self._idle_s
        parser, sock = self._parser, self.sock
        if self._secured:  # what was received with the last request may wait inside of TLS
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(sock)
        while not parser.complete and parser.fault is None:
            try:
                data = sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                await trio.lowlevel.wait_readable(sock)
                continue
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(sock)
                continue
            if not data:
                return False
            parser.feed(data)
            if parser.awaits_continue:
                await self._send(CONTINUE)
        return True

    async def _answer(self, request: Request) -> bool:
        """False if the connection ends with this answer."""
        self.due = math.inf  # the handler has time-outs of its own
        self._handling = True
        response = await self._handler(request)
        self._handling = False
        keep_alive = request.keep_alive and not self._ending
        await self._send(render(response, keep_alive=keep_alive, with_body=request.method != "HEAD"))
        return keep_alive

    async def _send(self, data: bytes) -> None:
        sent = self._send_some(data)
        if sent == len(data):
            return
        self.due = trio.current_time() + SEND_S
        rest = memoryview(data)[sent:]
        while rest:
            await trio.lowlevel.wait_writable(self.sock)
            rest = rest[self._send_some(rest) :]

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
