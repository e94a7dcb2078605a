"""A worker with the node inside: no socket, no other process. python -m benchmarks.inprocess DIRECTORY IPRANGE FILLED

Says when it is ready how long it took from the opening of the node to the end of the first allocation.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import trio

from benchmarks.filling import NAME
from benchmarks.load import Load
from benchmarks.verbs import phase
from benchmarks.worker import say
from ringipam import Config, open_node
from ringipam.address import parse_cidr


async def main(directory: str, iprange: str, filled: str) -> None:
    universe = parse_cidr(iprange)
    load = Load("inside", int(filled), universe.range.end - 1, universe.prefix_len, universe.family)
    begin = time.perf_counter()
    async with open_node(Config(iprange, name=NAME, data_dir=Path(directory), listen="127.0.0.1:0")) as node:
        await node.allocate("first")
        first_ms = (time.perf_counter() - begin) * 1e3
        await node.release("first")
        say({"first_ms": first_ms})
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            say(await phase(node, load, json.loads(line)))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
