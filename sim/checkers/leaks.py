"""No address is lost: what a host possesses is leased, or it is free or resting and can be issued (W8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ringipam.address import Range
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.host import Host


class NothingLeaks(Checker):
    def finished(self) -> None:
        for host in self.world.members():
            if host.peer is None:
                continue
            at = {int(lease.address) for lease in host.peer.leases.values()}
            for owned in host.peer.possessed():
                leased = sum(1 for address in at if address in owned)
                free = host.peer.free_in(owned, at_most=owned.size)
                kept = sum(1 for address in _excluded(host, owned) if address not in at)
                if leased + free + kept != owned.size:
                    first, last = (self.world.universe.text(a) for a in (owned.start, owned.end - 1))
                    self.fail(
                        f"{host.name} owns {owned.size} addresses, {first} to {last}: {leased} leased, {free} free,"
                        f" {kept} excluded"
                    )


def _excluded(host: Host, owned: Range) -> Iterator[int]:
    """The addresses of a range that are kept out of allocation."""
    for kept in host.settings.excluded:
        both = kept.intersect(owned)
        yield from range(*both) if both else ()
