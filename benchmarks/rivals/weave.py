"""A stand-in for weave's allocator: what it writes and syncs for an operation, without the rest of it.

weave keeps its lease table and its ring as one value each in a BoltDB file. Every operation encodes the whole table
and saves it before the answer, and the whole ring after it, with about six fdatasync in all. Where it is open what it
does, what costs less stands here: the encoder is msgpack, written in C, and a single commit of BoltDB, which is two of
the six, comes before the answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import msgpack

from benchmarks.contender import Contender
from benchmarks.figures import Turn, timed
from benchmarks.load import Load, filled_id

META = b"m" * 4096
"""A page that says where the newest state is: BoltDB syncs the data, then this."""


class File:
    """One value, written whole and synced, then a page of meta data, synced."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def save(self, value: bytes) -> None:
        os.pwrite(self._file, value, len(META))
        os.fdatasync(self._file)
        os.pwrite(self._file, META, 0)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class WeaveStandIn(Contender):
    """One caller in process: allocates for a while, and times each; the answer counts, not what is done after it."""

    def __init__(self, directory: Path, leases: int, name: str) -> None:
        directory.mkdir()
        self.name = name
        self._table = {filled_id(number): [number] for number in range(leases)}
        self._ring = [(token, 1, 2**10, "host1") for token in range(100)]
        self._file, self._load = File(directory / "data"), Load("weave")
        self._next = leases

    def turn(self, seconds: float) -> Turn:
        begin = perf_counter()
        allocated = self._until("allocate", lambda: perf_counter() - begin < seconds)
        took = perf_counter() - begin
        held = len(self._table)
        self._until("release", lambda: True)
        assert held > len(self._table)
        return {"allocate": timed(allocated, took)}

    def close(self) -> None:
        self._file.close()

    def _until(self, verb: str, more: Callable[[], bool]) -> list[float]:
        times: list[float] = []
        while (not times or more()) and (step := self._load.next(verb)) is not None:
            start = perf_counter()
            if step.verb == "allocate":
                self._table[step.id] = [self._next]
                self._next += 1
            else:
                del self._table[step.id]
            self._file.save(msgpack.packb(self._table))
            times.append((perf_counter() - start) * 1e3)
            for _ in range(2):
                self._file.save(msgpack.packb(self._ring))
            self._load.done(step)
        return times
