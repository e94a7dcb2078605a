"""Which of this host's routes lie across the universe: addresses there may be in use by others."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

from ringipam.address import Cidr, parse_cidr
from ringipam.config import Config
from ringipam.errors import RequestError

V4_TABLE = Path("/proc/net/route")
V6_TABLE = Path("/proc/net/ipv6_route")


def overlaps(config: Config) -> list[str]:
    """A warning for each route that overlaps the universe, is not excluded and not the containers' own.

    Routes to the whole universe or default subnet, and to single hosts, are how containers are usually reached.
    """
    universe, subnet = config.universe, config.default_subnet
    found = []
    for route, device in _routes(universe.family):
        common = universe.range.intersect(route.range)
        if common is None or route in (universe, subnet) or route.prefix_len in (0, route.bits):
            continue
        if not any(excluded.covers(common) for excluded in config.excluded):
            found.append(
                f"this host has a route to {route} (device {device}), which overlaps {universe}: if that is not the"
                " containers' own network, keep its addresses out with --exclude"
            )
    return found


def _routes(family: int) -> Iterator[tuple[Cidr, str]]:
    """The kernel's routes and their devices; none where it does not tell."""
    try:
        lines = (V4_TABLE if family == 4 else V6_TABLE).read_text().splitlines()
    except OSError:
        return
    for line in lines[1:] if family == 4 else lines:
        fields = line.split()
        try:
            yield (_v4(fields[1], fields[7]), fields[0]) if family == 4 else (_v6(fields[0], fields[1]), fields[-1])
        except (IndexError, ValueError, RequestError):
            continue


def _v4(destination: str, mask: str) -> Cidr:
    """The kernel prints both words as they lie in memory."""
    start = int.from_bytes(bytes.fromhex(destination), sys.byteorder)
    bits = int.from_bytes(bytes.fromhex(mask), sys.byteorder)
    return parse_cidr(f"{ipaddress.IPv4Address(start)}/{bits.bit_count()}")


def _v6(destination: str, prefix_len: str) -> Cidr:
    return parse_cidr(f"{ipaddress.IPv6Address(int(destination, 16))}/{int(prefix_len, 16)}")
