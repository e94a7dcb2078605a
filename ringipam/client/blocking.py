"""The client that blocks: one connection, kept open. Not for use by several threads at once."""

from __future__ import annotations

import socket as sockets
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ringipam.address import Address, Network
from ringipam.client import calls
from ringipam.client.answers import AnswerParser, is_stale
from ringipam.client.calls import Call, Json
from ringipam.config import TIMEOUT_S, default_socket
from ringipam.lease import Lease

T = TypeVar("T")

RECEIVE_SIZE = 64 * 1024


class Client:
    """The verbs of a node, carried out by the daemon at `socket`; the default is where `ringipam launch` puts it.

    Connects when it is first used, and again when the daemon was restarted. Every verb raises
    DaemonUnreachableError if nobody answers there, else what the node's verb raises. May be used as a context
    manager, or closed, or dropped.
    """

    def __init__(self, socket: str | Path | None = None) -> None:
        self._path = Path(socket) if socket is not None else default_socket()
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

    def leases(self, cluster: bool = False) -> list[Lease]:
        """All leases of this host, or of every host that can be reached."""
        return self.perform(calls.listing(cluster)).leases

    def status(self) -> Json:
        """How the node is, as in `ringipam status --json`."""
        return self.perform(calls.view("status"))

    def ring(self) -> Json:
        """Who owns which range, as in `ringipam ring --json`."""
        return self.perform(calls.view("ring"))

    def peers(self) -> Json:
        """The members known, as in `ringipam peers --json`."""
        return self.perform(calls.view("peers"))

    def conflicts(self) -> Json:
        """Addresses in doubt, as in `ringipam conflicts --json`."""
        return self.perform(calls.view("conflicts"))

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
                    self._path, f"no answer within {call.timeout_s + calls.GRACE_S:.0f} s"
                ) from None
            except OSError:
                self.close()
                if not (reused and call.repeatable):
                    raise calls.lost(self._path, call) from None
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
        connected.sendall(call.encode())
        while not answers.complete:
            data = connected.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionResetError
            answers.feed(data)
        if not answers.reusable:
            self.close()
        return answers.take()

    def _dial(self) -> sockets.socket:
        connected = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            connected.connect(str(self._path))
        except OSError as error:
            connected.close()
            raise calls.unreachable(self._path, error.strerror or str(error)) from None
        self._answers = AnswerParser()
        return connected
