"""Releases the addresses of containers that are gone, for those that got them outside any driver.

`ringipam allocate $(docker create …)` ties a lease to a container, and nothing but its engine says when that container
is gone. For each engine there is a watch that follows its events and, as those can be missed, looks at its list now and
then. What it goes by (docs/watcher.md):

* an engine that cannot be asked says nothing, and nothing is released on its account;
* a container that this engine never showed is not its business, whatever its list lacks;
* just before a release the engine is asked about this container once more;
* a lease is released by its number (safety.md S22), and only leases that carry no `ringipam.via`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import NoReturn

import trio

from ringipam.address import Address
from ringipam.core.events import Allocate, Answer, ClaimAddress, LeaseList, Leases, Release, Verb
from ringipam.errors import NotFoundError, RingIpamError
from ringipam.integrations.apiclient import ApiError, RefusedError
from ringipam.integrations.watch.engine import STOPPED, Engine, Turn, happened
from ringipam.integrations.watch.sightings import FILE, Sightings
from ringipam.lease import SHORT_ID_LENGTH, VIA, Lease
from ringipam.server.routes import Asker

GRACE_S = 30.0
"""How long a container may be stopped before its addresses go: a restart takes less."""
FIRST_LOOK_S = 5.0
LOOK_S = 60.0
"""Between two looks at the list. The second comes early: what happens while a stream begins may be missing in it."""
RETRY_S = 3.0

logger = logging.getLogger("ringipam")


@asynccontextmanager
async def open_watcher(asker: Asker, sockets: Sequence[Path], data_dir: Path) -> AsyncIterator[Watcher]:
    """Watches the engines at `sockets` inside the `async with` block, also those that come later; never raises.

    What it has seen is kept in `data_dir`, which must be there.
    """
    sightings = await trio.to_thread.run_sync(Sightings.load, data_dir / FILE)
    watcher = Watcher(asker, [_Watch(asker, Engine(path), sightings) for path in sockets])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sightings.keep)
        for watch in watcher.watches:
            nursery.start_soon(watch.run)
        yield watcher
        nursery.cancel_scope.cancel()


class Watcher:
    """An asker that passes everything on, and so learns who has just asked for an address.

    Whoever allocates for a stopped container is about to start it: its grace begins anew, or else its address could be
    released between the answer and the start.
    """

    def __init__(self, asker: Asker, watches: Sequence[_Watch]) -> None:
        self._asker = asker
        self.watches = watches

    async def ask(self, verb: Verb) -> Answer:
        if not isinstance(verb, Allocate | ClaimAddress):
            return await self._asker.ask(verb)
        try:
            await self._asked(verb.id)
            return await self._asker.ask(verb)
        finally:
            self._mark(verb.id)

    async def history(self, address: str | Address) -> dict[str, object]:
        return await self._asker.history(address)

    def notices(self) -> list[str]:
        """What the operator should know: which engines are there and cannot be watched."""
        return [watch.notice for watch in self.watches if watch.notice]

    async def _asked(self, holder: str) -> None:
        for watch in self.watches:
            if holder in watch.releasing:
                await watch.releasing[holder].wait()
        self._mark(holder)

    def _mark(self, holder: str) -> None:
        for watch in self.watches:
            watch.asked(holder)


class _Watch:
    """One engine's containers, as long as the daemon runs."""

    def __init__(self, asker: Asker, engine: Engine, sightings: Sightings) -> None:
        self.notice = ""
        """Why its containers are not watched though the engine's socket is there."""
        self.releasing: dict[str, trio.Event] = {}
        """Holders whose leases are being released this very moment: who asks for them again waits for a new one."""
        self._asker = asker
        self._engine = engine
        self._sightings = sightings
        self._place = ""
        """What sightings are filed under: the socket and what the engine behind it keeps its containers in."""
        self._present: dict[str, str] = {}
        """The containers that are there, by their full and their short id."""
        self._ends_s: dict[str, float] = {}
        """When the grace of a stopped container is over; in order."""
        self._stopped = trio.Event()

    def asked(self, holder: str) -> None:
        """Somebody asks for an address for `holder`."""
        container = self._present.get(holder)
        if container is not None:
            self._sightings.add(self._place, [container])
            if container in self._ends_s:
                self._begin_grace(container)

    # ── the engine comes and goes ────────────────────────────────────────────────────────────────

    async def run(self) -> NoReturn:
        while True:
            try:
                if self._engine.path.is_socket():
                    await self._follow()
                self.notice = ""  # an engine that is not installed is no news
            except OSError as error:
                self._lost(error.strerror or str(error))
            except (ApiError, RingIpamError) as error:
                self._lost(str(error))
            except Exception as error:  # a defect here is no reason to stop serving addresses
                logger.exception("the watch over %s failed", self._engine.path)
                self._lost(f"internal error: {error!r}")
            await trio.sleep(RETRY_S)

    def _lost(self, why: str) -> None:
        notice = f"the containers of {self._engine.path} are not watched: {why}"
        if notice != self.notice:
            logger.warning("%s", notice, extra={"kind": "not watched"})
        self.notice = notice

    async def _follow(self) -> None:
        """Until the engine is lost: raises why."""
        self._place = await self._where()
        # Whatever was counted while nobody could be asked has been counted too long.
        self._ends_s.clear()
        self._present.clear()
        failures: list[Exception] = []

        async def guarded(task: Callable[[], object]) -> None:
            try:
                await task()  # type: ignore[misc]
            except Exception as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for task in (self._listen, self._look_regularly, self._wait_for_graces):
                nursery.start_soon(guarded, task)
        raise failures[0]

    async def _where(self) -> str:
        return f"{self._engine.path} {await self._engine.root()}"

    async def _check_engine(self) -> None:
        """Raises ApiError if it is another engine by now that answers: no stream of events need have ended by that."""
        if await self._where() != self._place:
            raise ApiError("another engine answers there now")

    async def _listen(self) -> None:
        try:
            async with self._engine.events() as events:
                async for event in events:
                    await self._take(event)
        except RefusedError as error:  # as Podman does where its `events_logger` is none
            logger.warning("%s tells no events, its list is looked at every %s s: %s", self._engine.path, LOOK_S, error)
            await trio.sleep_forever()
        raise ApiError("it ended its stream of events")

    async def _look_regularly(self) -> None:
        for pause_s in chain([FIRST_LOOK_S], repeat(LOOK_S)):
            await self._look()
            if self.notice or pause_s == FIRST_LOOK_S:
                logger.info("watching the containers of %s", self._engine.path)
                self.notice = ""
            await trio.sleep(pause_s)

    # ── what became of a container ───────────────────────────────────────────────────────────────

    async def _take(self, event: bytes) -> None:
        change = happened(event)
        if change is None:
            return
        container = change.container
        match change.turn:
            case Turn.PRESENT:
                self._ends_s.pop(container, None)
                self._present |= _names(container)
                if await self._leases_of(container):
                    self._sightings.add(self._place, [container])
            case Turn.STOPPED:
                self._present |= _names(container)
                self._begin_grace(container)
            case Turn.GONE:
                self._ends_s.pop(container, None)
                for name in _names(container):
                    self._present.pop(name, None)
                await self._bury(container)

    async def _look(self) -> None:
        """Catch up with what no event told."""
        states = await self._engine.containers()
        await self._check_engine()
        self._present = {name: container for container in states for name in _names(container)}
        seen = self._sightings.of(self._place)
        held = {lease.id for lease in await self._leases(Leases())}
        held = {container for container in {*states, *seen} if not held.isdisjoint(_names(container))}
        self._sightings.add(self._place, held & states.keys())
        for container in sorted(held & states.keys()):
            if states[container] in STOPPED and container not in self._ends_s:
                self._begin_grace(container)
        for container in sorted((held & seen) - states.keys()):
            if await self._state(container) is None:  # else it came after the list
                await self._bury(container)
        self._sightings.discard(self._place, seen - held)

    def _begin_grace(self, container: str) -> None:
        self._ends_s.pop(container, None)  # so that the order is that of the ends
        self._ends_s[container] = trio.current_time() + GRACE_S
        self._stopped.set()

    async def _wait_for_graces(self) -> NoReturn:
        while True:
            while not self._ends_s:
                self._stopped = trio.Event()
                await self._stopped.wait()
            container, end_s = next(iter(self._ends_s.items()))
            await trio.sleep_until(end_s)
            await self._judge(container, end_s)
            if self._ends_s.get(container) == end_s:
                del self._ends_s[container]

    async def _judge(self, container: str, end_s: float) -> None:
        """Release what a container held that is still stopped; what was claimed for it waits until it is removed."""
        leases = await self._leases_of(container)
        if not leases:
            return
        state = await self._state(container)
        for lease in leases:
            if self._ends_s.get(container, math.nan) != end_s:
                return  # it was started, removed, or asked for, meanwhile
            if state is None or (state in STOPPED and lease.class_ == "container"):
                await self._release(lease, f"is {state or 'gone'}")

    async def _state(self, container: str) -> str | None:
        """The state of a container, None if it is gone; raises ApiError, also if it is another engine that says so."""
        state = await self._engine.state(container)
        if state is None:
            await self._check_engine()
        return state

    async def _bury(self, container: str) -> None:
        """Release all that a container held that is gone for good; what fails is tried again at the next look."""
        leases = await self._leases_of(container)
        if leases:
            self._sightings.add(self._place, [container])
        for lease in leases:
            await self._release(lease, "is gone")
        self._sightings.discard(self._place, [container])

    # ── leases ───────────────────────────────────────────────────────────────────────────────────

    async def _leases_of(self, container: str) -> list[Lease]:
        return [lease for name in _names(container) for lease in await self._leases(Leases(name))]

    async def _leases(self, verb: Leases) -> list[Lease]:
        """Without those that another integration looks after."""
        answer = await self._asker.ask(verb)
        assert isinstance(answer, LeaseList)
        return [lease for lease in answer.leases if VIA not in lease.labels]

    async def _release(self, lease: Lease, why: str) -> None:
        self.releasing[lease.id] = trio.Event()
        try:
            await self._asker.ask(Release(lease.id, lease=lease.lease))
        except NotFoundError:
            return  # somebody was faster
        finally:
            self.releasing.pop(lease.id).set()
        logger.info("released %s: the container %s %s", lease.address, lease.id, why)


def _names(container: str) -> dict[str, str]:
    """The ids under which a container may have leases, each with the full one.

    Not its name: another container, or anything else on this host, may have the same one an instant later.
    """
    return {container: container, container[:SHORT_ID_LENGTH]: container}
