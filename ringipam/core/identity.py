"""Who a peer is, where that follows from its configuration (docs/design.md, "Starting a ring")."""

from __future__ import annotations

from hashlib import sha256

from ringipam.address import Cidr
from ringipam.config import Init, Mode
from ringipam.messages import Founding


def seeded_uid(init: Init, universe: Cidr, name: str) -> str | None:
    """The uid of the seeded host `name`, the same on every host that computes it; None if it is not seeded."""
    if init.mode is not Mode.SEED or name not in init.seeds:
        return None
    return _derive(init, universe, name)[:12]


def seeded_founding(init: Init, universe: Cidr) -> Founding:
    """The ring that `--init seed=…` stands for, known without any contact."""
    members = tuple(f"{name}.{_derive(init, universe, name)[:12]}" for name in init.seeds)
    return Founding(_derive(init, universe, "")[:16], members)


def _derive(init: Init, universe: Cidr, name: str) -> str:
    return sha256(f"{'|'.join(init.seeds)}|{universe}|{name}".encode()).hexdigest()
