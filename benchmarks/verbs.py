"""Callers in Python, who say what they want by the verbs of the library: as many tasks as there are callers."""

from __future__ import annotations

import time
from typing import Any, Protocol

import trio

from benchmarks.load import Load, Step
from ringipam import Lease


class Verbs(Protocol):
    """What a node and `AsyncClient` have in common."""

    async def allocate(self, id: str) -> Lease: ...  # noqa: A002
    async def claim(self, id: str, interface: str) -> Lease: ...  # noqa: A002
    async def release(self, id: str) -> list[Lease]: ...  # noqa: A002
    async def lookup(self, id: str) -> list[Lease]: ...  # noqa: A002


async def phase(verbs: Verbs, load: Load, question: dict[str, Any]) -> dict[str, Any]:
    """As many callers as told, one verb, for so long and once at least; a release until nothing is held."""
    verb = str(question["verb"])
    us: list[int] = []
    spent, begin = time.process_time(), time.perf_counter()
    end = begin + question["seconds"] if verb != "release" else float("inf")

    async def caller() -> None:
        while (not us or time.perf_counter() < end) and (step := load.next(verb)) is not None:
            start = time.perf_counter()
            await carry_out(verbs, step)
            us.append(round((time.perf_counter() - start) * 1e6))
            load.done(step)

    async with trio.open_nursery() as nursery:
        for _ in range(question["callers"]):
            nursery.start_soon(caller)
    return {"us": us, "seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - spent}


async def carry_out(verbs: Verbs, step: Step) -> None:
    match step.verb:
        case "allocate":
            await verbs.allocate(step.id)
        case "claim":
            await verbs.claim(step.id, step.address)
        case "release":
            await verbs.release(step.id)
        case _:
            await verbs.lookup(step.id)
