"""Who a peer is, where that follows from its configuration (docs/design.md, "Starting a ring")."""

from __future__ import annotations

from hashlib import blake2b, sha256

from ringipam.address import Cidr
from ringipam.config import Init, Mode
from ringipam.messages import Founding

MARK_SIZE = 8


def seeded_uid(init: Init, universe: Cidr, name: str) -> str | None:
    """The uid of the seeded host `name`, the same on every host that computes it; None if it is not seeded."""
    if init.mode is not Mode.SEED or name not in init.seeds:
        return None
    return _derive(init, universe, name)[:12]


def seeded_founding(init: Init, universe: Cidr) -> Founding:
    """The ring that `--init seed=…` stands for, known without any contact."""
    members = tuple(f"{name}.{_derive(init, universe, name)[:12]}" for name in init.seeds)
    return Founding(_derive(init, universe, "")[:16], members)


def mark_of(cluster: str, universe: Cidr) -> bytes:
    """What stands in every envelope for the ring it is of: eight bytes of a hash of cluster id and universe.

    A message of another ring passes for one of this only by a collision, one in 2**64 (safety.md S6).
    """
    return blake2b(f"{cluster} {universe}".encode(), digest_size=MARK_SIZE).digest()


def _derive(init: Init, universe: Cidr, name: str) -> str:
    return sha256(f"{'|'.join(init.seeds)}|{universe}|{name}".encode()).hexdigest()
