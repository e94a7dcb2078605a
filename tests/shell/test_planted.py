"""What watches the shell catches what it is there for: each test breaks one thing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trio
from histories import run
from watchers import NothingLeasedTwice, NothingPossessedTwice
from world import Host, Violation, World, simulated

from ringipam.address import parse_cidr
from ringipam.claim import Claim
from ringipam.core.durable import Change, PutLease, PutMeta, PutTokens
from ringipam.core.events import Effect, Reply
from ringipam.core.outbox import Outbox, Visible
from ringipam.core.rng import Rng
from ringipam.errors import StoreError
from ringipam.lease import Lease
from ringipam.runtime import driver, link
from ringipam.runtime.disk import Disk
from ringipam.store.store import Store

SEEDS = 30


def found(error: BaseException) -> list[str]:
    """The violations that a run ended with."""
    if isinstance(error, BaseExceptionGroup):
        return [text for inner in error.exceptions for text in found(inner)]
    return [str(error)] if isinstance(error, Violation) else []


def caught() -> list[str]:
    """What the first seed that fails says."""
    for seed in range(SEEDS):
        try:
            run(seed)
        except Exception as error:
            return found(error)
    return []


class HastyOutbox(Outbox):
    """Lets answers out before what they rest on is durable."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: list[Visible] = []

    def push(self, effects: Sequence[Effect]) -> None:  # type: ignore[override]
        self._answers += [effect for effect in effects if isinstance(effect, Reply)]
        super().push(effect for effect in effects if not isinstance(effect, Reply))

    def visible(self) -> list[Visible]:
        answers, self._answers = self._answers, []
        return [*answers, *super().visible()]


def test_answers_ahead_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "Outbox", HastyOutbox)

    assert any("has not written it down" in text for text in caught())


def test_commits_reported_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(disk: Disk, changes: tuple[Change, ...], done: Callable[[StoreError | None], None]) -> None:
        disk._token.run_sync_soon(done, None)
        disk._writer.submit(changes, lambda error: None)

    monkeypatch.setattr(Disk, "submit", submit)

    assert any("has not written it down" in text for text in caught())


def test_a_commit_that_leaves_something_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Store.commit
    monkeypatch.setattr(
        Store, "commit", lambda store, changes: whole(store, [c for c in changes if not isinstance(c, PutLease)])
    )

    assert any("reads" in text and "committed" in text for text in caught())


def test_connections_that_are_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(stream: trio.abc.AsyncResource) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(link.trio, "aclose_forcefully", keep)

    assert any("sockets were left open" in text for text in caught())


def test_a_node_that_ends_before_its_last_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def finish(self: driver.Driver) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(driver.Driver, "finish", finish)

    assert any("possess" in text or "never answered" in text for text in caught())


# ── what no driver alone can break: two disks that contradict each other ──────────────────────────


def contradicting(look: Callable[[World, Host, Host], None]) -> None:
    """Call `look` with two hosts whose disks both give them everything, and raise what it raises."""
    universe = parse_cidr("10.0.0.0/24")

    async def main(nursery: trio.Nursery, directory: Path) -> None:
        world = World(Rng(1), 2, str(universe), directory, nursery)
        for host in world.hosts.values():
            me = f"{host.name}.1"
            ring = PutTokens((), ((universe.start, Claim(0, 1, me, me)),))
            for change in (PutMeta("peer", me), PutMeta("cluster", "c"), ring):
                host.disk.durable.apply(change)
        look(world, *world.hosts.values())

    simulated(1, main)


def test_a_range_possessed_twice() -> None:
    def look(world: World, one: Host, other: Host) -> None:
        watcher = NothingPossessedTwice(world)
        watcher.loaded(one)
        watcher.loaded(other)

    with pytest.raises(ExceptionGroup) as error:
        contradicting(look)
    assert any("possess" in text for text in found(error.value))


def test_an_address_leased_twice() -> None:
    def look(world: World, one: Host, other: Host) -> None:
        watcher = NothingLeasedTwice(world)
        for host in (one, other):
            put = PutLease(lease_of(host))
            host.disk.durable.apply(put)
            watcher.committed(host, [put])

    with pytest.raises(ExceptionGroup) as error:
        contradicting(look)
    assert any("is leased on" in text for text in found(error.value))


def lease_of(host: Host) -> Lease:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    subnet = ip_network("10.0.0.0/24")
    return Lease(f"L{host.name}", "c1", ip_address("10.0.0.9"), 24, subnet, "container", host.name, since)
