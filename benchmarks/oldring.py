"""Data directories of hosts that have long been one ring, with as many tokens as are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from benchmarks.filling import BATCH
from ringipam import Config, open_node
from ringipam.address import parse_cidr
from ringipam.claim import Claim
from ringipam.core.durable import PutMember, PutTokens
from ringipam.messages import Standing
from ringipam.store.store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host keeps its data, and where others reach it."""

    data: Path
    endpoint: str


def seeding(places: Mapping[str, Place]) -> str:
    """The `--init` by which these hosts become one ring."""
    return f"seed={','.join(sorted(places))}"


def found(iprange: str, places: Mapping[str, Place], tokens: int) -> None:
    """Equal shares, owned by the hosts in turn, on everybody's disk."""
    init = seeding(places)
    peers = {name: trio.run(_founded, iprange, name, place.data, init) for name, place in places.items()}
    extent = parse_cidr(iprange).range
    owners = [Claim(0, 2, peer, peer) for peer in peers.values()]
    put = [(extent.start + index * extent.size // tokens, owners[index % len(owners)]) for index in range(tokens)]
    starts = {start for start, _ in put}
    for name, place in places.items():
        with_others = [
            PutMember(peers[other], theirs.endpoint, Standing.MEMBER)
            for other, theirs in places.items()
            if other != name
        ]
        store = Store.open(place.data, parse_cidr(iprange).family)
        try:
            gone = tuple(start for start in store.load().tokens if start not in starts)
            store.commit([PutTokens(gone, tuple(put[:BATCH])), *with_others])
            for first in range(BATCH, len(put), BATCH):
                store.commit([PutTokens((), tuple(put[first : first + BATCH]))])
        finally:
            store.close()


async def _founded(iprange: str, name: str, data: Path, init: str) -> str:
    """The peer that a host has become."""
    async with open_node(Config(iprange, name=name, data_dir=data, listen="127.0.0.1:0", init=init)) as node:
        await node.prime()
        status = await node.status()
        peer = status["peer"]
        assert isinstance(peer, dict)
        return f"{peer['name']}.{peer['uid']}"
