"""Asking again for the same id and subnet gives the same lease for as long as it is held, over crashes too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, DropLease, PutLease
from ringipam.core.events import Allocate, Effect, Event, Leased, Release
from ringipam.lease import Lease
from sim.checkers.base import Checker, drops_leases

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host

Key = tuple[str, int, int]
"""An id, and the start and length of a subnet."""


class SameAnswerAgain(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[tuple[str, str, str], str] = {}

    def asked(self, request: Request) -> None:
        verb = request.verb
        if isinstance(verb, Release):
            for key in [key for key in self._told if key[:2] == (request.host, verb.id)]:
                del self._told[key]
        elif drops_leases(verb):
            for key in [key for key in self._told if key[0] == request.host]:
                del self._told[key]

    def wiped(self, host: Host) -> None:
        kept = host.disk.durable.leases
        for key in [key for key, lease in self._told.items() if key[0] == host.name and lease not in kept]:
            del self._told[key]

    def answered(self, request: Request) -> None:
        if not isinstance(request.verb, Allocate) or not isinstance(request.answer, Leased):
            return
        if self.world.releasing(request.host, request.verb.id):
            return
        key = (request.host, request.verb.id, str(request.verb.subnet))
        lease = request.answer.lease
        before = self._told.setdefault(key, lease.lease)
        if before != lease.lease:
            self.fail(f"{request.host} gave {request.verb.id} a second lease ({lease.address}) in the same subnet")


class OneAllocationEach(Checker):
    """An id has at most one allocated lease in a subnet of a host, however often a retry came."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: dict[str, dict[Key, str]] = {}  # host → id and subnet → lease
        self._keys: dict[str, Key] = {}  # lease → id and subnet

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        for change in changes:
            if type(change) is PutLease:
                self._put(host, change.lease)
            elif type(change) is DropLease:
                key = self._keys.pop(change.lease, None)
                if key is not None:
                    self._held[host.name].pop(key, None)

    def crashed(self, host: Host) -> None:
        self._held[host.name] = {}
        for lease in host.disk.durable.leases.values():
            self._put(host, lease)

    def wiped(self, host: Host) -> None:
        self.crashed(host)

    def _put(self, host: Host, lease: Lease) -> None:
        if lease.class_ != "container":
            return
        key = (lease.id, int(lease.subnet.network_address), lease.subnet.prefixlen)
        self._keys[lease.lease] = key
        before = self._held.setdefault(host.name, {}).setdefault(key, lease.lease)
        if before != lease.lease:
            self.fail(f"{host.name} leases {lease.address} to {lease.id}, who holds an address of {lease.subnet}")
