"""News on its way to everybody: offered by number, fetched by whoever lacks it, passed on only where it was news.

Push-pull rumour spreading (Karp et al., "Randomized Rumor Spreading", 2000; docs/design.md, "Gossip"). An offer
costs a few bytes, so a payload reaches most peers just once; who has it already says nothing. Whatever is lost here,
anti-entropy brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from ringipam.claim import Segment
from ringipam.messages import Member, Offer, Rumour, Want

HOT_MAX = 2_000
SEEN_MAX = 20_000
OFFER_MAX = 500
FANOUT = 2
"""How many neighbours are offered something in a round."""
OFFERS_MAX = 8
"""To so many neighbours a peer offers a rumour. If all do, some exp(-8) of them are left out."""
KEPT_MS = 1_000
"""So long after its last offer a rumour can still be asked for."""
PATIENCE_MS = 300
"""How long a rumour that was asked for may take before another is asked."""


@dataclass(slots=True)
class _Hot:
    rumour: Rumour
    known_by: set[str] = field(default_factory=set)
    """Who has it, or was offered it."""
    offers: int = 0


class Rumours:
    """The rumours this peer still spreads, and the numbers of those it has seen."""

    def __init__(self) -> None:
        self._hot: dict[int, _Hot] = {}
        self._cold: dict[int, tuple[Rumour, int]] = {}
        """What is offered no more, and until when it can be asked for."""
        self._seen: dict[int, None] = {}
        self._asked: dict[int, int] = {}
        """What was asked for and has not come yet, and when it is asked for again."""

    @property
    def hot(self) -> bool:
        return bool(self._hot)

    def counts(self) -> dict[str, int]:
        return {"rumours to spread": len(self._hot), "rumours seen": len(self._seen), "rumours told": len(self._cold)}

    def begin(self, segments: tuple[Segment, ...], members: tuple[Member, ...], source: str = "") -> None:
        """Spread this news, but not back to `source`.

        Its number follows from what it says: whoever begins to spread the same, as the two ends of a grant do, or many
        who miss one member, spreads the same rumour.
        """
        text = repr((segments, members)).encode()
        number = int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1
        if number not in self._seen:
            self.add(Rumour(number, segments, members), source)

    def add(self, rumour: Rumour, source: str = "") -> None:
        """Spread `rumour`, but not back to `source`."""
        self._remember(rumour.rumour)
        if len(self._hot) >= HOT_MAX:
            del self._hot[next(iter(self._hot))]
        self._hot[rumour.rumour] = _Hot(rumour, {source} if source else set())

    def seen(self, rumour: int) -> bool:
        return rumour in self._seen

    def note(self, rumour: int) -> None:
        """This rumour arrived and was no news: do not fetch it again."""
        self._remember(rumour)

    def offers(self, neighbours: Iterable[str], now: int) -> list[tuple[str, Offer]]:
        """The offers of a round, to the first of the `neighbours` (in random order) that may lack something hot.

        A rumour cools when all neighbours were offered it, or so many that everybody has it with high probability.
        """
        for number in [number for number, hot in self._hot.items() if hot.offers >= OFFERS_MAX]:
            self._cool(number, now)
        found: list[tuple[str, Offer]] = []
        for neighbour in neighbours:
            fresh = [number for number, hot in self._hot.items() if neighbour not in hot.known_by][:OFFER_MAX]
            if fresh:
                for number in fresh:
                    self._hot[number].offers += 1
                    self._hot[number].known_by.add(neighbour)
                found.append((neighbour, Offer(tuple(fresh))))
                if len(found) == FANOUT:
                    return found
        if not found:
            for number in list(self._hot):
                self._cool(number, now)
        return found

    def offered(self, sender: str, offer: Offer, now: int) -> Want:
        """Which of the offered rumours are wanted.

        What another was just asked for is on its way, and not wanted twice.
        """
        for number in [number for number, due in self._asked.items() if due <= now]:
            del self._asked[number]
        wanted = []
        for number in offer.rumours:
            if number in self._hot:
                self._hot[number].known_by.add(sender)
            if number not in self._seen and number not in self._asked:
                self._asked[number] = now + PATIENCE_MS
                wanted.append(number)
        return Want(tuple(wanted))

    def wanted(self, want: Want) -> list[Rumour]:
        """The payloads asked for, as far as they are still here."""
        found = []
        for number in want.rumours:
            if number in self._hot:
                found.append(self._hot[number].rumour)
            elif number in self._cold:
                found.append(self._cold[number][0])
        return found

    def _cool(self, number: int, now: int) -> None:
        self._cold.pop(number, None)
        self._cold[number] = self._hot.pop(number).rumour, now + KEPT_MS
        while len(self._cold) > HOT_MAX or next(iter(self._cold.values()))[1] <= now:  # the oldest stand first
            del self._cold[next(iter(self._cold))]

    def _remember(self, number: int) -> None:
        self._asked.pop(number, None)
        self._seen[number] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
