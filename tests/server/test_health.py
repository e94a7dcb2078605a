"""`/healthz` and `/readyz` of a real node in each state that it can be in (docs/http.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from asking import Book
from trio.testing import MockClock

from ringipam import Config, Node, StoreError, errors, open_node
from ringipam.address import parse_subnet
from ringipam.core.durable import Change
from ringipam.runtime import node as node_module
from ringipam.runtime.outside import Outside
from ringipam.server.api import READY_S, Api
from ringipam.server.http import Request
from ringipam.server.routes import Asker
from ringipam.store.store import Store

RANGE = "10.32.0.0/12"


def config(directory: Path, **more: Any) -> Config:
    return Config(RANGE, name="host1", listen="127.0.0.1:0", data_dir=directory / "data", **more)


async def probe(asker: Asker, path: str = "/readyz") -> tuple[int, Any]:
    answer = await Api(asker, parse_subnet(RANGE), "0").handle(Request("GET", path, "", {}, b"", True))
    return answer.status, json.loads(answer.body) if path == "/readyz" else answer.body


async def test_a_node_without_a_ring_is_not_ready_and_says_what_makes_one(tmp_path: Path) -> None:
    async with open_node(config(tmp_path, init="consensus=3")) as node:
        status, said = await probe(node)

        assert (status, said["state"]) == (503, "idle")
        assert "ringipam prime" in said["reason"]


async def test_a_node_that_waits_for_others_to_found_the_ring_is_not_ready(tmp_path: Path) -> None:
    async with open_node(config(tmp_path, init="consensus=3")) as node, trio.open_nursery() as nursery:
        nursery.start_soon(_wait_for_an_address, node)
        await trio.testing.wait_all_tasks_blocked()

        status, said = await probe(node)

        assert (status, said["state"]) == (503, "electing")
        assert said["reason"]
        assert (await probe(node, "/healthz"))[0] == 200
        nursery.cancel_scope.cancel()


async def _wait_for_an_address(node: Node) -> None:
    await node.allocate("c1")


async def test_a_node_with_a_ring_is_ready(tmp_path: Path) -> None:
    async with open_node(config(tmp_path)) as node:
        await node.prime()

        assert await probe(node) == (200, {"state": "ready", "reason": None})


class FullStore(Store):
    full = False

    def commit(self, changes: Sequence[Change]) -> None:
        if type(self).full:
            raise StoreError("the disk is full")
        super().commit(changes)


async def test_a_node_whose_disk_is_full_is_healthy_and_not_ready_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "RETRY_S_MIN", 0.01)
    monkeypatch.setattr(FullStore, "full", False)
    async with open_node(config(tmp_path), Outside(store_type=FullStore)) as node:
        await node.allocate("c1")
        FullStore.full = True
        with pytest.raises(StoreError):
            await node.allocate("c2")

        assert await probe(node) == (503, {"state": "refusing", "reason": "the disk is full"})
        assert await probe(node, "/healthz") == (200, b"ok\n")

        FullStore.full = False
        with trio.fail_after(20):
            while (await probe(node))[0] != 200:
                await trio.sleep(0.01)


async def test_a_node_that_ends_is_not_ready(tmp_path: Path) -> None:
    async with open_node(config(tmp_path)) as node:
        await node.prime()
        await node.close()

        assert await probe(node) == (503, {"state": "not_ready", "reason": "this node is shutting down"})


async def test_a_fenced_node_is_not_ready_whatever_it_serves() -> None:
    book = Book()
    book.state, book.serving = "fenced", True

    assert (await probe(book))[0] == 503


async def test_a_probe_is_answered_even_while_the_disk_hangs(autojump_clock: MockClock) -> None:
    book = Book()
    book.holding = trio.Event()

    status, said = await probe(book)

    assert (status, said["state"]) == (503, "slow")
    assert trio.current_time() == READY_S
    assert len(book.withdrawn) == 1
    assert (await probe(book, "/healthz"))[0] == 200


async def test_no_error_of_the_node_leaves_a_probe_without_an_answer() -> None:
    book = Book()
    book.refusal = errors.StoreError("the disk is full")

    assert await probe(book) == (503, {"state": "disk", "reason": "the disk is full"})
