"""`kill -9` at any moment: what was acknowledged is kept, and nothing is issued twice (W6, W10)."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest
from process import Daemon

from ringipam import Client, DaemonUnreachableError, Lease

KILLS = 100


@dataclass
class Load:
    """A client that allocates and releases until the daemon is gone, and remembers what it was told."""

    round: int
    held: dict[str, Lease] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Ids whose last request was not answered: either outcome is right."""

    def run(self, client: Client) -> None:
        rng = random.Random(self.round)
        for number in range(100_000):
            old = rng.choice(sorted(self.held)) if self.held and rng.random() < 0.4 else None
            holder = old or f"r{self.round}-{number}"
            try:
                if old:
                    client.release(old, lease=self.held[old].lease)
                    del self.held[old]
                else:
                    self.held[holder] = client.allocate(holder)
            except DaemonUnreachableError:
                self.unsure.add(holder)
                self.held.pop(holder, None)
                return


@pytest.mark.slow
def test_no_acknowledged_lease_is_lost_or_issued_twice_over_100_kills(daemon: Daemon) -> None:
    rng = random.Random(2026)
    held: dict[str, Lease] = {}
    client = daemon.start()
    for kill in range(KILLS):
        load = Load(kill, dict(held))
        thread = threading.Thread(target=load.run, args=(client,))
        thread.start()
        time.sleep(rng.uniform(0.0, 0.15))
        daemon.kill()
        thread.join(timeout=30)
        assert not thread.is_alive()
        client.close()

        client = daemon.start()
        now = {lease.id: lease for lease in client.leases()}

        lost = [f"{i} {lease.address}" for i, lease in load.held.items() if now.get(i) != lease]
        assert not lost, f"kill {kill}: acknowledged and lost: {lost}"
        extra = now.keys() - load.held.keys() - load.unsure
        assert not extra, f"kill {kill}: leases nobody asked for: {extra}"
        addresses = [lease.address for lease in now.values()]
        assert len(set(addresses)) == len(addresses), f"kill {kill}: an address twice"
        held = now
    client.close()
    assert daemon.stop() == 0
