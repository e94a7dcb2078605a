"""No lease without somebody waiting for it: a caller that is gone, or was refused, holds nothing (safety.md S18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import PutLease
from ringipam.core.events import Allocate, Asked, Cancelled, ClaimAddress, Effect, Event, Persist, Reply
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class EveryLeaseWasAskedFor(Checker):
    """Follows what each host was asked, in its own order of events; a restart begins anew."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._waiting: dict[str, dict[int, str]] = {}  # host → request → id

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        waiting = self._waiting.setdefault(host.name, {})
        if type(event) is Asked:
            if isinstance(event.verb, Allocate | ClaimAddress):
                waiting[event.request] = event.verb.id
        elif type(event) is Cancelled:
            waiting.pop(event.request, None)
        for effect in effects:
            kind = type(effect)
            if kind is Persist:
                for change in effect.changes:  # type: ignore[union-attr]
                    if type(change) is PutLease and change.lease.id not in waiting.values():
                        self.fail(f"{host.name} leases {change.lease.address} to {change.lease.id}, who no longer asks")
            elif kind is Reply:
                waiting.pop(effect.request, None)  # type: ignore[union-attr]

    def crashed(self, host: Host) -> None:
        self._waiting.pop(host.name, None)
