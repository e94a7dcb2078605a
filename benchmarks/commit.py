"""What a durable commit costs beside the least any store could do: append as many bytes to a file and sync it.

    python benchmarks/commit.py [DIRECTORY]

prints microseconds, and the ratio of the medians. The two take turns, so that a busy disk troubles both alike.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from ringipam.core.durable import Change, DropLease, PutLease
from ringipam.lease import Lease
from ringipam.ring.space import Rows
from ringipam.store.store import Store

ROUNDS = 3_000
FRAME_BYTES = 4096 + 24
"""What one changed page adds to SQLite's log."""
SUBNET = ipaddress.ip_network("10.32.0.0/12")
SINCE = datetime(2026, 11, 21, 9, tzinfo=UTC)


def lease(number: int) -> Lease:
    address = SUBNET[number + 1]
    return Lease(f"01JD{number:08X}", f"container-{number}", address, 12, SUBNET, "container", "host1", SINCE)


def timed(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return (perf_counter() - start) * 1e6


def measure(store: Store, descriptor: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"append and fdatasync": [], "insert a lease": [], "delete it, with its rest": []}

    def append() -> None:
        os.write(descriptor, bytes(FRAME_BYTES))
        os.fdatasync(descriptor)

    for number in range(ROUNDS):
        address = int(SUBNET[number + 1])
        steps: Sequence[Sequence[Change]] = (
            (PutLease(lease(number)),),
            (DropLease(lease(number).lease), Rows((), ((address, address + 1, 1_800_000_000_000),))),
        )
        for name, action in zip(
            times, (append, *(lambda step=step: store.commit(step) for step in steps)), strict=True
        ):
            times[name].append(timed(action))
    return times


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        store = Store.open(Path(name) / "data", 4)
        descriptor = os.open(Path(name) / "appended", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        times = measure(store, descriptor)
        os.close(descriptor)
        store.close()
    base = median(times["append and fdatasync"])
    for name, taken in times.items():
        p50, p99 = median(taken), quantiles(taken, n=100)[98]
        print(f"{name:26} p50 {p50:7.0f}  p99 {p99:7.0f}  max {max(taken):7.0f}  ratio {p50 / base:.2f}")


if __name__ == "__main__":
    main()
