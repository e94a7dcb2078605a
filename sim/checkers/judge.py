"""A judge who stands outside: knows what users asked and were told, and nothing of hosts, rings or disks (W6, W10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ringipam.core.durable import Change, PutRound
from ringipam.core.events import Effect, Event, Leased, LeaseList, Leases, Release
from sim.checkers.base import Checker, drops_leases

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host


class _Told(NamedTuple):
    host: str
    id: str
    lease: str


class NobodyWasToldTwice(Checker):
    """Whoever was told an address holds it until the moment they ask for its release; what came of that, who knows."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[int, _Told] = {}
        self._of: dict[tuple[str, str], dict[int, str]] = {}  # host and id → address → lease
        self._expected: dict[int, list[tuple[int, _Told]]] = {}  # a request for a list → what must be in it

    def wiped(self, host: Host) -> None:
        """Its containers run on, and nobody will release the addresses it no longer knows of."""
        for address, told in list(self._told.items()):
            if told.host == host.name and told.lease not in host.disk.durable.leases:
                self._told[address] = told._replace(host=f"{host.name} before it lost its disk")
                self._of.pop((told.host, told.id), None)

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        """Who takes over what dead hosts owned has their operator's word that nothing of theirs runs any more."""
        for change in changes:
            if isinstance(change, PutRound) and change.round.done:
                gone = {other.name for other in self.world.hosts.values() if not other.wanted}
                for address, told in list(self._told.items()):
                    former = told.host not in self.world.hosts
                    if (former or told.host in gone) and any(address in taken for taken in change.round.taken):
                        del self._told[address]
                        self._of.get((told.host, told.id), {}).pop(address, None)

    def asked(self, request: Request) -> None:
        verb = request.verb
        if drops_leases(verb):
            for address, told in list(self._told.items()):
                if told.host == request.host:
                    del self._told[address]
                    self._of.pop((told.host, told.id), None)
        if isinstance(verb, Release):
            mine = self._of.get((request.host, verb.id), {})
            for address, lease in list(mine.items()):
                if verb.lease in (None, lease):
                    del mine[address]
                    if self._told.get(address) == _Told(request.host, verb.id, lease):
                        del self._told[address]
        elif isinstance(verb, Leases) and verb.id is None and not verb.cluster:
            self._expected[request.number] = [
                (address, told) for address, told in self._told.items() if told.host == request.host
            ]

    def answered(self, request: Request) -> None:
        if self.world.hosts[request.host].stranger:
            return
        match request.answer:
            case Leased(lease, _):
                address = int(lease.address)
                now = _Told(request.host, lease.id, lease.lease)
                if self.world.releasing(request.host, lease.id):
                    return
                before = self._told.setdefault(address, now)
                if before != now and not self.world.doubts.excuses_lease(address):
                    self.fail(
                        f"{lease.address} was told to {now.id} on {now.host}, and {before.id} on {before.host} holds it"
                    )
                self._of.setdefault((now.host, now.id), {})[address] = now.lease
            case LeaseList(leases, _) if request.number in self._expected:
                shown = {lease.lease for lease in leases}
                for address, told in self._expected.pop(request.number):
                    if told.lease not in shown and self._told.get(address) == told:
                        self.fail(
                            f"{told.host} does not list {self.world.universe.text(address)}, which {told.id} holds"
                        )
