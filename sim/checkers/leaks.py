"""No address is lost: what a host possesses is leased, or it is free or resting and can be issued (W8)."""

from __future__ import annotations

from sim.checkers.base import Checker


class NothingLeaks(Checker):
    def finished(self) -> None:
        for host in self.world.members():
            if host.peer is None:
                continue
            for owned in host.peer.possessed():
                leased = sum(1 for lease in host.peer.leases.values() if int(lease.address) in owned)
                free = host.peer.free_in(owned, at_most=owned.size)
                if leased + free != owned.size:
                    first, last = (self.world.universe.text(a) for a in (owned.start, owned.end - 1))
                    self.fail(
                        f"{host.name} owns {owned.size} addresses, {first} to {last}: {leased} leased, {free} free"
                    )
