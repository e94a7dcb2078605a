"""Rows about whole processes: from exec to the first allocation, memory, and three hosts at steady work."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import trio

from benchmarks.contender import Contender, resident_bytes
from benchmarks.daemons import daemon, listening, process, wait_for
from benchmarks.figures import Turn, timed
from benchmarks.filling import NAME, RANGES, Filled, fresh
from benchmarks.setting import Setting
from benchmarks.worker import python
from ringipam import AsyncClient, Client, DaemonUnreachableError

HOSTS = ("h1", "h2", "h3")
PERIOD_S = 0.1
MIB = 2**20


def starts(setting: Setting) -> list[Contender]:
    found: list[Contender] = []
    for leases in (setting.scale.sizes[0], setting.scale.sizes[-1]):
        filled = fresh(leases)
        found.append(DaemonStart(f"{leases:,} leases, daemon, exec to answer", setting.data(filled), filled))
        found.append(NodeStart(f"{leases:,} leases, open_node to answer", setting.data(filled), filled))
    return found


class DaemonStart(Contender):
    """From exec until the first allocation is durable, by a client that is already running and keeps trying."""

    def __init__(self, name: str, directory: Path, filled: Filled) -> None:
        self.name = name
        self._directory = directory
        self._filled = filled

    def turn(self, seconds: float) -> Turn:
        begin = time.perf_counter()
        with process(self._directory, iprange=self._filled.iprange, name=NAME):
            with Client(self._directory / "s") as client:
                took = self._first_answer(client, begin)
                client.release("first")
            return {"first allocation": timed([took * 1e3], took)}

    def _first_answer(self, client: Client, begin: float) -> float:
        give_up = begin + 60
        while time.perf_counter() < give_up:
            try:
                client.allocate("first")
                return time.perf_counter() - begin
            except DaemonUnreachableError:
                time.sleep(0.002)
        raise SystemExit(f"the daemon does not answer: {(self._directory / 'log').read_text()[-500:]}")


class NodeStart(Contender):
    """From the opening of a node until its first allocation is durable, in a process that has imported everything."""

    def __init__(self, name: str, directory: Path, filled: Filled) -> None:
        self.name = name
        self._directory = directory
        self._filled = filled

    def turn(self, seconds: float) -> Turn:
        worker = python("inprocess", self._directory / "data", self._filled.iprange, self._filled.leases)
        worker.close()
        took_ms = float(worker.ready["first_ms"])
        return {"first allocation": timed([took_ms], took_ms / 1e3)}


def memory(setting: Setting) -> list[Contender]:
    leases, tokens = setting.scale.sizes[-1], setting.scale.tokens
    crowded = Filled(RANGES[4], tokens=tokens)
    return [
        Resident(f"{leases:,} leases, ids of 64 characters", setting, fresh(leases), leases),
        Resident(f"a ring of {tokens:,} tokens", setting, crowded, tokens),
    ]


class Resident(Contender):
    """What a daemon has in memory once it has answered, and how much more that is than that of an empty one."""

    def __init__(self, name: str, setting: Setting, filled: Filled, things: int) -> None:
        self.name = name
        self._things = things
        self._iprange = filled.iprange
        self._empty, self._full = setting.data(fresh(0)), setting.data(filled)

    def turn(self, seconds: float) -> Turn:
        base, full = self._resident(self._empty), self._resident(self._full)
        each = (full - base) / self._things
        found = {"mib": full / MIB, "empty_mib": base / MIB, "bytes_each": each}
        return {"resident": {name: round(value, 2) for name, value in found.items()}}

    def _resident(self, directory: Path) -> int:
        with process(directory, iprange=self._iprange, name=NAME) as started:
            with Client(directory / "s") as client:
                wait_for(client)
                client.allocate("first")
                client.release("first")
            return resident_bytes(started.pid)


def steady(setting: Setting) -> list[Contender]:
    return [Steady(setting.place())]


class Steady(Contender):
    """Three hosts of one ring, ten containers a second started and stopped on each."""

    name = "three hosts, 10 starts and stops a second on each"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runs = 0

    def turn(self, seconds: float) -> Turn:
        self._runs += 1
        here = self._directory / str(self._runs)
        with ExitStack() as stack:
            first = stack.enter_context(daemon(here / "h1", "--init", "consensus=1"))
            endpoint = listening(here / "h1")
            for host in HOSTS[1:]:
                stack.enter_context(daemon(here / host, "--init", "observer", endpoint))
            first.prime()
            times: list[float] = []
            begin = time.perf_counter()
            trio.run(_all_hosts, here, seconds, times)
            return {"allocate": timed(times, time.perf_counter() - begin)}


async def _all_hosts(directory: Path, seconds: float, times_ms: list[float]) -> None:
    async with trio.open_nursery() as nursery:
        for host in HOSTS:
            nursery.start_soon(_starts_and_stops, directory / host / "s", seconds, times_ms)


async def _starts_and_stops(socket: Path, seconds: float, times_ms: list[float]) -> None:
    async with AsyncClient(socket) as client:
        await client.allocate("first")
        for number in range(max(1, int(seconds / PERIOD_S))):
            begin = time.perf_counter()
            lease = await client.allocate(f"c{number}")
            times_ms.append((time.perf_counter() - begin) * 1e3)
            await client.release(lease.id, lease=lease.lease)
            await trio.sleep(max(0.0, PERIOD_S - (time.perf_counter() - begin)))
