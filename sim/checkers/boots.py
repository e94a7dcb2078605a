"""Every start of a peer has a number of its own, greater than all before (safety.md S13, S16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutMeta
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class StartsAreCounted(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._last: dict[str, int] = {}  # peer → its last start that was durable

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, PutMeta) and change.key == "boots":
                peer, number = host.settings.peer, int(change.value)
                if peer in self.world.doubts.forgetful:
                    continue
                if number <= self._last.get(peer, 0):
                    self.fail(f"{host.name} calls this start number {number}, after number {self._last[peer]}")
                self._last[peer] = number
