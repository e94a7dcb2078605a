"""Many hosts that have long been linked: who dials whom is drawn beforehand, and how much each knows is chosen.

For systems whose member lists do not fit into memory once for each host: a host then knows whom it is linked to, and
lists are never compared. All addresses are excluded from being issued, so no host has free ones to tell of; what
changes owner is claimed by its address.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringipam.address import parse_cidr
from ringipam.claim import Claim
from ringipam.core.durable import Membered, Stored
from ringipam.core.rng import Rng
from ringipam.messages import CompareMembers, Standing
from sim.cluster import World
from sim.standing import CLUSTER

LINKS = 32
"""So many does a host dial (core/settings.py), and as many dial it."""
UNIVERSE = "10.0.0.0/8"


def mesh(seed: int, hosts: int, tokens: int, *, whole_lists: bool = True, links: int = LINKS) -> World:
    """A world that was just started, with a ring of so many equal shares, owned by the hosts in turn.

    Without `whole_lists` a host knows only those whom it dials or who dial it.
    """
    names = [f"h{number}" for number in range(1, hosts + 1)]
    dialled = drawn(names, links, Rng(seed).fork())
    extent = parse_cidr(UNIVERSE).range
    world = World(
        seed, names, UNIVERSE, "observer", dial=dialled.__getitem__, excluded=(extent,), checked=False, start=False
    )
    if not whole_lists:
        world.network.unsaid = frozenset({CompareMembers})
    members = {name: (host.settings.peer, host.settings.address) for name, host in world.hosts.items()}
    known = dict.fromkeys(names, names) if whole_lists else acquainted(dialled)
    owners = [host.settings.peer for host in world.hosts.values()]
    shares = [extent.start + number * extent.size // tokens for number in range(tokens)]
    claims = [Claim(0, 1, owner, owner) for owner in owners]
    ring = {start: claims[number % hosts] for number, start in enumerate(shares)}
    for name, host in world.hosts.items():
        listed = {members[other][0]: Membered(members[other][1], Standing.MEMBER) for other in known[name]}
        host.disk.durable = Stored(meta={"cluster": CLUSTER}, tokens=dict(ring), members=listed)
        host.start()
    return world


def drawn(names: Sequence[str], links: int, rng: Rng) -> dict[str, list[str]]:
    """Whom each host dials: everybody if there are few, else so many others at random."""
    if len(names) <= links + 1:
        return {name: [other for other in names if other != name] for name in names}
    found: dict[str, list[str]] = {}
    for name in names:
        chosen: dict[str, None] = {}
        while len(chosen) < links:
            other = rng.pick(names)
            if other != name:
                chosen[other] = None
        found[name] = list(chosen)
    return found


def acquainted(dialled: dict[str, list[str]]) -> dict[str, list[str]]:
    """Whom each host is linked to, and itself."""
    found = {name: dict.fromkeys([name, *others]) for name, others in dialled.items()}
    for name, others in dialled.items():
        for other in others:
            found[other][name] = None
    return {name: list(others) for name, others in found.items()}
