"""News on its way to everybody: offered by number, fetched by whoever lacks it, passed on only where it was news.

Push-pull rumour spreading (Karp et al., "Randomized Rumor Spreading", 2000; docs/design.md, "Gossip"). An offer
costs a few bytes, so a payload reaches most peers just once. Whatever is lost here, anti-entropy brings.
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
REFUSALS_MAX = 6
PATIENCE_MS = 300
"""How long a rumour that was asked for may take before another is asked."""


@dataclass(slots=True)
class _Hot:
    rumour: Rumour
    known_by: set[str] = field(default_factory=set)
    offers: int = 0
    refusals: int = 0
    """How often a neighbour turned out to have it already."""


class Rumours:
    """The rumours this peer still spreads, and the numbers of those it has seen."""

    def __init__(self) -> None:
        self._hot: dict[int, _Hot] = {}
        self._seen: dict[int, None] = {}
        self._asked: dict[int, int] = {}
        """What was asked for and has not come yet, and when it is asked for again."""

    @property
    def hot(self) -> bool:
        return bool(self._hot)

    def counts(self) -> dict[str, int]:
        return {"rumours to spread": len(self._hot), "rumours seen": len(self._seen)}

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

    def offers(self, neighbours: Iterable[str], count: int) -> list[tuple[str, Offer]]:
        """The offers of a round, to the first of the `count` `neighbours` (in random order) that lack something hot.

        A rumour cools when all neighbours have it, or so many that were offered it that everybody has it with high
        probability (the feedback of Demers et al., "Epidemic Algorithms", 1987), or when nobody answers any more.
        """
        limit = 2 * count.bit_length() + 4
        cold = [n for n, hot in self._hot.items() if hot.offers >= limit or hot.refusals >= REFUSALS_MAX]
        for number in cold:
            del self._hot[number]
        found: list[tuple[str, Offer]] = []
        for neighbour in neighbours:
            fresh = [number for number, hot in self._hot.items() if neighbour not in hot.known_by][:OFFER_MAX]
            if fresh:
                for number in fresh:
                    self._hot[number].offers += 1
                found.append((neighbour, Offer(tuple(fresh))))
                if len(found) == FANOUT:
                    return found
        if not found:
            self._hot.clear()
        return found

    def offered(self, sender: str, offer: Offer, now: int) -> Want:
        """Which of the offered rumours are wanted; the answer also tells the sender which ones are not.

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

    def wanted(self, sender: str, offered: Offer | None, want: Want) -> list[Rumour]:
        """The payloads asked for. `offered` is what the sender was last offered: it has what it did not want."""
        wanted = set(want.rumours)
        for number in (*(offered.rumours if offered else ()), *want.rumours):
            hot = self._hot.get(number)
            if hot is not None:
                hot.known_by.add(sender)
                hot.refusals += number not in wanted
        return [self._hot[number].rumour for number in want.rumours if number in self._hot]

    def _remember(self, number: int) -> None:
        self._asked.pop(number, None)
        self._seen[number] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
