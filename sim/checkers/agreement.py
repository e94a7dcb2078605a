"""However many hosts begin at once, one ring is formed, and no host ever belongs to another (safety.md S5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutMeta
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class OneRingIsFormed(Checker):
    """Looks at disks: a ring that only a crashed host's memory knew was never formed."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._first = ("", "")  # cluster, and who had it first

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        if any(isinstance(change, PutMeta) and change.key == "cluster" for change in changes):
            self._look(host)

    def crashed(self, host: Host) -> None:
        self._look(host)

    def _look(self, host: Host) -> None:
        if host.stranger:
            return
        cluster = host.disk.durable.meta.get("cluster", "")
        if not cluster:
            return
        if not self._first[0]:
            self._first = cluster, host.name
        if cluster != self._first[0]:
            self.fail(f"{host.name} is of cluster {cluster}, {self._first[1]} of cluster {self._first[0]}")
