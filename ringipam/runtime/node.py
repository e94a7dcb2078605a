"""A node: a peer with its disk, its connections and its time, and the verbs it offers to the program it lives in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import trio

from ringipam.address import Address, parse_address
from ringipam.config import Config, format_endpoint
from ringipam.core.durable import Stored
from ringipam.core.events import Show, Verb, View
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import NotReadyError, RequestError, StoreError
from ringipam.runtime.clock import Clock
from ringipam.runtime.credentials import Credentials
from ringipam.runtime.disk import Disk, open_disk
from ringipam.runtime.driver import Driver, Outcome
from ringipam.runtime.hostroutes import overlaps
from ringipam.runtime.identity import first_facts, settings
from ringipam.runtime.outside import Outside
from ringipam.runtime.ratelimit import Log, RateLimitedLog
from ringipam.runtime.standstill import Standstill
from ringipam.runtime.transport import Transport, bound_to, open_listeners
from ringipam.runtime.verbs import Verbs

RETRY_S_MIN = 0.5
RETRY_S_MAX = 5.0
MACHINE = Outside()

logger = logging.getLogger("ringipam")


@asynccontextmanager
async def open_node(config: Config, outside: Outside = MACHINE, log: Log = logger) -> AsyncIterator[Node]:
    """A node that lives in the background of the `async with` block.

    Raises RequestError if it cannot listen or its credentials are no good, StoreError if the data directory cannot
    be used or is another peer's. At the end of the block, requests under way get NotReadyError, and what was decided
    is made durable.
    """
    if config.iprange6 is not None:
        raise RequestError("a configuration with iprange6 is of two nodes: open them with ringipam.open_dual_stack")
    async with open_disk(config.data_dir, config.universe.family, outside) as disk:
        stored = await _identified(config, disk, outside, log)
        credentials = await outside.in_thread(Credentials, config, outside.wall_s)
        listeners = await open_listeners(config.listen_on)
        try:
            async with _running(Node(config, disk, listeners, credentials, outside, log), stored) as node:
                yield node
        finally:
            for listener in listeners:
                listener.socket.close()


async def _identified(config: Config, disk: Disk, outside: Outside, log: Log) -> Stored:
    stored = await disk.load()
    facts = first_facts(config, stored, outside.random_bits)
    if facts:
        await disk.commit(facts)
        stored = await disk.load()
    if "cluster" in stored.meta and config.init is not None:
        log.warning("there is a ring in %s already, which --init %s does not change", config.data_dir, config.init)
    return stored


@asynccontextmanager
async def _running(node: Node, stored: Stored) -> AsyncIterator[Node]:
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run, stored)
        try:
            yield node
        except trio.Cancelled:
            raise
        except BaseException as error:
            failure = error
        finally:
            await node.close()
            nursery.cancel_scope.cancel()
    if failure is not None:  # raised out here, as the nursery would wrap the caller's own error in a group
        raise failure


class Node(Verbs):
    """What `open_node` gives. Its methods may be called from any task of the same `trio.run`."""

    def __init__(
        self,
        config: Config,
        disk: Disk,
        listeners: Sequence[trio.SocketListener],
        credentials: Credentials,
        outside: Outside,
        log: Log,
    ) -> None:
        self.config = config
        self.warnings: list[str] = []
        """What an operator should know of this host; part of `status`."""
        self.notices: list[Callable[[], list[str]]] = [credentials.warnings]
        """Warnings that come and go: asked for each `status`."""
        self._disk = disk
        self._listeners = listeners
        self._credentials = credentials
        self._outside = outside
        self._clock = Clock(outside.wall_s)
        self._log = log
        self._limited = RateLimitedLog(log)
        self._numbers = count(1)
        self._driver: Driver | None = None
        self._refusal = ""
        self._standstill: Standstill | None = None
        self._closing = False

    @property
    def listening(self) -> str:
        """`HOST:PORT` as bound, which matters where the configuration says port 0."""
        return format_endpoint(*bound_to(self._listeners[0]))

    async def ask(self, verb: Verb) -> Outcome:
        """What all other verbs come down to; raises the RingIpamError that is the answer."""
        if self._closing:
            raise NotReadyError("this node is shutting down")
        try:
            if self._driver is None:
                await trio.lowlevel.checkpoint()
                raise StoreError(self._refusal)
            answer = await self._driver.ask(verb)
        except StoreError as failure:
            answer = self._last_durable().answer(verb, failure)
        if (verb is Show.STATUS or (isinstance(verb, View) and verb.what is Show.STATUS)) and isinstance(answer, dict):
            self._add_warnings(answer)
        return answer

    async def history(self, address: str | Address) -> dict[str, object]:
        """Who gave the range with `address` to whom, as in `ringipam history --json`; also while the disk is full."""
        return await self._disk.history(*parse_address(str(address)))

    async def run(self, stored: Stored, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One life of the peer after another, until cancelled: a failed commit ends one (safety.md S14)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_around)
            nursery.start_soon(self._credentials.watch, self._outside.in_thread)
            pause_s = RETRY_S_MIN
            while True:
                began = trio.current_time()
                reborn = await self._live(stored, task_status)
                task_status = trio.TASK_STATUS_IGNORED
                if reborn:
                    stored = await self._disk.load()
                    continue
                # A life that lasted shows that the disk is well again.
                pause_s = RETRY_S_MIN if trio.current_time() - began > RETRY_S_MAX else pause_s
                stored, pause_s = await self._recovered(pause_s)

    async def close(self) -> None:
        """Take no more requests; returns when what was decided is durable and everybody has an answer."""
        self._closing = True
        if self._driver is not None:
            await self._driver.finish()

    async def _live(self, stored: Stored, task_status: trio.TaskStatus[None]) -> bool:
        """Everything a peer has in memory, its connections too, from the disk to the first failed commit.

        Whether it ended because the peer has become another.
        """
        peer = Peer(self._part(stored), stored, Rng(self._outside.random_bits(64)), self._clock.now())
        transport = Transport(self._listeners, lambda: self._credentials.pair, self._limited)
        driver = Driver(peer, self._disk, self._clock, transport, self._numbers, self._log)
        async with trio.open_nursery() as nursery:
            await nursery.start(transport.run, driver.happened)
            nursery.start_soon(driver.keep_time)
            driver.start()
            self._driver, self._refusal, self._standstill = driver, "", None
            task_status.started()
            failure = await driver.failed()
            if driver.reborn:
                self._driver, self._refusal = None, failure.message
            else:
                self._refuse(failure)
            nursery.cancel_scope.cancel()
        return driver.reborn

    def _refuse(self, failure: StoreError) -> None:
        if failure.message != self._refusal:
            self._log.error("refusing requests until the disk works again: %s", failure.message)
        self._driver = None
        self._refusal = failure.message

    def _part(self, stored: Stored) -> Settings:
        return settings(self.config, stored, bound_to(self._listeners[0]))

    def _last_durable(self) -> Standstill:
        """The state to be shown until the disk works again; made when it is first asked for."""
        if self._standstill is None:
            durable = self._disk.durable
            self._standstill = Standstill(self._part(durable), durable, self._clock.now())
        return self._standstill

    async def _recovered(self, pause_s: float) -> tuple[Stored, float]:
        """What is on the disk once it works again, and how long to wait the next time."""
        while True:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)
            try:
                stored = await self._disk.recover()
            except StoreError as error:
                self._refuse(error)
            else:
                self._log.warning("the disk works again")
                return stored, pause_s

    async def _look_around(self) -> None:
        """Look for what an operator should know of this host."""
        for warning in await self._outside.in_thread(overlaps, self.config, abandon_on_cancel=True):
            self._warn(warning)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._log.warning("%s", text)

    def _add_warnings(self, status: dict[str, object]) -> None:
        known = status["warnings"]
        assert isinstance(known, list)
        status["warnings"] = [*known, *self.warnings, *(text for notice in self.notices for text in notice())]
