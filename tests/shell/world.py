"""Real nodes in one deterministic trio run: mock clock, sockets in memory, SQLite written without threads.

Everything is the runtime's own code: node, driver, disk, standstill, transport, link, store. What it takes from the
machine (`ringipam.runtime.outside`) and from the network (`memory_sockets`) is in the world's hands, and so are the
ends that processes come to. One seed is one run, bit for bit.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio
from memory_sockets import Network
from trio.testing import MockClock

from ringipam.config import Config, format_endpoint
from ringipam.core.durable import Change, Stored
from ringipam.core.events import Effect, Event, LinkDown, Send, Verb
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import PeerError, RingIpamError, StoreError
from ringipam.messages import Envelope, Grant
from ringipam.runtime import node as node_module
from ringipam.runtime.driver import Outcome
from ringipam.runtime.node import Node, open_node
from ringipam.runtime.outside import Outside
from ringipam.store.store import Store
from ringipam.store.writer import Writer, _carry_out

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WALL_S = 1_767_225_600
PORT = 6783
SHUTDOWN_S_MAX = 10.0
RUN_S_MAX = 150.0
MEMORY_DISK = Path("/dev/shm")

LIFE: ContextVar[Life] = ContextVar("LIFE")


class Violation(Exception):  # noqa: N818  # the word of the field
    """A property was broken."""


@dataclass(slots=True)
class Disk:
    """What is wrong with a host's disk, and what must be on it."""

    fails: str = ""
    """ "" or how a commit fails: `before` it is written, or `after` it was (and only the report is bad)."""
    delay_ms: tuple[int, int] = (0, 0)
    kill_in: int = 0
    """The process is killed at this commit from now, 0 at none."""
    kill_when: str = "before"
    """… `before` it is written, or `after`, and before anybody hears of it."""
    durable: Stored = field(default_factory=Stored)
    """What every successful commit adds up to."""
    in_doubt: tuple[Change, ...] = ()
    """A commit that failed: it may be there or not."""


@dataclass(slots=True, eq=False)
class Host:
    name: str
    address: str
    config: Config
    rng: Rng
    disk: Disk = field(default_factory=Disk)
    life: Life | None = None
    lives: int = 0


@dataclass(slots=True, eq=False)
class Life:
    """One process of a host."""

    world: World
    host: Host
    number: int
    config: Config
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stop: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    node: Node | None = None
    peer: Peer | None = None
    dead: bool = False
    """Killed: whatever its tasks still do while they end, the world takes no notice."""
    ending: bool = False


@dataclass(slots=True, eq=False)
class Request:
    """What a caller asked, and what came of it."""

    number: int
    host: str
    verb: Verb
    asked_s: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    outcome: str = ""
    """`answered`, `refused`, `cancelled` or `lost`; "" while it waits."""
    answer: Outcome | RingIpamError = None
    took_s: float = 0.0


class Watcher:
    """Looks at a world; every method is called at its moment, the default is to look away."""

    def stepped(self, life: Life, effects: Sequence[Effect]) -> None: ...

    def committed(self, host: Host, changes: Sequence[Change]) -> None: ...

    def loaded(self, host: Host) -> None: ...

    def asked(self, request: Request) -> None: ...

    def answered(self, request: Request) -> None: ...


class WatchedPeer(Peer):
    """The production peer; the world sees what goes in and what comes out."""

    def __init__(self, settings: Settings, stored: Stored, rng: Rng, now: int) -> None:
        super().__init__(settings, stored, rng, now)
        self._life = LIFE.get()
        self._life.peer = self

    def start(self, now: int) -> list[Effect]:
        effects = super().start(now)
        self._life.world.stepped(self._life, now, None, effects)
        return effects

    def step(self, event: Event, now: int) -> list[Effect]:
        try:
            effects = super().step(event, now)
        except PeerError:
            self._life.world.marks["a peer's message was refused"] += 1
            raise
        self._life.world.stepped(self._life, now, event, effects)
        return effects


class WatchedStore(Store):
    """The production store; its commits can fail, and the world knows what must be there."""

    life: Life

    def commit(self, changes: Sequence[Change]) -> None:
        life, disk = self.life, self.life.host.disk
        if life.dead:
            raise StoreError("the process is dead")
        if disk.fails != "before":
            super().commit(changes)
        if disk.fails:
            life.world.marks[f"a commit failed {disk.fails} it was written"] += 1
            disk.in_doubt = tuple(changes)
            self._disconnect()
            raise StoreError("the disk is full")
        for change in changes:
            disk.durable.apply(change)
        life.world.committed(life.host, changes)

    def reopen(self) -> None:
        if self.life.host.disk.fails and self.life.world.rng.chance(500):
            self._disconnect()
            raise StoreError("it cannot be opened")
        super().reopen()

    def load(self) -> Stored:
        """What is read must be what was committed, with or without what was in doubt."""
        found = super().load()
        disk = self.life.host.disk
        if disk.in_doubt and found != disk.durable:
            self.life.world.marks["a commit that was reported as failed was found"] += 1
            for change in disk.in_doubt:
                disk.durable.apply(change)
        if found != disk.durable:
            self.life.world.violations.append(f"{self.life.host.name} reads {found} and committed {disk.durable}")
        disk.in_doubt = ()
        self.life.world.loaded(self.life.host)
        return found


class InlineWriter(Writer):
    """The writer's jobs in a task of the same run, with the delay and at the risk of the host's disk."""

    def __init__(self, life: Life, store: Store) -> None:
        self._store = store
        self._life = life
        self._waiting: deque[tuple[Callable[[], object], Callable[[object], None]]] = deque()
        self._news = trio.Event()
        self._stopped = False
        self._busy = False
        self._quick = self._chances = 0
        life.world.nursery.start_soon(self._serve)

    def run(self, function: Callable[[], T], done: Callable[[T | StoreError], None]) -> None:
        self._waiting.append((function, done))  # type: ignore[arg-type]  # each pair fits together
        self._news.set()

    def commit_here(self, changes: Sequence[Change]) -> bool:
        """At every other chance, so that both ways are gone; not if the process is to die of it."""
        self._chances += 1
        if self._waiting or self._busy or self._life.host.disk.kill_in or self._chances % 2:
            return False
        self._store.commit(changes)
        self._life.world.marks["committed at once"] += 1
        return True

    def stop(self) -> None:
        self._stopped = True
        while self._waiting:
            _carry_out(*self._waiting.popleft())
        self._news.set()

    async def _serve(self) -> None:
        """Until `stop`, whatever is cancelled: a node waits for its commits under a shield."""
        with trio.CancelScope(shield=True):
            while True:
                while not self._waiting:
                    if self._stopped:
                        return
                    self._news = trio.Event()
                    await self._news.wait()
                self._busy = True
                await self._pause()
                if self._waiting:
                    await self._next()
                self._busy = False

    async def _next(self) -> None:
        function, done = self._waiting.popleft()
        fatal = self._fatal()
        if fatal == "before":
            self._life.world.kill(self._life.host.name)
        outcome: list[object] = []
        _carry_out(function, outcome.append)
        if fatal == "after":
            self._life.world.kill(self._life.host.name)
        else:
            await self._pause()
        done(outcome[0])

    def _fatal(self) -> str:
        """Whether the process dies of this job: before it is done, or after."""
        disk = self._life.host.disk
        if self._life.dead or not disk.kill_in:
            return ""
        disk.kill_in -= 1
        if disk.kill_in:
            return ""
        self._life.world.marks[f"killed {disk.kill_when} a commit was written"] += 1
        return disk.kill_when

    async def _pause(self) -> None:
        delay_ms = self._life.world.rng.between(*self._life.host.disk.delay_ms)
        if delay_ms:
            await trio.sleep(delay_ms / 1000)
        else:
            await trio.lowlevel.checkpoint()


async def inline(function: Callable[[*Ts], T], /, *arguments: *Ts, abandon_on_cancel: bool = False) -> T:
    """In place of `trio.to_thread.run_sync`."""
    await trio.lowlevel.checkpoint_if_cancelled()
    result = function(*arguments)
    await trio.lowlevel.cancel_shielded_checkpoint()
    return result


class World:
    """Hosts h1, h2, … in one trio run; made and used inside of `simulated`."""

    def __init__(self, rng: Rng, hosts: int, universe: str, directory: Path, nursery: trio.Nursery) -> None:
        self.rng = rng.fork()
        self.network = Network(rng.fork())
        self.nursery = nursery
        self.marks: Counter[str] = Counter()
        self.watchers: list[Watcher] = []
        self.violations: list[str] = []
        """What watchers found; raising it there would be taken for a failure of the disk or of the peer."""
        self.requests: list[Request] = []
        self.hosts: dict[str, Host] = {}
        self._directory = directory
        self._hash = blake2b(digest_size=16)
        trio.socket.set_custom_socket_factory(self.network)
        for number in range(1, hosts + 1):
            self._add_host(f"h{number}", f"192.0.2.{number}", universe, rng.fork())

    def _add_host(self, name: str, address: str, universe: str, rng: Rng) -> None:
        config = Config(universe, name=name, listen=format_endpoint(address, PORT), insecure=True)
        self.hosts[name] = Host(name, address, config, rng)

    # ── processes ────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str) -> None:
        """A process on the data that the last one left; nothing if one runs."""
        host = self.hosts[name]
        if host.life is not None:
            return
        host.lives += 1
        directory = self._data(host)
        life = host.life = Life(self, host, host.lives, replace_directory(host.config, directory))
        self.note(f"{name} starts")
        self.nursery.start_soon(self._live, life)

    def _data(self, host: Host) -> Path:
        return self._directory / host.name / str(host.lives)

    async def _live(self, life: Life) -> None:
        self.network.live_at(life.host.address)
        LIFE.set(life)
        store_type = type("StoreOfOneLife", (WatchedStore,), {"life": life})
        outside = Outside(
            wall_s=lambda: WALL_S + trio.current_time(),
            random_bits=lambda bits: life.host.rng.bits64() >> (64 - bits),
            in_thread=inline,
            store_type=store_type,
            writer_type=lambda store: InlineWriter(life, store),
        )
        try:
            with life.scope:
                async with open_node(life.config, outside) as life.node:
                    await life.stop.wait()
                    life.node = None
        except* StoreError as group:
            if not (life.dead or life.host.disk.fails):
                raise
            self.note(f"{life.host.name} could not start: {group.exceptions[0]}")
        life.over.set()
        if life.host.life is life:
            self._gone(life)

    def _gone(self, life: Life) -> None:
        """The next process finds what this one left."""
        host = life.host
        here = self._data(host)
        host.life = None
        self._next_data(host, here)

    def _next_data(self, host: Host, here: Path) -> None:
        there = self._directory / host.name / str(host.lives + 1)
        if here.exists():
            shutil.copytree(here, there)

    def kill(self, name: str) -> None:
        """As by SIGKILL: the files stay as they are, the kernel closes what was open, nobody is told anything."""
        host = self.hosts[name]
        life = host.life
        if life is None:
            return
        self.note(f"{name} is killed")
        self.marks["a process was killed"] += 1
        life.dead = True
        self._next_data(host, self._data(host))
        host.life = None
        host.disk.kill_in = 0
        for request in self.requests:
            if request.host == name and not request.outcome:
                self._settle(request, "lost")
                request.scope.cancel()
        life.scope.cancel()
        self.network.lose_host(host.address)  # last, so that no task of it finds its sockets closed

    async def end(self, name: str, *, cancel: bool = False) -> None:
        """A clean shutdown, or a cancelled one; either way it must come to its end."""
        life = self.hosts[name].life
        if life is None or life.ending:
            return
        self.note(f"{name} is {'cancelled' if cancel else 'stopped'}")
        life.ending = True
        if cancel:
            life.scope.cancel()
        else:
            life.stop.set()
        with trio.move_on_after(SHUTDOWN_S_MAX):
            await life.over.wait()
            return
        raise Violation(f"{name} did not shut down within {SHUTDOWN_S_MAX} s")

    def node(self, name: str) -> Node | None:
        life = self.hosts[name].life
        return life.node if life is not None else None

    # ── callers ──────────────────────────────────────────────────────────────────────────────────

    def ask(self, name: str, verb: Verb) -> Request:
        request = Request(len(self.requests) + 1, name, verb, trio.current_time())
        self.requests.append(request)
        node = self.node(name)
        if node is None:
            self._settle(request, "lost")
            return request
        self._tell("asked", request)
        self.nursery.start_soon(self._ask, node, request)
        return request

    async def _ask(self, node: Node, request: Request) -> None:
        answer: Outcome | RingIpamError = None
        with request.scope:
            try:
                answer = await node.ask(request.verb)
            except RingIpamError as error:
                answer = error
        if request.outcome:
            return
        if request.scope.cancelled_caught:
            self._settle(request, "cancelled")
            return
        request.answer = answer
        self._settle(request, "refused" if isinstance(answer, RingIpamError) else "answered")
        self._tell("answered", request)

    def _settle(self, request: Request, outcome: str) -> None:
        request.outcome = outcome
        request.took_s = trio.current_time() - request.asked_s
        self.note(f"{request.host} request {request.number} {outcome} {request.answer!r}")

    # ── what happens ─────────────────────────────────────────────────────────────────────────────

    def note(self, text: str) -> None:
        self._hash.update(f"{trio.current_time():.6f} {text}\n".encode())

    def stepped(self, life: Life, now: int, event: Event | None, effects: Sequence[Effect]) -> None:
        if life.dead:
            return
        self.note(f"{life.host.name} {now} {event} {effects}")
        if isinstance(event, LinkDown):
            self.marks[_why(event.reason)] += 1
        self.marks["a range was granted"] += any(_grants(effect) for effect in effects)
        self._tell("stepped", life, effects)

    def committed(self, host: Host, changes: Sequence[Change]) -> None:
        self.note(f"{host.name} committed {len(changes)}")
        self._tell("committed", host, changes)

    def loaded(self, host: Host) -> None:
        self._tell("loaded", host)

    def _tell(self, what: str, *arguments: object) -> None:
        for watcher in self.watchers:
            try:
                getattr(watcher, what)(*arguments)
            except Violation as violation:
                self.violations.append(f"at {trio.current_time():.3f} s: {violation}")

    @property
    def digest(self) -> str:
        """Everything that was stepped, committed, answered and read from a socket, with its time."""
        return f"{self._hash.hexdigest()}{self.network.digest}"

    @property
    def peers(self) -> dict[str, Peer]:
        """The peers that live, by host."""
        lives = {name: host.life for name, host in self.hosts.items()}
        return {name: life.peer for name, life in lives.items() if life is not None and life.peer is not None}

    @property
    def converged(self) -> bool:
        """Every host is up, in one cluster, and all rings are equal and complete."""
        peers = list(self.peers.values())
        if len(peers) < len(self.hosts) or any(self.node(name) is None for name in self.hosts):
            return False
        ring = peers[0].ring
        if ring is None or not peers[0].cluster or any(peer.cluster != peers[0].cluster for peer in peers):
            return False
        return all(peer.ring == ring for peer in peers) and all(claim.owner for _, claim in ring.tokens())


def replace_directory(config: Config, directory: Path) -> Config:
    return Config(
        config.iprange,
        name=config.name,
        listen=config.listen,
        insecure=True,
        init=config.init,
        peers=config.peers,
        quarantine_s=config.quarantine_s,
        data_dir=directory,
    )


def _why(reason: str) -> str:
    """A link's end in few words."""
    known = ("took nothing", "timed out", "reset by peer", "broken pipe", "the other side closed", "malformed message")
    return f"a link ended: {next((words for words in known if words in reason), 'otherwise')}"


def _grants(effect: Effect) -> bool:
    return isinstance(effect, Send) and isinstance(effect.message, Envelope) and isinstance(effect.message.body, Grant)


class _Critical(logging.Handler):
    """The runtime logs CRITICAL only for bugs of its own."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def simulated(seed: int, main: Callable[[trio.Nursery, Path], Awaitable[T]]) -> T:
    """Run `main(nursery, directory)` deterministically; its tasks, sockets and threads must all have ended then."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio._core._run._r.seed(seed)
    threads = threading.active_count()
    logger = logging.getLogger("ringipam")
    critical = _Critical()
    previous = node_module.Peer, logger.propagate

    async def whole(directory: Path) -> T:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(RUN_S_MAX):
                result = await main(nursery, directory)
            await trio.testing.wait_all_tasks_blocked()
            if nursery.child_tasks:
                raise Violation(f"tasks left: {sorted(task.name for task in nursery.child_tasks)}")
        return result

    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as directory:
        node_module.Peer = WatchedPeer  # type: ignore[misc]
        logger.addHandler(critical)
        logger.propagate = False
        try:
            result = trio.run(whole, Path(directory), clock=MockClock(autojump_threshold=0))
        finally:
            node_module.Peer, logger.propagate = previous  # type: ignore[misc]
            logger.removeHandler(critical)
    if critical.lines:
        raise Violation("\n".join(critical.lines))
    if threading.active_count() > threads:
        raise Violation("a thread was started")
    return result
