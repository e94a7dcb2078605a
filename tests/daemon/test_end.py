"""SIGTERM ends a daemon cleanly, whatever is under way: what was confirmed is kept, who waits is told (W10)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from process import Daemon

from ringipam import Client, DaemonUnreachableError, Lease, NotReadyError

WAITING = 20


def test_sigterm_while_requests_wait_ends_with_0_and_tells_them(daemon: Daemon) -> None:
    daemon.options = (*daemon.options, "--init", "consensus=3")
    client = daemon.start()

    def wait(number: int) -> str:
        with Client(daemon.socket) as waiting, pytest.raises(NotReadyError) as told:
            waiting.allocate(f"c{number}", timeout=600)
        return told.value.message

    with ThreadPoolExecutor(WAITING) as pool:
        jobs = [pool.submit(wait, number) for number in range(WAITING)]
        while len(pending(client)) < WAITING:
            pass
        status = daemon.stop()

        assert {job.result(timeout=10) for job in jobs} == {"the node is shutting down"}
    client.close()
    assert status == 0
    assert "Traceback" not in daemon.log
    assert not daemon.socket.exists()


def pending(client: Client) -> list[object]:
    waiting = client.status()["pending"]
    assert isinstance(waiting, list)
    return waiting


def test_sigterm_under_load_ends_with_0_and_keeps_what_was_confirmed(daemon: Daemon) -> None:
    daemon.start().close()
    confirmed: list[Lease] = []
    under_way = threading.Event()

    def load(worker: int) -> None:
        with Client(daemon.socket) as client:
            for number in range(100_000):
                try:
                    confirmed.append(client.allocate(f"w{worker}-{number}"))
                except (NotReadyError, DaemonUnreachableError):
                    return
                if len(confirmed) > 200:
                    under_way.set()

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(load, worker) for worker in range(4)]
        assert under_way.wait(30)
        status = daemon.stop()
        for job in jobs:
            job.result(timeout=30)
    client = daemon.start()
    kept = set(client.leases())
    client.close()

    assert status == 0
    assert set(confirmed) <= kept
    assert len({lease.address for lease in kept}) == len(kept)
    assert daemon.stop() == 0
