"""Data directories that hold leases already, or a ring of many tokens: written by the store, which is quicker.

Each is made once and copied for whoever needs it.
"""

from __future__ import annotations

import ipaddress
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import trio

from benchmarks.load import filled_id
from ringipam import Config, open_node
from ringipam.address import parse_cidr
from ringipam.claim import Claim
from ringipam.core.durable import Change, PutLease, PutMember, PutTokens
from ringipam.lease import Lease
from ringipam.messages import Standing
from ringipam.store.store import Store

RANGES = {4: "10.32.0.0/12", 6: "fd00:32::/64"}
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "bench"
BATCH = 10_000
OWNERS = 100


@dataclass(frozen=True, slots=True)
class Filled:
    """What a data directory is to hold."""

    iprange: str
    leases: int = 0
    apart: int = 1
    """Every so-manieth address of the range is leased, from its beginning."""
    tokens: int = 1

    @property
    def family(self) -> int:
        return parse_cidr(self.iprange).family


def fresh(leases: int, family: int = 4) -> Filled:
    """Leases side by side at the beginning of a range that is nearly empty."""
    return Filled(RANGES[family], leases)


def fragmented(leases: int) -> Filled:
    """A range with every second address leased, up to about the last, so that all that is free is single addresses."""
    network = ipaddress.ip_network(f"10.32.0.0/{32 - (2 * leases).bit_length()}")
    return Filled(str(network), network.num_addresses // 2 - 1, apart=2)


class Larder:
    """Filled directories, each made when it is first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[Filled, Path] = {}
        directory.mkdir()

    def copy(self, filled: Filled, to: Path) -> None:
        if filled not in self._made:
            path = self._directory / str(len(self._made))
            make(filled, path)
            self._made[filled] = path
        shutil.copytree(self._made[filled], to)


def make(filled: Filled, path: Path) -> None:
    """A directory as a host leaves it that founded its ring alone and has issued so many leases."""
    trio.run(_found, Config(filled.iprange, name=NAME, data_dir=path, listen="127.0.0.1:0"))
    store = Store.open(path, filled.family)
    try:
        me = store.load().meta["peer"]
        if filled.tokens > 1:
            store.commit(ring(filled, me))
        leases = _leases(filled)
        while batch := [PutLease(lease) for lease in islice(leases, BATCH)]:
            store.commit(batch)
    finally:
        store.close()


async def _found(config: Config) -> None:
    async with open_node(config) as node:
        await node.prime()


def _leases(filled: Filled) -> Iterator[Lease]:
    subnet = ipaddress.ip_network(filled.iprange)
    for number in range(filled.leases):
        address = subnet[1 + number * filled.apart]
        yield Lease(f"{number:016x}", filled_id(number), address, subnet.prefixlen, subnet, "container", NAME, SINCE)


def ring(filled: Filled, me: str) -> list[Change]:
    """Ranges of any size with neighbours of different owners, as churn leaves them; the first is this host's own."""
    universe = parse_cidr(filled.iprange)
    others = [f"host{number:03}.{number:012x}" for number in range(OWNERS)]
    cuts = random.Random(1).sample(range(universe.start + 2**16, universe.range.end), filled.tokens - 1)
    put = [(start, Claim(0, 2, others[index % OWNERS], me)) for index, start in enumerate(sorted(cuts))]
    return [*(PutMember(other, "", Standing.MEMBER) for other in others), PutTokens((), tuple(put))]
