"""The client that blocks: one connection, kept open. Not for use by several threads at once."""

from __future__ import annotations

import socket as sockets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ringipam.address import Address, Network
from ringipam.client import calls
from ringipam.client.answers import AnswerParser, is_stale
from ringipam.client.calls import Call, Json
from ringipam.client.door import Door, door
from ringipam.config import OLDER_THAN_S, TIMEOUT_S
from ringipam.errors import NotFoundError
from ringipam.lease import Lease, is_listed

T = TypeVar("T")

RECEIVE_SIZE = 64 * 1024
CONNECT_S = 10.0


class Client:
    """The verbs of a node, carried out by the daemon at `socket`; the default is where `ringipam launch` puts it.

    `socket` may be `http[s]://HOST:PORT` of a daemon's `--http`, with a token or a certificate (ringipam.client.door).
    Connects when it is first used, and again when the daemon was restarted. Every verb raises
    DaemonUnreachableError if nobody answers there, else what the node's verb raises. May be used as a context
    manager, or closed, or dropped.
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
        self._socket: sockets.socket | None = None
        self._answers = AnswerParser()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next verb opens another."""
        connected = getattr(self, "_socket", None)  # missing if __init__ failed
        if connected is not None:
            connected.close()
            self._socket = None

    def allocate(
        self,
        id: str,  # noqa: A002  # the users' word for it
        subnet: str | Network | None = None,
        timeout: float = TIMEOUT_S,
        labels: Mapping[str, str] | None = None,
        class_: str = "container",
    ) -> Lease:
        """An address for `id`, durable; asked again for the same subnet, the same address."""
        return self.perform(calls.allocate(id, subnet, timeout, labels, class_))

    def claim(
        self,
        id: str,  # noqa: A002
        interface: str | IPv4Interface | IPv6Interface,
        timeout: float = TIMEOUT_S,
    ) -> Lease:
        """Exactly this address, `10.32.0.9/12`, for `id`. Raises InUseError, which names the holder."""
        return self.perform(calls.claim(id, interface, timeout))

    def lookup(self, id: str) -> list[Lease]:  # noqa: A002
        """What `id` holds on this host; nothing if it is not known."""
        return self.perform(calls.lookup(id))

    def release(
        self,
        id: str,  # noqa: A002
        address: str | Address | None = None,
        lease: str | None = None,
    ) -> list[Lease]:
        """Give up all that `id` holds here, or one address, or exactly one lease; returns what was freed.

        Never sent twice by itself; name the lease to retry without harm. Raises NotFoundError.
        """
        return self.perform(calls.release(id, address, lease))

    def reconcile(
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
        gone = self.perform(calls.reconcile(told, older_than, labels, dry_run or bool(rest)))
        if not rest:
            return gone
        gone = [lease for lease in gone if not is_listed(lease.id, rest)]
        if not dry_run:
            for lease in gone:
                with suppress(NotFoundError):  # its holder was faster
                    self.release(lease.id, lease=lease.lease)
        return gone

    def leases(self, cluster: bool = False) -> list[Lease]:
        """All leases of this host, or of every host that can be reached."""
        return self.perform(calls.listing(cluster)).leases

    def status(self) -> Json:
        """How the node is, as in `ringipam status --json`."""
        return self.perform(calls.view("status"))

    def ring(self, family: int | None = None) -> Json:
        """Who owns which range, as in `ringipam ring --json`; `family` is 4 or 6 where there are two ranges."""
        return self.perform(calls.view("ring", family))

    def peers(self, family: int | None = None) -> Json:
        """The members known, as in `ringipam peers --json`."""
        return self.perform(calls.view("peers", family))

    def conflicts(self, family: int | None = None) -> Json:
        """Addresses in doubt, as in `ringipam conflicts --json`."""
        return self.perform(calls.view("conflicts", family))

    def history(self, address: str | Address) -> Json:
        """Who gave the range with `address` to whom, as in `ringipam history --json`."""
        return self.perform(calls.history(address))

    def prime(self, timeout: float = TIMEOUT_S) -> None:
        """Found the ring now if there is none, and wait for it."""
        self.perform(calls.prime(timeout))

    def connect(self, address: str) -> None:
        """Dial `HOST:PORT` from now on."""
        self.perform(calls.connect(address))

    def forget(self, peer: str) -> None:
        """Stop dialling a peer; it stays a member (safety.md S4)."""
        self.perform(calls.forget(peer))

    def leave(self, drop_leases: bool = False, timeout: float = TIMEOUT_S) -> Json:
        """Give all ranges to other hosts and leave the ring; returns `heirs`, how many addresses each host got.

        Raises RequestTimeoutError, which says who is missing, if it takes longer; it goes on all the same.
        """
        return self.perform(calls.leave(drop_leases, timeout))

    def remove_peers(self, *peers: str, force: bool = False, dry_run: bool = False, timeout: float = TIMEOUT_S) -> Json:
        """Take over what dead peers own, for good; returns `removed`, `taken`, `without` and `also` (docs/http.md).

        Raises RequestTimeoutError, which names who stands in the way; nothing was removed then.
        """
        return self.perform(calls.remove(peers, force, dry_run, timeout))

    def resolve(self, first: str, last: str | None = None, take: bool = False) -> Json:
        """Say that nobody but their owner uses these addresses; with `take` this host becomes their owner."""
        return self.perform(calls.resolve(first, last, take))

    def rejoin(self, dry_run: bool = False, drop_leases: bool = False) -> Json:
        """Make a fenced host, or one of a foreign ring, a new peer; returns what becomes of its leases."""
        return self.perform(calls.rejoin(dry_run, drop_leases))

    def perform(self, call: Call[T]) -> T:
        """Carry out one call: on the open connection if there is one, and once more on a new one if that broke."""
        if self._socket is not None and is_stale(self._socket.fileno()):
            self.close()
        reused = self._socket is not None
        while True:
            try:
                status, body = self._exchange(call)
            except TimeoutError:
                self.close()
                raise calls.unreachable(
                    self._door.name, f"no answer within {call.timeout_s + calls.GRACE_S:.0f} s"
                ) from None
            except OSError:
                self.close()
                if not (reused and call.repeatable):
                    raise calls.lost(self._door.name, call) from None
                reused = False
            except BaseException:
                self.close()  # an answer that is still to come must not meet the next call
                raise
            else:
                return call.decode(status, body)

    def _exchange(self, call: Call[T]) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = self._dial()
        connected, answers = self._socket, self._answers
        connected.settimeout(call.timeout_s + calls.GRACE_S)
        connected.sendall(call.encode(self._door.token))
        while not answers.complete:
            data = connected.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionResetError
            answers.feed(data)
        if not answers.reusable:
            self.close()
        return answers.take()

    def _dial(self) -> sockets.socket:
        door = self._door
        try:
            connected = _connected(door)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            raise calls.unreachable(door.name, getattr(error, "strerror", None) or str(error)) from None
        self._answers = AnswerParser()
        return connected


def _connected(door: Door) -> sockets.socket:
    """A connection to `door`; raises OSError."""
    if door.path is None:
        connected = sockets.create_connection((door.host, door.port), CONNECT_S)
        try:
            connected.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            return door.context.wrap_socket(connected, server_hostname=door.host) if door.context else connected
        except OSError:
            connected.close()
            raise
    connected = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        connected.connect(str(door.path))
    except OSError:
        connected.close()
        raise
    return connected
