"""Connections that others made and that have not said yet who they are: how many, and how fast, from one place.

One place cannot keep others out: what it opens too much of is closed or waits at its own cost. A place is a host, or
the /64 that an IPv6 host can take all its addresses from.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address

import trio

from ringipam.errors import PeerError
from ringipam.runtime.pace import Pace

STRANGERS_MAX = 128
PLACE_STRANGERS_MAX = 32
PLACE_LINKS_MAX = 512
PLACE_RATE = 200.0
"""Connections a second from one place, for what a TLS handshake costs."""
PLACE_BURST = 400.0
PLACES_MAX = 1024


def place_of(host: str) -> str:
    """What the limits count by, for the numeric address `host`."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return host


class Strangers:
    """The connections of a transport that others made."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[str, trio.CancelScope]] = {}  # oldest first
        self._open: Counter[str] = Counter()
        self._paces: dict[str, Pace] = {}  # longest unseen first

    def admit(self, number: int, place: str, scope: trio.CancelScope) -> float:
        """Take in a connection; seconds that it must wait before anything is done for it.

        The oldest stranger makes room, of the same place first: whoever means it says its first frame long before
        its turn comes. Its scope is cancelled. Raises PeerError if the place has all the links it can have.
        """
        if self._open[place] >= PLACE_LINKS_MAX:
            raise PeerError(f"there are {PLACE_LINKS_MAX} links from {place} already")
        same = [other for other, (where, _) in self._waiting.items() if where == place]
        if len(same) >= PLACE_STRANGERS_MAX:
            self._waiting.pop(same[0])[1].cancel()
        elif len(self._waiting) >= STRANGERS_MAX:
            self._waiting.pop(next(iter(self._waiting)))[1].cancel()
        self._waiting[number] = place, scope
        self._open[place] += 1
        return self._pace(place).spend(1)

    def introduced(self, number: int) -> None:
        """It has said its first frame; it makes room for nobody any more."""
        self._waiting.pop(number, None)

    def gone(self, number: int, place: str) -> None:
        """The end of a connection that was admitted."""
        self._waiting.pop(number, None)
        self._open[place] -= 1
        if not self._open[place]:
            del self._open[place]

    def _pace(self, place: str) -> Pace:
        pace = self._paces.pop(place, None) or Pace(PLACE_RATE, PLACE_BURST)
        if len(self._paces) >= PLACES_MAX:
            del self._paces[next(iter(self._paces))]
        self._paces[place] = pace
        return pace
