"""Once faults have ended: one ring everywhere, every address owned by a member, in normal form (W8)."""

from __future__ import annotations

from sim.checkers.base import Checker


class Convergence(Checker):
    def finished(self) -> None:
        world = self.world
        if not world.converged:
            state = {
                name: (host.peer.cluster[:4], [(s, *c) for s, c in host.peer.ring.tokens()] if host.peer.ring else None)
                for name, host in world.hosts.items()
                if host.peer is not None
            }
            self.fail(f"the hosts have not become one system: {state}")
        members = {host.settings.peer for host in world.members()}
        if not world.orders.content:
            self.fail(f"what operators asked for is not so: {world.orders.missing()}")
        dead = {host.settings.peer for host in world.hosts.values() if not host.wanted} | world.lost_peers
        members |= dead.difference(world.orders.dead)
        for host in world.members():
            assert host.peer is not None
            assert host.peer.ring is not None
            host.peer.ring.check()
            strangers = sorted(owner for owner in host.peer.ring.owners() if owner not in members)
            if strangers:
                self.fail(f"addresses are owned by {strangers}, who is nobody")
