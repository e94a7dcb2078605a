"""What a peer is told about itself before it starts, and the protocol's times."""

from __future__ import annotations

from dataclasses import dataclass

from ringipam.address import Cidr, Range
from ringipam.config import Init

NEVER = 1 << 62
"""The deadline of what waits for nothing, in milliseconds: later than any other."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One peer's part in the system. All times are milliseconds."""

    peer: str
    """`name.uid`; the uid was made with the data directory and is never used again."""
    universe: Cidr
    subnet: Cidr
    """Where an address comes from if the caller names no subnet."""
    address: str
    """Where others reach it; an empty host (`:6783`) means the one they see the connection come from."""
    init: Init
    dial: tuple[str, ...] = ()
    """The peers it was launched with."""
    excluded: tuple[Range, ...] = ()
    quarantine_ms: int = 30_000

    verify: bool = False
    """After a start nothing is issued before a peer has confirmed that the data is current (`--on-restart verify`)."""

    probe_ms: int = 1_000
    """SWIM's period: one member is probed in each."""
    probe_timeout_ms: int = 400
    rumour_ms: int = 100
    """Between two rounds of offering rumours."""
    anti_entropy_ms: int = 2_000
    donor_ms: int = 1_000
    """How long one donor may take to answer before the next is asked."""
    housekeeping_ms: int = 10_000
    """Between two looks at what could be coalesced or given back."""
    election_ms: int = 500
    """How long a proposer waits for more electors than it needs, and before it tries again."""
    redial_min_ms: int = 200
    redial_max_ms: int = 2_000
    refused_redial_ms: int = 30_000
    """Before dialling again a peer of a foreign ring."""
    links_dialled_max: int = 32
    """Beyond so many links only configured peers are dialled; relays and gossip reach the rest."""

    @property
    def name(self) -> str:
        return name_of(self.peer)


def name_of(peer: str) -> str:
    """The host's name in a peer id."""
    return peer.rpartition(".")[0]
