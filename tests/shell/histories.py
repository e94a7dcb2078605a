"""What happens to a world of real nodes, drawn from a seed: requests, faults, ends of processes; then it must heal.

`PYTHONPATH=. python tests/shell/histories.py SEED` runs one history and prints its digest.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio
from watchers import watch
from world import PORT, Request, Violation, World, simulated

from ringipam.address import Cidr, parse_cidr
from ringipam.codec import frame
from ringipam.config import format_endpoint
from ringipam.core.events import Allocate, ClaimAddress, Leased, Leases, Release, Show, Verb
from ringipam.core.rng import Rng
from ringipam.errors import NoSpaceError
from ringipam.messages import Hello
from ringipam.runtime import link

UNIVERSES = ("10.0.0.0/27", "10.0.0.0/26", "10.0.0.0/22", "fd00::/64")
FAULTY_S = 6.0
HEAL_S_MAX = 45.0
REST_S = 6.0
"""After the last node is closed: whatever the network still had to do is done."""
GARBAGE = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x02\xc1\xc1", b"\x16\x03\x01", b"\x00\x00\x00\x00")
"""None of it can be taken for a message: without TLS that would be a peer's word."""
STRANGER = "203.0.113.9"


@dataclass(frozen=True)
class Result:
    digest: str
    marks: Counter[str]
    seconds: float


def run(seed: int) -> Result:
    """One history; raises Violation, or whatever else went wrong, if a property was broken."""
    rng = Rng(seed)
    allowed = link.QUEUE_BYTES_MAX
    link.QUEUE_BYTES_MAX = 1 << 11 if rng.chance(200) else allowed
    try:
        return simulated(seed, lambda nursery, directory: History(rng, nursery, directory).run())
    finally:
        link.QUEUE_BYTES_MAX = allowed


class History:
    def __init__(self, rng: Rng, nursery: trio.Nursery, directory: Path) -> None:
        self.rng = rng
        self.nursery = nursery
        """Of what ends before everything is mended."""
        self.world = world = World(rng.fork(), rng.between(2, 4), rng.pick(UNIVERSES), directory, nursery)
        self.names = list(world.hosts)
        self.universe = parse_cidr(world.hosts["h1"].config.iprange)
        self.callers = watch(world)
        self._ids = 0
        self._configure()
        self.faults: list[Callable[[], object]] = [fault for fault in self._all_faults() if rng.chance(500)]
        world.network.pieces = rng.pick((0, 0, 300, 900))
        world.network.delay_us = rng.pick(((0, 0), (100, 2_000), (100, 2_000), (1_000, 60_000)))

    def _configure(self) -> None:
        """How the ring begins, and who is told of whom."""
        size = len(self.names)
        init = self.rng.pick((f"consensus={size}", f"consensus={size}", f"seed={','.join(self.names)}", None))
        endpoints = [format_endpoint(host.address, PORT) for host in self.world.hosts.values()]
        quarantine_s = self.rng.pick((0.0, 2.0, 30.0))
        for host in self.world.hosts.values():
            others = tuple(e for e in endpoints if e != format_endpoint(host.address, PORT))
            host.config = replace(host.config, init=init, peers=others, quarantine_s=quarantine_s)

    # ── the course of it ─────────────────────────────────────────────────────────────────────────

    async def run(self) -> Result:
        async with trio.open_nursery() as self.nursery:
            for name in self.names:
                self.world.start(name)
                await trio.sleep(self.rng.below(300) / 1000)
            self.nursery.start_soon(self._users)
            self.nursery.start_soon(self._accidents)
        self._check()
        await self._heal()
        took_s = trio.current_time()
        await self._shut_down()
        self._check()
        self.callers.finished()
        self.world.marks.update(
            f"answered: {type(r.answer).__name__}" for r in self.world.requests if r.outcome in ("answered", "refused")
        )
        self.world.marks.update(f"request {r.outcome}" for r in self.world.requests)
        return Result(self.world.digest, self.world.marks, took_s)

    def _check(self) -> None:
        if self.world.violations:
            raise Violation(self.world.violations[0])

    async def _users(self) -> None:
        busy_ms = self.rng.pick((40, 120, 400))
        while trio.current_time() < FAULTY_S:
            await trio.sleep((1 + self.rng.below(2 * busy_ms)) / 1000)
            request = self.world.ask(self.rng.pick(self.names), self._verb())
            if self.rng.chance(60):
                self.nursery.start_soon(self._give_up, request, self.rng.below(400) / 1000)

    async def _give_up(self, request: Request, after_s: float) -> None:
        await trio.sleep(after_s)
        request.scope.cancel()

    def _verb(self) -> Verb:
        rng, drawn = self.rng, self.rng.below(1000)
        timeout_ms = rng.pick((500, 2_000, 5_000))
        self._ids += 1
        known = f"c{1 + rng.below(self._ids)}"
        if drawn < 450:
            return Allocate(f"c{self._ids}", self._subnet(), timeout_ms)
        if drawn < 550:
            return Allocate(known, None, timeout_ms)
        if drawn < 800:
            return Release(known)
        if drawn < 880:
            universe = self.universe
            address = universe.start + rng.below(min(universe.size, 64))
            return ClaimAddress(f"c{self._ids}", universe.family, address, universe.prefix_len, timeout_ms)
        if drawn < 960:
            return Leases(rng.pick((None, known)))
        return rng.pick((Leases(cluster=True), *Show))

    def _subnet(self) -> Cidr | None:
        """Half the time a small one, so that it fills up and space must come from others."""
        if self.rng.chance(500):
            return None
        length = self.universe.bits - 3
        return parse_cidr(f"{self.universe.text(self.universe.start + 8 * self.rng.below(3))}/{length}")

    async def _accidents(self) -> None:
        while self.faults and trio.current_time() < FAULTY_S:
            await trio.sleep((1 + self.rng.below(1_000)) / 1000)
            self.rng.pick(self.faults)()

    async def _heal(self) -> None:
        """Every fault ends, and the system becomes one again: one ring on all hosts, and it serves."""
        self._mend_all()
        with trio.move_on_after(HEAL_S_MAX):
            while not (await self._serve() and self.world.converged):
                await trio.sleep(0.2)
                self._start_all()
            return
        raise Violation(f"no single ring that serves, {HEAL_S_MAX} s after the last fault: {self._state()}")

    def _state(self) -> str:
        last = {request.host: repr(request.answer) for request in self.world.requests[-len(self.names) :]}
        rings = {name: str(peer.ring and peer.ring.tokens()) for name, peer in self.world.peers.items()}
        return f"last answers {last}, rings {rings}"

    async def _serve(self) -> bool:
        """Whether every host gives out addresses."""
        requests = [self.world.ask(name, Allocate("healed", None, 4_000)) for name in self.names]
        while not all(request.outcome for request in requests):
            await trio.sleep(0.1)
        return all(isinstance(request.answer, Leased) or _is_full(request) for request in requests)

    async def _shut_down(self) -> None:
        waiting = [self.world.ask(name, Allocate("at the end", None, 5_000)) for name in self.names]
        await trio.lowlevel.checkpoint()
        for name in self.names:
            await self.world.end(name)
        await trio.sleep(REST_S)
        if not all(request.outcome for request in waiting):
            raise Violation("somebody was not told that the node shut down")
        if self.world.network.sockets or self.world.network.listeners:
            left = [f"{sock.host} to {sock.outbox and sock.outbox.target}" for sock in self.world.network.sockets]
            raise Violation(f"sockets were left open: {left}")

    # ── faults ───────────────────────────────────────────────────────────────────────────────────

    def _all_faults(self) -> list[Callable[[], object]]:
        return [
            self._cut,
            self._stall,
            self._reset,
            self._garbage,
            self._stranger,
            self._kill,
            self._kill_at_a_commit,
            partial(self._end, cancel=False),
            partial(self._end, cancel=True),
            self._break_disk,
            self._slow_disk,
        ]

    def _later(self, after_ms: tuple[int, int], what: Callable[[], object]) -> None:
        async def then() -> None:
            await trio.sleep(self.rng.between(*after_ms) / 1000)
            what()

        self.nursery.start_soon(then)

    def _path(self) -> tuple[str, str]:
        one, other = self.rng.shuffled(self.names)[:2]
        return self.world.hosts[one].address, self.world.hosts[other].address

    def _cut(self) -> None:
        one, other = self._path()
        paths = [(one, other), (other, one)][: self.rng.between(1, 2)]
        self.world.marks[f"{len(paths)} directions were cut"] += 1
        for path in paths:
            self.world.network.cut(*path, self.nursery)
            self._later((200, 5_000), partial(self.world.network.mend, *path))

    def _stall(self) -> None:
        path = self._path()
        self.world.marks["a reader stopped reading"] += 1
        self.world.network.stall(*path)
        self._later((500, 4_000), partial(self.world.network.resume, *path))

    def _reset(self) -> None:
        inside = self.world.network.reset(*self._path())
        self.world.marks[f"a connection was reset{' inside of a frame' if inside else ''}"] += 1

    def _garbage(self) -> None:
        if self.world.network.inject(*self._path(), self.rng.pick(GARBAGE)):
            self.world.marks["garbage came over a connection"] += 1

    def _stranger(self) -> None:
        host = self.world.hosts[self.rng.pick(self.names)]
        self.nursery.start_soon(self._visit, host.address, self._nonsense(), self.rng.below(4_000) / 1000)

    def _nonsense(self) -> bytes:
        foreign = Hello(1, 1, "x.1", "203.0.113.0/24", "another", ":6783", 1, False, 1)
        newcomer = replace(foreign, universe=str(self.universe), cluster="", observer=True)
        whole, two_names = frame(foreign), frame(newcomer) + frame(replace(newcomer, peer="y.2"))
        return self.rng.pick(
            (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", whole, whole[:7], whole + b"\xff" * 9, two_names)
        )

    async def _visit(self, address: str, says: bytes, stays_s: float) -> None:
        self.world.network.live_at(STRANGER)
        try:
            with trio.move_on_after(5):
                stream = await trio.open_tcp_stream(address, PORT)
                async with stream:
                    self.world.marks["a stranger came"] += 1
                    await stream.send_all(says)
                    with trio.move_on_after(stays_s):
                        while await stream.receive_some():
                            pass
        except (OSError, trio.BrokenResourceError):
            self.world.marks["a stranger was turned away"] += 1

    def _kill(self) -> None:
        name = self.rng.pick(self.names)
        self.world.kill(name)
        self._later((0, 3_000), partial(self.world.start, name))

    def _kill_at_a_commit(self) -> None:
        name = self.rng.pick(self.names)
        disk = self.world.hosts[name].disk
        disk.kill_in, disk.kill_when = self.rng.between(1, 6), self.rng.pick(("before", "after"))
        self._later((2_000, 4_000), partial(self.world.start, name))

    def _end(self, *, cancel: bool) -> None:
        name = self.rng.pick(self.names)
        self.world.marks[f"a node was {'cancelled' if cancel else 'shut down'}"] += 1
        self.nursery.start_soon(partial(self.world.end, name, cancel=cancel))
        self._later((0, 3_000), partial(self.world.start, name))

    def _break_disk(self) -> None:
        disk = self.world.hosts[self.rng.pick(self.names)].disk
        disk.fails = self.rng.pick(("before", "after"))
        self._later((50, 4_000), partial(setattr, disk, "fails", ""))

    def _slow_disk(self) -> None:
        disk = self.world.hosts[self.rng.pick(self.names)].disk
        disk.delay_ms = self.rng.pick(((0, 3), (5, 50), (100, 300)))
        self._later((500, 4_000), partial(setattr, disk, "delay_ms", (0, 0)))

    def _mend_all(self) -> None:
        network = self.world.network
        addresses = [host.address for host in self.world.hosts.values()]
        for one in addresses:
            for other in addresses:
                network.mend(one, other)
                network.resume(one, other)
        for host in self.world.hosts.values():
            host.disk.fails, host.disk.kill_in, host.disk.delay_ms = "", 0, (0, 0)
        self._start_all()

    def _start_all(self) -> None:
        for name in self.names:
            self.world.start(name)


def _is_full(request: Request) -> bool:
    return isinstance(request.answer, NoSpaceError)


if __name__ == "__main__":
    logging.getLogger("ringipam").addHandler(logging.NullHandler())
    print(run(int(sys.argv[1])).digest)
