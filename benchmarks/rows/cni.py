"""CNI plugins as a runtime sees them: executed, told on standard input, read until they end."""

from __future__ import annotations

import time

from benchmarks.cni import SUBNET, Plugin, host_local, launch, ringipam
from benchmarks.contender import Contender
from benchmarks.figures import Turn, timed
from benchmarks.filling import RANGES, fresh
from benchmarks.rivals import hostlocal
from benchmarks.setting import Setting, called

VERBS = ("ADD", "DEL")
CALLERS = (1, 8)

assert RANGES[4] == SUBNET, "the daemon and the plugins have one range"


def plugins(setting: Setting) -> list[Contender]:
    scale, found = setting.scale, list[Contender]()
    if why := hostlocal.missing():
        setting.skipped["host-local"] = why
    for leases in sorted({scale.sizes[0], scale.held, scale.table_max}):
        daemon = setting.daemon(fresh(leases))
        known: dict[str, Plugin] = {"ringipam": ringipam(daemon.socket.parent)}
        if not hostlocal.missing():
            known["host-local"] = host_local(daemon.socket.parent, leases)
        for callers in CALLERS if leases == scale.sizes[0] else CALLERS[:1]:
            for name, plugin in known.items():
                found.append(Plugged(called(f"{leases:,} leases, {name}", callers), plugin, callers))
    return found


class Plugged(Contender):
    """Containers come and go, one after the other at each caller; as many as fit into a turn."""

    def __init__(self, name: str, plugin: Plugin, callers: int) -> None:
        self.name = name
        self._plugin = plugin
        self._callers = callers
        self._pair_s = 0.2
        """What an ADD and a DEL took the last time."""

    def turn(self, seconds: float) -> Turn:
        samples = max(2, round(seconds / self._pair_s))
        task = {"do": "in_turns", "plugins": {"it": self._plugin}, "samples": samples}
        begin = time.perf_counter()
        told = launch([{**task, "caller": f"c{number}"} for number in range(self._callers)])
        took = time.perf_counter() - begin
        times = {verb: [ms for one in told for ms in one["it"][verb]] for verb in VERBS}
        self._pair_s = sum(map(sum, times.values())) / self._callers / samples / 1e3
        return {verb: timed(of_verb, took) for verb, of_verb in times.items()}
