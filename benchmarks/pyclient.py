"""A worker that loads a daemon through the shipped clients: `Client` if it is one caller, else `AsyncClient`.

python -m benchmarks.pyclient SOCKET
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import trio

from benchmarks.load import Load
from benchmarks.verbs import phase
from benchmarks.worker import serve
from ringipam import AsyncClient, Client


def alone(client: Client, load: Load, question: dict[str, Any]) -> dict[str, Any]:
    """One caller who blocks: allocates, or releases until nothing is held."""
    verb = str(question["verb"])
    us: list[int] = []
    spent, begin = time.process_time(), time.perf_counter()
    end = begin + question["seconds"] if verb != "release" else float("inf")
    ask = client.allocate if verb == "allocate" else client.release
    while (not us or time.perf_counter() < end) and (step := load.next(verb)) is not None:
        start = time.perf_counter()
        ask(step.id)
        us.append(round((time.perf_counter() - start) * 1e6))
        load.done(step)
    return {"us": us, "seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - spent}


async def together(socket: Path, load: Load, question: dict[str, Any]) -> dict[str, Any]:
    async with AsyncClient(socket) as client:
        return await phase(client, load, question)


def main(socket: Path) -> None:
    load = Load(f"client-{time.time_ns()}")
    with Client(socket) as client:

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            if question["callers"] == 1:
                return alone(client, load, question)
            return trio.run(together, socket, load, question)

        serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
