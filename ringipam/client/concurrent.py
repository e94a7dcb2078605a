"""The client for trio: as many calls at once as one likes, over a few connections that are kept open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
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
from ringipam.client.door import door
from ringipam.config import OLDER_THAN_S, TIMEOUT_S
from ringipam.errors import NotFoundError
from ringipam.lease import Lease, is_listed

T = TypeVar("T")

CONNECT_S = 10.0
CONNECTIONS_MAX = 32
"""Calls beyond so many wait for one to end."""


@dataclass(slots=True)
class _Connection:
    stream: trio.abc.Stream
    fd: int
    answers: AnswerParser = field(default_factory=AnswerParser)


class AsyncClient:
    """The verbs of a node, carried out by the daemon at `socket`; the default is where `ringipam launch` puts it.

    `socket` may be `http[s]://HOST:PORT` of a daemon's `--http`, with a token or a certificate (ringipam.client.door).
    Connects when needed, and again when the daemon was restarted. Every verb raises DaemonUnreachableError if
    nobody answers there, else what the node's verb raises. A cancelled call is withdrawn: no lease comes of it.
    """

    def __init__(
        self,
        socket: str | Path | None = None,
        *,
        token_file: str | Path | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
    ) -> None:
        self._door = door(socket, token_file, ca, cert, key)
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

    async def reconcile(
        self,
        live_ids: Iterable[str],
        older_than: float = OLDER_THAN_S,
        labels: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> list[Lease]:
        """Release the leases of the daemon's host whose holder is not among `live_ids`; returns them.

        Which leases stay all the same: `Node.reconcile`. Ids that fill more than one request are compared here, and
        the leases released one by one, each by its number: what an error leaves over, the next call finds.
        """
        told, rest = calls.first_portion(live_ids, labels)
        gone = await self.perform(calls.reconcile(told, older_than, labels, dry_run or bool(rest)))
        if not rest:
            return gone
        gone = [lease for lease in gone if not is_listed(lease.id, rest)]
        if not dry_run:
            for lease in gone:
                with suppress(NotFoundError):  # its holder was faster
                    await self.release(lease.id, lease=lease.lease)
        return gone

    async def leases(self, cluster: bool = False) -> list[Lease]:
        """All leases of this host, or of every host that can be reached."""
        return (await self.perform(calls.listing(cluster))).leases

    async def status(self) -> Json:
        """How the node is, as in `ringipam status --json`."""
        return await self.perform(calls.view("status"))

    async def ring(self, family: int | None = None) -> Json:
        """Who owns which range, as in `ringipam ring --json`; `family` is 4 or 6 where there are two ranges."""
        return await self.perform(calls.view("ring", family))

    async def peers(self, family: int | None = None) -> Json:
        """The members known, as in `ringipam peers --json`."""
        return await self.perform(calls.view("peers", family))

    async def conflicts(self, family: int | None = None) -> Json:
        """Addresses in doubt, as in `ringipam conflicts --json`."""
        return await self.perform(calls.view("conflicts", family))

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

    async def leave(self, drop_leases: bool = False, timeout: float = TIMEOUT_S) -> Json:
        """Give all ranges to other hosts and leave the ring; returns `heirs`, how many addresses each host got.

        Raises RequestTimeoutError, which says who is missing, if it takes longer; it goes on all the same.
        """
        return await self.perform(calls.leave(drop_leases, timeout))

    async def remove_peers(
        self, *peers: str, force: bool = False, dry_run: bool = False, timeout: float = TIMEOUT_S
    ) -> Json:
        """Take over what dead peers own, for good; returns `removed`, `taken`, `without` and `also` (docs/http.md).

        Raises RequestTimeoutError, which names who stands in the way; nothing was removed then.
        """
        return await self.perform(calls.remove(peers, force, dry_run, timeout))

    async def resolve(self, first: str, last: str | None = None, take: bool = False) -> Json:
        """Say that nobody but their owner uses these addresses; with `take` this host becomes their owner."""
        return await self.perform(calls.resolve(first, last, take))

    async def rejoin(self, dry_run: bool = False, drop_leases: bool = False) -> Json:
        """Make a fenced host, or one of a foreign ring, a new peer; returns what becomes of its leases."""
        return await self.perform(calls.rejoin(dry_run, drop_leases))

    async def perform(self, call: Call[T]) -> T:
        """Carry out one call: on an open connection if one is idle, and once more on a new one if that broke."""
        async with self._places:
            connection = await self._take_idle()
            if connection is not None:
                try:
                    return await self._exchange(connection, call)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    if not call.repeatable:
                        raise calls.lost(self._door.name, call) from None
            try:
                return await self._exchange(await self._dial(), call)
            except trio.BrokenResourceError:
                raise calls.lost(self._door.name, call) from None

    async def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not is_stale(connection.fd):
                return connection
            await trio.aclose_forcefully(connection.stream)
        return None

    async def _exchange(self, connection: _Connection, call: Call[T]) -> T:
        stream, answers = connection.stream, connection.answers
        try:
            with trio.fail_after(call.timeout_s + calls.GRACE_S):
                await stream.send_all(call.encode(self._door.token))
                while not answers.complete:
                    data = await stream.receive_some()
                    if not data:
                        raise trio.BrokenResourceError
                    answers.feed(bytes(data))
        except trio.TooSlowError:
            await trio.aclose_forcefully(stream)
            raise calls.unreachable(
                self._door.name, f"no answer within {call.timeout_s + calls.GRACE_S:.0f} s"
            ) from None
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
        door = self._door
        try:
            if door.path is not None:
                raw = await trio.open_unix_socket(door.path)
                return _Connection(raw, raw.socket.fileno())
            with trio.fail_after(CONNECT_S):
                raw = await trio.open_tcp_stream(door.host, door.port)
                if door.context is None:
                    return _Connection(raw, raw.socket.fileno())
                secured = trio.SSLStream(raw, door.context, server_hostname=door.host, https_compatible=True)
                try:
                    await secured.do_handshake()
                except BaseException:
                    await trio.aclose_forcefully(secured)
                    raise
                return _Connection(secured, raw.socket.fileno())
        except trio.TooSlowError:
            raise calls.unreachable(door.name, f"no connection within {CONNECT_S:.0f} s") from None
        except trio.BrokenResourceError as error:
            raise calls.unreachable(door.name, str(error.__cause__ or error)) from None
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise calls.unreachable(door.name, getattr(error, "strerror", None) or str(error)) from None
