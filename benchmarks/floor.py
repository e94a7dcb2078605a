"""The least this machine takes: an append made durable, and words exchanged over a unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from time import perf_counter

from benchmarks.contender import Contender
from benchmarks.figures import Turn, timed

RECORD = b"x" * 100
WORDS = b"x" * 64


class BareSync(Contender):
    """Append 100 bytes and fdatasync, one after the other."""

    name = "append + fdatasync"

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def turn(self, seconds: float) -> Turn:
        begin = perf_counter()
        times: list[float] = []
        while not times or perf_counter() - begin < seconds:
            start = perf_counter()
            os.write(self._file, RECORD)
            os.fdatasync(self._file)
            times.append((perf_counter() - start) * 1e3)
        return {"sync": timed(times, perf_counter() - begin)}

    def close(self) -> None:
        os.close(self._file)


class BareExchange(Contender):
    """64 bytes there and back between two processes that block; the other one is a fork of this."""

    name = "64 B there and back"

    def __init__(self) -> None:
        self._here, there = socket.socketpair()
        self._echo = os.fork()
        if not self._echo:
            self._here.close()
            _echo(there)
        there.close()

    def turn(self, seconds: float) -> Turn:
        begin = perf_counter()
        times: list[float] = []
        while not times or perf_counter() - begin < seconds:
            start = perf_counter()
            self._here.sendall(WORDS)
            self._here.recv(len(WORDS))
            times.append((perf_counter() - start) * 1e3)
        return {"exchange": timed(times, perf_counter() - begin)}

    def close(self) -> None:
        self._here.close()
        os.waitpid(self._echo, 0)


def _echo(sock: socket.socket) -> None:
    """Until the other side closes; then this process ends, running nothing that the parent has in store."""
    while words := sock.recv(len(WORDS)):
        sock.sendall(words)
    os._exit(0)
