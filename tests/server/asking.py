"""An asker with leases in memory, for tests of the HTTP surface; it can be told to refuse, or to be slow."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import trio

from ringipam.address import Address, parse_address, parse_subnet, to_address
from ringipam.core.events import (
    Allocate,
    Answer,
    ClaimAddress,
    Connect,
    Forget,
    Leased,
    LeaseList,
    Leases,
    Leave,
    Prime,
    Reconcile,
    Rejoin,
    Release,
    RemovePeers,
    Resolve,
    Show,
    Verb,
    View,
)
from ringipam.core.reconcile import orphaned
from ringipam.errors import InUseError, NotFoundError, RingIpamError
from ringipam.lease import Lease, network
from ringipam.server.surface import open_surface

SINCE = datetime(2026, 11, 21, 9, tzinfo=UTC)
UNIVERSE = parse_subnet("10.32.0.0/12")


class Book:
    """Keeps leases; `asked` and `withdrawn` are what came in and what was cancelled."""

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self._numbers = count(1)
        self.asked: list[Verb] = []
        self.withdrawn: list[Verb] = []
        self.refusal: Exception | None = None
        """Raised instead of every answer."""
        self.holding: trio.Event | None = None
        """While set, verbs wait for it."""
        self.waiting = trio.Event()
        """Set when a verb waits for `holding`."""
        self.now_ms = round(SINCE.timestamp() * 1000) + 60_000
        self.state = "ready"
        self.serving = True
        self.two_ranges = False
        """What has a part for each range has one for IPv6 as well."""

    async def ask(self, verb: Verb) -> Answer:
        self.asked.append(verb)
        if self.holding is not None:
            self.waiting.set()
            try:
                await self.holding.wait()
            except trio.Cancelled:
                self.withdrawn.append(verb)
                raise
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        answer = self._answer(verb)
        twofold = verb is Show.STATUS or isinstance(verb, Leave | RemovePeers | Rejoin)
        return {**answer, "ipv6": answer} if self.two_ranges and twofold and isinstance(answer, dict) else answer

    async def history(self, address: str | Address) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        parse_address(str(address))
        return {"address": str(address), "history": [HISTORY_LINE]}

    def _answer(self, verb: Verb) -> Answer:  # noqa: C901  # a line or two for each verb
        match verb:
            case Allocate():
                return self._allocate(verb)
            case ClaimAddress():
                return self._claim(verb)
            case Release():
                return self._release(verb)
            case Reconcile():
                return self._reconcile(verb)
            case Leases():
                found = [lease for lease in self.leases.values() if verb.id in (None, lease.id)]
                return LeaseList(tuple(found), ("host9",) if verb.cluster else ())
            case Show.STATUS:
                return self._status()
            case Show():
                return VIEWS[verb]
            case View(what, family):
                return {**(self._status() if what is Show.STATUS else VIEWS[what]), "family": family}
            case Prime() | Connect() | Forget():
                return None
            case Leave():
                return {"heirs": {"host2": 4096, "host3": 4096}}
            case RemovePeers(peers, _, _, dry_run):
                if dry_run:
                    return {"would_remove": list(peers), "would_take": 64, "must_answer": ["host3"], "unreachable": []}
                return {"removed": list(peers), "taken": 64, "without": [], "also": []}
            case Resolve(start, end):
                return {"resolved": [UNIVERSE.text(start), UNIVERSE.text(end - 1)]}
            case Rejoin(dry_run):
                leases = [lease.as_json() for lease in self.leases.values()]
                to = None if dry_run else "host1.77c1"
                return {"from": "host1.3f9a", "to": to, "leases": leases, "becomes": "kept", "next": "remove it"}

    def _allocate(self, verb: Allocate) -> Leased:
        subnet = verb.subnet or UNIVERSE
        for lease in self.leases.values():
            if lease.id == verb.id and lease.subnet == network(subnet):
                return Leased(lease, False)
        taken = {int(lease.address) for lease in self.leases.values()}
        free = next(address for address in range(*subnet.issuable) if address not in taken)
        holder = subnet.text(free) if verb.id == "_" else verb.id
        return Leased(self._put(holder, 4, free, subnet.prefix_len, str(subnet), verb.class_, verb.labels), True)

    def _claim(self, verb: ClaimAddress) -> Leased:
        address = to_address(verb.family, verb.address)
        for lease in self.leases.values():
            if lease.address == address:
                if lease.id == verb.id:
                    return Leased(lease, False)
                raise InUseError(
                    f"{address} is held by {lease.id} on {lease.host}", holder={"id": lease.id, "host": lease.host}
                )
        subnet = ipaddress.ip_network((address, verb.prefix_len), strict=False)
        holder = str(address) if verb.id == "_" else verb.id
        return Leased(self._put(holder, verb.family, verb.address, verb.prefix_len, str(subnet), "container", {}), True)

    def _put(
        self, holder: str, family: int, address: int, prefix_len: int, subnet: str, class_: str, labels: object
    ) -> Lease:
        lease = Lease(
            lease=f"L{next(self._numbers)}",
            id=holder,
            address=to_address(family, address),
            prefix_len=prefix_len,
            subnet=ipaddress.ip_network(subnet),
            class_=class_,
            host="host1",
            since=SINCE,
            labels=dict(labels) if isinstance(labels, dict) else {},
        )
        self.leases[lease.lease] = lease
        return lease

    def _release(self, verb: Release) -> LeaseList:
        found = [
            lease
            for lease in self.leases.values()
            if lease.id == verb.id
            and verb.lease in (None, lease.lease)
            and (verb.address is None or verb.address[1] == int(lease.address))
        ]
        if not found:
            raise NotFoundError(f"no addresses for {verb.id}")
        for lease in found:
            del self.leases[lease.lease]
        return LeaseList(tuple(found))

    def _reconcile(self, verb: Reconcile) -> LeaseList:
        found = orphaned(self.leases.values(), verb, self.now_ms)
        for lease in () if verb.dry_run else found:
            del self.leases[lease.lease]
        return LeaseList(tuple(found))

    def _status(self) -> dict[str, object]:
        return {
            "peer": {"name": "host1", "uid": "3f9a"},
            "universe": "10.32.0.0/12",
            "subnet": "10.32.0.0/12",
            "cluster": "6f1c",
            "state": self.state,
            "serving": self.serving,
            "reason": None if self.state == "ready" else "waits for host2",
            "leases": len(self.leases),
            "owned": 524288,
            "free": 524286 - len(self.leases),
            "peers": {"alive": 2, "suspect": 0, "dead": 1},
            "pending": [{"id": "c7", "subnet": "10.32.4.0/24", "waiting_for": "host2"}],
            "warnings": ["the clock went backwards"],
        }


HISTORY_LINE: dict[str, object] = {
    "at_ms": 1_795_251_600_000,
    "first": "10.32.0.0",
    "last": "10.39.255.255",
    "before": "host1.3f9a",
    "owner": "host2.77c1",
    "epoch": 0,
    "version": 4,
    "writer": "host1.3f9a",
    "source": "host1.3f9a",
}

VIEWS: dict[Show, dict[str, object]] = {
    Show.RING: {
        "universe": "10.32.0.0/12",
        "cluster": "6f1c",
        "tokens": [
            {
                "first": "10.32.0.0",
                "last": "10.47.255.255",
                "size": 1048576,
                "owner": "host1.3f9a",
                "epoch": 0,
                "version": 4,
                "writer": "host2.77c1",
            }
        ],
    },
    Show.PEERS: {
        "peers": [
            {
                "name": "host2",
                "uid": "77c1",
                "address": "192.0.2.2:6783",
                "state": "alive",
                "owned": 0,
                "free": 0,
                "last_seen_s": 3,
                "linked": True,
                "protocol": 1,
                "ignored": 0,
            }
        ]
    },
    Show.CONFLICTS: {
        "conflicts": [
            {
                "first": "10.32.0.9",
                "last": "10.32.0.9",
                "peers": ["host1.3f9a", "host2.77c1"],
                "leases": [],
                "since": "2026-11-21T09:00:00Z",
                "advice": "move one of the two",
            }
        ]
    },
}


@contextmanager
def daemon_at(path: Path, book: Book | None = None) -> Iterator[Book]:
    """A surface over `book` in a thread of its own, for clients and commands that block."""
    served = Book() if book is None else book
    ready, ends = threading.Event(), trio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    failures: list[RingIpamError] = []

    async def serve() -> None:
        try:
            async with open_surface(served, path, None, UNIVERSE, "0"):
                tokens.append(trio.lowlevel.current_trio_token())
                ready.set()
                await ends.wait()
        except RingIpamError as error:
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(10)
    try:
        assert not failures
        yield served
    finally:
        if tokens:
            tokens[0].run_sync_soon(ends.set)
        thread.join(10)
        assert not thread.is_alive()
