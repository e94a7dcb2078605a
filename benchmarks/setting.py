"""Where one row is measured: starts what its contenders need, each with a directory of its own, and ends it all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import Contender, Driven
from benchmarks.daemons import process, wait_for
from benchmarks.filling import NAME, Filled, Larder
from benchmarks.rivals import etcd
from benchmarks.scale import Scale
from benchmarks.worker import Worker, python
from ringipam import Client

BOTH = ("allocate", "release")
"""What is allocated in a turn is released in the same, so that the next begins like the first."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that answers."""

    socket: Path
    pid: int
    filled: Filled


class Setting:
    """As a context manager: at its end nothing that it started is left."""

    def __init__(self, directory: Path, larder: Larder, scale: Scale) -> None:
        self.scale = scale
        self.skipped: dict[str, str] = {}
        """Contenders that cannot take part here, and why."""
        self.stack = ExitStack()
        self.directory = directory
        self._larder = larder
        self._numbers = 0
        directory.mkdir()

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def place(self) -> Path:
        """A directory that does not exist yet, with a short name: a socket's path has about a hundred characters."""
        self._numbers += 1
        return self.directory / str(self._numbers)

    def data(self, filled: Filled) -> Path:
        """A directory with such `data` in it."""
        path = self.place()
        path.mkdir()
        self._larder.copy(filled, path / "data")
        return path

    def daemon(self, filled: Filled) -> Daemon:
        path = self.data(filled)
        started = self.stack.enter_context(process(path, iprange=filled.iprange, name=NAME))
        with Client(path / "s") as client:
            wait_for(client)
        return Daemon(path / "s", started.pid, filled)

    def kept(self, worker: Worker) -> Worker:
        self.stack.callback(worker.close)
        return worker

    # ── ways to ask ──────────────────────────────────────────────────────────────────────────────

    def in_process(self, filled: Filled) -> Worker:
        return self.kept(python("inprocess", self.data(filled) / "data", filled.iprange, filled.leases))

    def http(self, daemon: Daemon) -> Worker:
        return self.kept(python("lean", "unix", daemon.socket, daemon.filled.iprange, daemon.filled.leases))

    def client(self, daemon: Daemon) -> Worker:
        return self.kept(python("pyclient", daemon.socket))

    def etcd(self, callers: tuple[int, ...]) -> list[Contender]:
        """By both of its doors, as far as they are here."""
        found: list[Contender] = []
        if why := etcd.missing():
            self.skipped["etcd"] = why
            return found
        running = self.stack.enter_context(etcd.running(self.place()))
        workers = {"etcd JSON": self.kept(running.json_load())}
        if why := etcd.client_missing():
            self.skipped["etcd gRPC (Go)"] = why
        else:
            place = self.place()
            place.mkdir()
            workers["etcd gRPC (Go)"] = self.kept(running.grpc_load(place))
        for name, worker in workers.items():
            found += asked(name, worker, callers, running.pid)
        return found


def asked(
    name: str, worker: Worker, callers: tuple[int, ...], server: int | None, verbs: tuple[str, ...] = BOTH
) -> list[Contender]:
    """One contender for each number of callers."""
    return [Driven(called(name, many), worker, many, verbs, server) for many in callers]


def called(name: str, callers: int) -> str:
    return f"{name}, {callers} caller{'s' if callers > 1 else ''}"
