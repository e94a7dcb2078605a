"""The verbs as calls of the daemon's JSON API: what is sent, and what the answer means. No I/O.

Both clients are thin shells around these.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Interface, IPv6Interface
from itertools import accumulate
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

from ringipam.address import Address, Network, parse_interface, to_address
from ringipam.config import TIMEOUT_S, check_age
from ringipam.errors import DaemonUnreachableError, RequestError, RingIpamError, error_from_code
from ringipam.lease import Lease, check_id, check_ids, check_labels

T = TypeVar("T")

Json = dict[str, object]

REQUEST_SIZE_MAX = 128 * 1024
"""A daemon reads no larger body (ringipam.server.http)."""
GRACE_S = 10.0
"""How much longer than the daemon's own time-out a client waits for it."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Json], T]
    body: Json | None = None
    timeout_s: float = TIMEOUT_S
    """How long the daemon may take."""
    repeatable: bool = True
    """Whether it may be sent again when the connection breaks before the answer: twice is no more than once."""

    def encode(self, token: str | None = None) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        shown = "" if token is None else f"Authorization: Bearer {token}\r\n"
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\n{shown}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("ascii") + body

    def decode(self, status: int, body: bytes) -> T:
        """What the answer says; raises the RingIpamError it stands for."""
        if status == HTTPStatus.UNAUTHORIZED:
            raise RingIpamError(body[:200].decode(errors="replace").strip())
        try:
            data = json.loads(body)
            if status < 300:
                return self.read(data)
            error = data["error"]
            code, message = str(error.pop("code")), str(error.pop("message"))
        except (ValueError, KeyError, TypeError, AttributeError):
            shown = body[:80].decode(errors="replace").strip()
            raise RingIpamError(f"what answers at the socket is not a ringipam daemon: {status} {shown!r}") from None
        raise error_from_code(code, message, error)


@dataclass(frozen=True, slots=True)
class Listing:
    """Leases, and the hosts whose leases are missing because they did not answer."""

    leases: list[Lease]
    unreachable: list[str]


def allocate(
    holder: str, subnet: str | Network | None, timeout_s: float, labels: Mapping[str, str] | None, class_: str
) -> Call[Lease]:
    body: Json = {"id": check_id(holder), "timeout_s": timeout_s, "class": class_}
    if subnet is not None:
        body["subnet"] = str(subnet)
    if labels:
        body["labels"] = check_labels(labels)
    # `_` is a new holder each time, everybody else gets the same lease again
    return Call("POST", "/v1/leases", Lease.from_json, body, timeout_s, repeatable=holder != "_")


def claim(holder: str, interface: str | IPv4Interface | IPv6Interface, timeout_s: float) -> Call[Lease]:
    family, address, prefix_len = parse_interface(str(interface))
    path = f"{_leases_of(holder)}/{to_address(family, address)}/{prefix_len}?timeout_s={timeout_s}"
    return Call("PUT", path, Lease.from_json, timeout_s=timeout_s)


def lookup(holder: str) -> Call[list[Lease]]:
    return Call("GET", f"/v1/leases?{urlencode({'id': check_id(holder)})}", _leases)


def release(holder: str, address: str | Address | None, lease: str | None) -> Call[list[Lease]]:
    path = _leases_of(holder)
    if address is not None:
        path += f"/{quote(str(address), safe='')}"
    if lease is not None:
        path += f"?{urlencode({'lease': lease})}"
    # Sent twice, it could free what somebody else was given in between (safety.md S22).
    return Call("DELETE", path, _leases, repeatable=False)


def listing(cluster: bool) -> Call[Listing]:
    return Call("GET", "/v1/leases?cluster=true" if cluster else "/v1/leases", _listing)


def view(name: str, family: int | None = None) -> Call[Json]:
    """One of `status`, `ring`, `peers`, `conflicts`; `family` is 4 or 6 where there are two ranges."""
    return Call("GET", f"/v1/{name}" if family is None else f"/v1/{name}?family={family}", dict)


def history(address: str | Address) -> Call[Json]:
    """Who gave the range with `address` to whom, oldest first."""
    return Call("GET", f"/v1/history?{urlencode({'address': str(address)})}", dict)


def prime(timeout_s: float) -> Call[None]:
    return Call("POST", "/v1/prime", _nothing, {"timeout_s": timeout_s}, timeout_s)


def connect(address: str) -> Call[None]:
    return Call("POST", "/v1/peers", _nothing, {"address": address})


def forget(peer: str) -> Call[None]:
    return Call("POST", f"/v1/peers/{quote(peer, safe='')}/forget", _nothing, {})


def leave(drop_leases: bool, timeout_s: float) -> Call[Json]:
    body: Json = {"drop_leases": drop_leases, "timeout_s": timeout_s}
    return Call("POST", "/v1/leave", dict, body, timeout_s)


def remove(peers: Sequence[str], force: bool, dry_run: bool, timeout_s: float) -> Call[Json]:
    if not peers or any(not peer or "," in peer for peer in peers):
        raise RequestError("name the peers to be removed, each by itself")
    flags = {"force": str(force).lower(), "dry_run": str(dry_run).lower(), "timeout_s": timeout_s}
    path = f"/v1/peers/{quote(','.join(peers), safe=',')}?{urlencode(flags)}"
    return Call("DELETE", path, dict, timeout_s=timeout_s)


def resolve(first: str, last: str | None, take: bool) -> Call[Json]:
    body: Json = {"first": first, "take": take}
    if last is not None:
        body["last"] = last
    return Call("POST", "/v1/conflicts/resolve", dict, body, repeatable=False)


def rejoin(dry_run: bool, drop_leases: bool) -> Call[Json]:
    return Call("POST", "/v1/rejoin", dict, {"dry_run": dry_run, "drop_leases": drop_leases}, repeatable=False)


def reconcile(
    live: Sequence[str], older_than: float, labels: Mapping[str, str] | None, dry_run: bool
) -> Call[list[Lease]]:
    body: Json = {"live": live, "older_than_s": check_age(older_than), "dry_run": dry_run}
    if labels:
        body["labels"] = check_labels(labels)
    return Call("POST", "/v1/reconcile", _leases, body, repeatable=False)


def first_portion(live_ids: Iterable[str], labels: Mapping[str, str] | None) -> tuple[list[str], frozenset[str]]:
    """As many ids as one request holds, and the rest of them; raises RequestError for what is no id."""
    live = sorted(check_ids(live_ids))
    room = REQUEST_SIZE_MAX - 256 - len(json.dumps(check_labels(labels or {})))
    ends = list(accumulate(len(json.dumps(holder)) + 2 for holder in live))
    fit = bisect_right(ends, room)
    return live[:fit], frozenset(live[fit:])


def unreachable(socket: object, why: str) -> DaemonUnreachableError:
    """Nobody answers: what to do about it."""
    return DaemonUnreachableError(
        f"no daemon answers at {socket} ({why}): start one with `ringipam launch --iprange CIDR`,"
        " or name its socket with --socket or RINGIPAM_SOCKET"
    )


def lost(socket: str, call: Call[T]) -> DaemonUnreachableError:
    """The daemon went away after it was asked: whether it did what it was asked is not known."""
    otherwise = ", or does not accept our certificate" if socket.startswith("https:") else ""
    return DaemonUnreachableError(
        f"the daemon at {socket} went away before it answered {call.method} {call.path}{otherwise}: look whether it"
        " was done"
    )


def _leases_of(holder: str) -> str:
    return f"/v1/leases/{quote(check_id(holder), safe='')}"


def _leases(data: Json) -> list[Lease]:
    leases = data["leases"]
    if not isinstance(leases, list):
        raise ValueError("leases is not a list")
    return [Lease.from_json(lease) for lease in leases]


def _listing(data: Json) -> Listing:
    unreachable = data.get("unreachable", [])
    if not isinstance(unreachable, list):
        raise ValueError("unreachable is not a list")
    return Listing(_leases(data), [str(host) for host in unreachable])


def _nothing(data: Json) -> None:
    return None
