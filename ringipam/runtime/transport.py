"""Connections to peers: listens, dials, and tells the core what came of it. Knows nothing of what is said."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from itertools import count

import trio

from ringipam.config import parse_endpoint
from ringipam.core.events import DialFailed
from ringipam.errors import PeerError, RequestError, RingIpamError
from ringipam.messages import Message
from ringipam.runtime.link import Deliver, Link
from ringipam.runtime.ratelimit import RateLimitedLog
from ringipam.runtime.strangers import Strangers, place_of
from ringipam.runtime.tls import Contexts, explain

CONNECT_S = 1.5
HANDSHAKE_S = 3.0
LINKS_MAX = 1024
ACCEPT_PAUSE_S = 0.1


async def open_listeners(endpoint: str) -> list[trio.SocketListener]:
    """Sockets that listen on `HOST:PORT`; port 0 takes any. Raises RequestError if that cannot be."""
    host, port = parse_endpoint(endpoint)
    try:
        return await trio.open_tcp_listeners(port, host=host or None)
    except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        why = _first_cause(error)
        raise RequestError(f"cannot listen on {endpoint}: {why}") from None


def bound_to(listener: trio.SocketListener) -> tuple[str, int]:
    """The host and port a listener really has."""
    host, port = listener.socket.getsockname()[:2]
    return str(host), int(port)


class Transport:
    """All connections of one life of a peer; they end with `run`.

    Every link gives `LinkUp`, what is received, and `LinkDown` once; every `dial` gives one `LinkUp` or `DialFailed`.
    Events are delivered from the tasks of `run` only, never from inside `dial`, `send` or `close`.
    """

    def __init__(
        self,
        listeners: Sequence[trio.SocketListener],
        credentials: Callable[[], Contexts | None],
        log: RateLimitedLog,
    ) -> None:
        """`credentials` is asked for each new connection; None means without TLS."""
        self._listeners = listeners
        self._credentials = credentials
        self._log = log
        self._numbers = count(1)
        self._links: dict[int, Link] = {}
        self._strangers = Strangers()
        self._ended = False
        self._nursery: trio.Nursery
        self._deliver: Deliver

    async def run(self, deliver: Deliver, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and serve connections until cancelled; `dial` and `send` need it to have started."""
        self._deliver = deliver
        async with trio.open_nursery() as self._nursery:
            for listener in self._listeners:
                self._nursery.start_soon(self._accept_all, listener)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._ended = True

    def dial(self, address: str) -> None:
        """Nothing once `run` has been cancelled: a driver's last commit may still let a dial out then."""
        if not self._ended:
            self._nursery.start_soon(self._dial, address)

    def send(self, link: int, message: Message) -> None:
        """Best effort: a link that is gone or congested loses it."""
        if link in self._links:
            self._links[link].send(message)

    def close(self, link: int, reason: str) -> None:
        """Send what is queued on the link, then close it."""
        if link in self._links:
            self._links[link].close(reason)

    # ── accepting ────────────────────────────────────────────────────────────────────────────────

    async def _accept_all(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:  # out of file descriptors or memory: others may give some back
                self._log.warning("", f"cannot accept connections: {error.strerror}")
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            self._nursery.start_soon(self._serve, next(self._numbers), stream)

    async def _serve(self, number: int, stream: trio.SocketStream) -> None:
        """Serve an accepted connection to its end."""
        host = ""
        try:
            host = str(stream.socket.getpeername()[0])
            if len(self._links) >= LINKS_MAX:
                raise PeerError(f"there are {LINKS_MAX} links already")
            await self._welcome(number, stream, host)
        except PeerError as error:
            self._log.warning(host, f"closed a connection from {host}: {error.message}")
        except OSError:  # gone before it was looked at
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _welcome(self, number: int, stream: trio.SocketStream, host: str) -> None:
        place = place_of(host)
        with trio.CancelScope() as scope:
            patience_s = self._strangers.admit(number, place, scope)
            try:
                if patience_s:
                    await trio.sleep(patience_s)
                secured = await self._secure(stream, server=True)
                await self._run_link(Link(number, secured, host, "", self._deliver))
            finally:
                self._strangers.gone(number, place)
        if scope.cancelled_caught:
            raise PeerError("others are waiting to say who they are, and it took too long")

    async def _run_link(self, link: Link) -> None:
        self._links[link.number] = link
        try:
            await link.run(first_frame=lambda: self._strangers.introduced(link.number))
        finally:
            del self._links[link.number]

    async def _secure(self, stream: trio.SocketStream, *, server: bool) -> trio.abc.Stream:
        """TLS over `stream` if there are credentials; raises PeerError."""
        _notice_cuts(stream.socket)
        contexts = self._credentials()
        if contexts is None:
            return stream
        context = contexts[0 if server else 1]
        # A frame says how long it is, so nothing is gained by TLS's own farewell.
        secured = trio.SSLStream(stream, context, server_side=server, https_compatible=True)
        try:
            with trio.fail_after(HANDSHAKE_S):
                await secured.do_handshake()
        except trio.TooSlowError:
            raise PeerError(f"the TLS handshake took longer than {HANDSHAKE_S:.0f} s") from None
        except trio.BrokenResourceError as error:
            raise PeerError(f"the TLS handshake failed: {explain(error.__cause__)}") from None
        return secured

    # ── dialling ─────────────────────────────────────────────────────────────────────────────────

    async def _dial(self, address: str) -> None:
        try:
            stream = await _connect(address)
        except RingIpamError as error:
            self._deliver(DialFailed(address, error.message))
            return
        try:
            host = str(stream.socket.getpeername()[0])
            secured = await self._secure(stream, server=False)
        except (PeerError, OSError) as error:
            await trio.aclose_forcefully(stream)
            self._deliver(DialFailed(address, str(error)))
            return
        try:
            await self._run_link(Link(next(self._numbers), secured, host, address, self._deliver))
        except PeerError as error:
            self._log.warning(address, f"closed the connection to {address}: {error.message}")


async def _connect(address: str) -> trio.SocketStream:
    """A connection to `HOST:PORT`; raises PeerError or RequestError."""
    host, port = parse_endpoint(address)
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise PeerError(f"no answer within {CONNECT_S} s") from None
    except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        raise PeerError(_first_cause(error)) from None


def _first_cause(error: BaseException) -> str:
    """trio wraps what happened at each of a name's addresses; the first says enough."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno).lower()
    return (getattr(error, "strerror", None) or str(error)).lower()


def _notice_cuts(sock: trio.socket.SocketType) -> None:
    """Let the kernel end a connection about 3 s after its path was cut.

    An idle one is probed by keep-alive, one with data under way falls to the user time-out. Without these a
    cut is noticed after many minutes, and until then messages go where nobody reads them.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)
