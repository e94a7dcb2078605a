"""Whose data a directory holds: makes the peer id on the first start, and refuses a start as somebody else."""

from __future__ import annotations

from collections.abc import Callable

from ringipam.config import Config, format_endpoint, parse_endpoint, parse_init, peer_endpoint
from ringipam.core.durable import Change, PutMeta, Stored
from ringipam.core.identity import seeded_uid
from ringipam.core.settings import Settings, name_of
from ringipam.errors import StoreError

UID_BITS = 48
WILDCARDS = ("", "0.0.0.0", "::")


def first_facts(config: Config, stored: Stored, random_bits: Callable[[int], int]) -> tuple[Change, ...]:
    """What must be durable before anything else is done: on a first start the peer's id and universe, else nothing.

    Raises StoreError if the data are another peer's, or of another universe.
    """
    peer = stored.meta.get("peer")
    if peer is None:
        uid = seeded_uid(parse_init(config.init, config.peers), config.universe, config.name)
        uid = uid or f"{random_bits(UID_BITS):0{UID_BITS // 4}x}"
        return PutMeta("peer", f"{config.name}.{uid}"), PutMeta("universe", str(config.universe))
    anew = f"or move {config.data_dir} away to begin anew as a new peer"
    universe = stored.meta.get("universe")
    if universe != str(config.universe):
        raise StoreError(
            f"the data in {config.data_dir} is for {universe}, not {config.universe}: start with the range {universe},"
            f" {anew}"
        )
    if name_of(peer) != config.name:
        raise StoreError(
            f"the data in {config.data_dir} is of {name_of(peer)}, not {config.name}: start with"
            f" --name {name_of(peer)}, {anew}"
        )
    return ()


def settings(config: Config, stored: Stored, bound_to: tuple[str, int]) -> Settings:
    """The part this node plays, listening at `bound_to`."""
    return Settings(
        peer=stored.meta["peer"],
        universe=config.universe,
        subnet=config.default_subnet,
        address=_address(config, bound_to),
        init=parse_init(config.init, config.peers),
        dial=tuple(peer_endpoint(peer) for peer in config.peers),
        excluded=config.excluded,
        quarantine_ms=round(config.quarantine_s * 1000),
        verify=config.on_restart == "verify",
    )


def _address(config: Config, bound_to: tuple[str, int]) -> str:
    """Where others reach this node; a host that listens everywhere lets them take the one they see."""
    if config.advertise is not None:
        return format_endpoint(*parse_endpoint(config.advertise))
    host, port = bound_to
    return format_endpoint("" if host in WILDCARDS else host, port)
