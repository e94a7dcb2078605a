"""An error for lack of space is true: no host held a free address of the subnet all the while (W7).

Looked at only while no fault strikes: under faults the host with the space may be out of reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.core.durable import Change
from ringipam.core.events import Allocate, Effect, Event
from ringipam.errors import NoSpaceError, RequestTimeoutError
from ringipam.messages import Standing
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host

SETTLED_MS = 15_000
"""After the last fault, before members are known to be back and links stand again."""


class NoSpaceIsTrue(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._open: dict[int, tuple[Range, dict[str, int]]] = {}  # request → subnet, host → least ever free

    def asked(self, request: Request) -> None:
        calm = self.world.loop.now - self.world.calm_since > SETTLED_MS and self.world.network.whole
        if isinstance(request.verb, Allocate) and calm:
            wanted = (request.verb.subnet or self.world.universe).issuable
            free = {host.name: self._free(host, wanted) for host in self._donors(request.host)}
            self._open[request.number] = (wanted, {name: count for name, count in free.items() if count})

    def _donors(self, asker: str) -> list[Host]:
        """Who may give it something: a newcomer waits until a third host has heard of it (safety.md S4)."""
        members = self.world.members()
        peer = self.world.hosts[asker].settings.peer
        known = any(claim.owner == peer for host in members for claim in host.disk.durable.tokens.values())
        return members if known or sum(1 for host in members if host.up) > 2 else []

    def _free(self, host: Host, wanted: Range) -> int:
        if host.peer is None or host.standing is not Standing.MEMBER or not host.peer.possessed():
            return 0  # who is fenced off, waits for a word or leaves issues nothing
        return host.peer.free_in(wanted, at_most=1)

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        for wanted, least in self._open.values() if self._open else ():
            if host.name in least and not self._free(host, wanted):
                del least[host.name]

    def crashed(self, host: Host) -> None:
        for _, least in self._open.values():
            least.pop(host.name, None)
        for number in [number for number in self._open if self.world.requests[number].host == host.name]:
            del self._open[number]

    def answered(self, request: Request) -> None:
        found = self._open.pop(request.number, None)
        if found is None or self.world.calm_since > request.asked_ms - SETTLED_MS:
            return
        if isinstance(request.answer, NoSpaceError | RequestTimeoutError) and found[1]:
            self.fail(f"{request.host} said {request.answer} while {sorted(found[1])} had free addresses")
