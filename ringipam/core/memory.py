"""What a peer can tell of its own past: which commits it made, in which processes. Knows no other peer's.

Others keep the last point of this history that they heard of. A disk that went back, or a copy of it that somebody
else runs from, does not know that point (docs/design.md, "Identity"; safety.md S12, S13).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from ringipam.core.durable import UNCOUNTED, Change, PutBoot, PutLease, PutMeta, PutPublished, Stored
from ringipam.messages import Point

PUBLISHED_MAX = 256
"""So many of the points that others may hold are kept with their hash; of older ones the process alone is checked."""


class Memory:
    """The commits of this peer so far, as a number and a hash, and the processes that made them.

    The hash tells apart what has the same number: two processes by their nonce, and within one process, whose memory
    may have gone back together with the disk as virtual machines do, by the time and the leases of each commit.
    """

    def __init__(self, stored: Stored, nonce: str) -> None:
        number, head = stored.meta.get("commit", "0 0").split()
        self.number, self.head = int(number), int(head, 16)
        self.nonce = nonce
        self._boots = dict(stored.boots)
        self._published = dict(sorted(stored.published.items()))

    def begin(self) -> PutBoot:
        """Of this process; durable before it says anything (S13)."""
        self._boots[self.nonce] = self.number + 1
        return PutBoot(self.nonce, self.number + 1)

    def commit(self, changes: Sequence[Change], now: int) -> PutMeta | None:
        """What goes into the commit of these changes with them, if they count."""
        if all(isinstance(change, UNCOUNTED) for change in changes):
            return None
        self.number += 1
        leased = [change.lease.lease for change in changes if type(change) is PutLease]
        text = f"{self.head} {self.nonce} {now} {len(changes)} {leased}"
        self.head = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        return PutMeta("commit", f"{self.number} {self.head:x}")

    @property
    def point(self) -> Point:
        """Where the history stands now."""
        return Point(self.nonce, self.number, self.head)

    def publish(self) -> PutPublished | None:
        """To be durable before `point` is told to anybody; None if it is already."""
        if self.number in self._published:
            return None
        self._published[self.number] = self.head
        dropped = tuple(list(self._published)[:-PUBLISHED_MAX])
        for old in dropped:
            del self._published[old]
        return PutPublished(self.number, self.head, dropped)

    def objection(self, point: Point) -> str:
        """Why a point that somebody holds of this peer's history is not in it; "" if it is."""
        if point.nonce not in self._boots:
            return (
                "a process that its data does not know runs, or has run, under this host's identity: the disk went back"
                " to an earlier state, or the data directory was copied"
            )
        if point.number > self._last_of(point.nonce):
            return "this host's data is older than what it has done since: its disk went back to an earlier state"
        known = self._published.get(point.number)
        if known is None:
            forgotten = len(self._published) >= PUBLISHED_MAX and point.number < min(self._published)
            return "" if forgotten else "this host's data does not know a commit that others have heard of"
        return "" if known == point.head else "this host's history is not the one that others have heard of"

    def _last_of(self, nonce: str) -> int:
        """The number of the last commit of that process."""
        first = self._boots[nonce]
        later = [other for other in self._boots.values() if other > first]
        return min(later) - 1 if later else self.number
