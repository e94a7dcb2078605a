"""The client for trio: as many calls at once as one likes, over a few connections that are kept open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import trio

from ringipam.address import Address, Network
from ringipam.client import calls
from ringipam.client.answers import AnswerParser, is_stale
from ringipam.client.calls import Call, Json
from ringipam.config import TIMEOUT_S, default_socket
from ringipam.lease import Lease

T = TypeVar("T")

CONNECTIONS_MAX = 32
"""Calls beyond so many wait for one to end."""


@dataclass(slots=True)
class _Connection:
    stream: trio.SocketStream
    answers: AnswerParser = field(default_factory=AnswerParser)


class AsyncClient:
    """The verbs of a node, carried out by the daemon at `socket`; the default is where `ringipam launch` puts it.

    Connects when needed, and again when the daemon was restarted. Every verb raises DaemonUnreachableError if
    nobody answers there, else what the node's verb raises. A cancelled call is withdrawn: no lease comes of it.
    """

    def __init__(self, socket: str | Path | None = None) -> None:
        self._path = Path(socket) if socket is not None else default_socket()
        self._idle: list[_Connection] = []
        self._places = trio.Semaphore(CONNECTIONS_MAX)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are idle; the next verb opens another."""
        while self._idle:
            await self._idle.pop().stream.aclose()

    async def allocate(
        self,
        id: str,  # noqa: A002  # the users' word for it
        subnet: str | Network | None = None,
        timeout: float = TIMEOUT_S,
        labels: Mapping[str, str] | None = None,
        class_: str = "container",
    ) -> Lease:
        """An address for `id`, durable; asked again for the same subnet, the same address."""
        return await self.perform(calls.allocate(id, subnet, timeout, labels, class_))

    async def claim(
        self,
        id: str,  # noqa: A002
        interface: str | IPv4Interface | IPv6Interface,
        timeout: float = TIMEOUT_S,
    ) -> Lease:
        """Exactly this address, `10.32.0.9/12`, for `id`. Raises InUseError, which names the holder."""
        return await self.perform(calls.claim(id, interface, timeout))

    async def lookup(self, id: str) -> list[Lease]:  # noqa: A002
        """What `id` holds on this host; nothing if it is not known."""
        return await self.perform(calls.lookup(id))

    async def release(
        self,
        id: str,  # noqa: A002
        address: str | Address | None = None,
        lease: str | None = None,
    ) -> list[Lease]:
        """Give up all that `id` holds here, or one address, or exactly one lease; returns what was freed.

        Never sent twice by itself; name the lease to retry without harm. Raises NotFoundError.
        """
        return await self.perform(calls.release(id, address, lease))

    async def leases(self, cluster: bool = False) -> list[Lease]:
        """All leases of this host, or of every host that can be reached."""
        return (await self.perform(calls.listing(cluster))).leases

    async def status(self) -> Json:
        """How the node is, as in `ringipam status --json`."""
        return await self.perform(calls.view("status"))

    async def ring(self) -> Json:
        """Who owns which range, as in `ringipam ring --json`."""
        return await self.perform(calls.view("ring"))

    async def peers(self) -> Json:
        """The members known, as in `ringipam peers --json`."""
        return await self.perform(calls.view("peers"))

    async def conflicts(self) -> Json:
        """Addresses in doubt, as in `ringipam conflicts --json`."""
        return await self.perform(calls.view("conflicts"))

    async def history(self, address: str | Address) -> Json:
        """Who gave the range with `address` to whom, as in `ringipam history --json`."""
        return await self.perform(calls.history(address))

    async def prime(self, timeout: float = TIMEOUT_S) -> None:
        """Found the ring now if there is none, and wait for it."""
        await self.perform(calls.prime(timeout))

    async def connect(self, address: str) -> None:
        """Dial `HOST:PORT` from now on."""
        await self.perform(calls.connect(address))

    async def forget(self, peer: str) -> None:
        """Stop dialling a peer; it stays a member (safety.md S4)."""
        await self.perform(calls.forget(peer))

    async def perform(self, call: Call[T]) -> T:
        """Carry out one call: on an open connection if one is idle, and once more on a new one if that broke."""
        async with self._places:
            connection = await self._take_idle()
            if connection is not None:
                try:
                    return await self._exchange(connection, call)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    if not call.repeatable:
                        raise calls.lost(self._path, call) from None
            try:
                return await self._exchange(await self._dial(), call)
            except trio.BrokenResourceError:
                raise calls.lost(self._path, call) from None

    async def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not is_stale(connection.stream.socket.fileno()):
                return connection
            await trio.aclose_forcefully(connection.stream)
        return None

    async def _exchange(self, connection: _Connection, call: Call[T]) -> T:
        stream, answers = connection.stream, connection.answers
        try:
            with trio.fail_after(call.timeout_s + calls.GRACE_S):
                await stream.send_all(call.encode())
                while not answers.complete:
                    data = await stream.receive_some()
                    if not data:
                        raise trio.BrokenResourceError
                    answers.feed(data)
        except trio.TooSlowError:
            await trio.aclose_forcefully(stream)
            raise calls.unreachable(self._path, f"no answer within {call.timeout_s + calls.GRACE_S:.0f} s") from None
        except BaseException:
            # An answer that is still to come must not meet the next call; closing also withdraws the question.
            await trio.aclose_forcefully(stream)
            raise
        if answers.reusable:
            self._idle.append(connection)
        else:
            await trio.aclose_forcefully(stream)
        return call.decode(*answers.take())

    async def _dial(self) -> _Connection:
        try:
            return _Connection(await trio.open_unix_socket(self._path))
        except OSError as error:
            raise calls.unreachable(self._path, error.strerror or str(error)) from None
