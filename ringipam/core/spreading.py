"""Keeps what every peer should know the same everywhere: probes, rumours and anti-entropy, with their times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ringipam.core.links import Links
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER
from ringipam.core.state import State, check_ranges
from ringipam.gossip.antientropy import answering, narrowed, opening, prints, telling
from ringipam.gossip.ringparts import RingParts
from ringipam.gossip.roster import POSITIONS
from ringipam.messages import (
    Ack,
    Compare,
    CompareMembers,
    Digest,
    Members,
    Offer,
    Ping,
    PingRequest,
    Point,
    Ranges,
    Recall,
    Rival,
    Rumour,
    Want,
)

T = TypeVar("T")

PRINTS_PAGE = 500
SPANS_PAGE = 50
MEMBERS_PAGE = 500
YOUTH_MS = 15_000
"""A newcomer is told the ring within this time. What is unknown later nobody knew, or few: then everybody is heard."""
LESSON_MS = 2_000
"""A newcomer turns to another neighbour when the one that tells it the ring has been silent for so long."""
FREE_PUBLISH_MS = 1_000
FREE_SHARE_MS = 50
"""A peer waits so long for each member there is before it publishes its free space again: all together, 20 a second."""
FREE_CHANGE = 4
"""This peer's free space is published again when it changed by a fourth, or to or from none."""


class Spreading:
    def __init__(self, state: State, links: Links, router: Router) -> None:
        self._state = state
        self._links = links
        self._router = router
        self._rumour_ms = 0
        self._exchange_ms = state.now
        self._publish_ms = state.now
        self._free_ms = state.now
        self._last: dict[str, Point] = {}
        """What each peer said last of its own history."""
        self._parts: RingParts | None = None
        self._parts_at = -1
        self._teacher = ""
        """Who tells this peer the ring, while it knows it in part only."""
        self._taught_ms = 0
        self._young_until_ms: int | None = None
        """So long it counts as a newcomer, from the first it hears of the ring."""

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        if self._state.ring is None:
            return NEVER
        due = min(self._state.members.deadline, self._exchange_ms, self._publish_ms)
        return min(due, self._rumour_ms) if self._state.rumours.hot else due

    def tick(self) -> None:
        state = self._state
        if state.ring is None:
            return
        self._probe()
        if state.now >= self._publish_ms:
            self._publish_ms = state.now + FREE_PUBLISH_MS
            self._links.follow_members()
            self._links.greet_ringless()
            self._links.tick()
            state.save_points()
            self._publish_free()
            if state.unconfirmed:
                self._confirm_unless_somebody_knows_more()
        if state.rumours.hot and state.now >= self._rumour_ms:
            self._rumour_ms = state.now + state.settings.rumour_ms
            self._offer()
        if state.now >= self._exchange_ms:
            self._exchange_ms = state.now + state.settings.anti_entropy_ms
            neighbours = self._links.neighbours()
            if neighbours:
                self.reconcile(state.rng.pick(neighbours))

    def _probe(self) -> None:
        state = self._state
        if state.now < state.members.deadline:
            return
        sends, news = state.members.tick(state.now, self._links.neighbours())
        for peer, body in sends:
            self._router.send(peer, body)
        if news:
            state.gained = True
            state.spread((), tuple(news), state.me)

    def _publish_free(self) -> None:
        state = self._state
        if state.now < self._free_ms:
            return
        free = state.space.size
        told = state.members.me.free
        if (free == 0) != (told == 0) or abs(free - told) * FREE_CHANGE > max(free, told):
            self._free_ms = state.now + FREE_SHARE_MS * len(state.members)
            state.spread((), (state.members.publish(free=free, point=state.members.point),), state.me)

    def _offer(self) -> None:
        state = self._state
        for neighbour, offer in state.rumours.offers(state.rng.drawn(self._links.neighbours()), state.now):
            self._router.send(neighbour, offer)

    def reconcile(self, neighbour: str) -> None:
        """Begin an exchange: whatever one side lacks, it gets."""
        salt = self._state.rng.bits64().to_bytes(8, "big")
        self._router.send(neighbour, opening(self._ring_parts(), self._state.members.roster, salt))

    def _ring_parts(self) -> RingParts:
        """Remembered until the ring changes: at rest every exchange asks for all of it."""
        state = self._state
        assert state.ring is not None
        if self._parts is None or self._parts_at != state.ring_changes:
            self._parts_at = state.ring_changes
            self._parts = RingParts(state.ring, self._parts)
        return self._parts

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    def probed(self, sender: str, body: Ping | Ack | PingRequest) -> None:
        if isinstance(body, PingRequest) and self._links.link_to(body.peer) is None:
            return  # whoever asks has tried all other ways itself
        for peer, answer in self._state.members.received(sender, body):
            self._router.send(peer, answer)
        if not isinstance(body, PingRequest) and body.point is not None:
            self._place(sender, body.point)

    def _place(self, sender: str, point: Point) -> None:
        """Two processes that speak as one peer each hear of the other's history from whoever hears both (S13)."""
        if sender not in self._state.members:
            return  # an origin that somebody invented
        self._state.heard_ms[sender] = self._state.now
        before = self._last.get(sender) or self._state.points.get(sender)
        self._last[sender] = point
        if before is not None and (before.nonce != point.nonce or before.number > point.number):
            self._router.send(sender, Recall(before))
        self._state.note_point(sender, point, confronted=True)

    def rivalled(self, sender: str, rival: Rival) -> None:
        """`sender` has seen another process live that speaks as this peer (S13)."""
        if rival.nonce != self._state.memory.nonce:
            self._state.fence(
                f"{sender} has met another host under this one's identity, which runs from a copy of its data"
                " directory: `ringipam rejoin` brings it back as a new peer"
            )

    def recalled(self, sender: str, recall: Recall) -> None:
        """Somebody tells how far this peer's history had come, as far as it knows (S12)."""
        state = self._state
        state.confront(recall.point, sender)
        if not state.unconfirmed:
            return  # every new link brings one of these
        if recall.point is not None:
            self._confirmed(sender)
        else:
            state.doubters.add(sender)
            self._confirm_unless_somebody_knows_more()

    def _confirm_unless_somebody_knows_more(self) -> None:
        """Who knows nothing of this peer confirms nothing, unless nobody within reach knows more.

        Looked at as time passes too: who is out of reach may have seemed to be there when the last of the others spoke.
        """
        state = self._state
        others = {peer for peer in state.members.others() if state.members.reachable(peer)}
        if others and others <= state.doubters:
            self._confirmed(" and ".join(sorted(others)))

    def _confirmed(self, by: str) -> None:
        state = self._state
        if not state.fenced:
            state.unconfirmed = False
            state.gained = True
            state.log("info", f"{by} confirms that this host's data is current")

    def offered(self, sender: str, offer: Offer) -> None:
        want = self._state.rumours.offered(sender, offer, self._state.now)
        if want.rumours:
            self._router.send(sender, want)

    def wanted(self, sender: str, want: Want) -> None:
        for rumour in self._state.rumours.wanted(want):
            self._router.send(sender, rumour)

    def told(self, sender: str, rumour: Rumour) -> None:
        """Join a rumour; pass it on under its own number only if it was news here."""
        state = self._state
        if state.rumours.seen(rumour.rumour):
            return
        state.check(rumour.segments)
        state.rumours.note(rumour.rumour)
        state.join(rumour.segments, sender, rumour=rumour)
        state.learn(rumour.members, sender, rumour=rumour)

    def opened(self, sender: str, digest: Digest) -> None:
        state = self._state
        ring, roster, salt = self._ring_parts(), state.members.roster, digest.salt
        if ring.fingerprint(*state.extent, salt) != digest.ring:
            self._router.send(sender, Compare(salt, tuple(prints(ring, *state.extent, salt))))
        if roster.fingerprint(*POSITIONS, salt) != digest.members:
            self._router.send(sender, CompareMembers(salt, tuple(prints(roster, *POSITIONS, salt))))

    def compared(self, sender: str, compare: Compare) -> None:
        state = self._state
        assert state.ring is not None
        check_ranges(compare.prints, state.extent)
        if self._taught_by_another(sender):
            return
        finer, differing = narrowed(self._ring_parts(), compare.prints, compare.salt)
        for page in _pages(finer, PRINTS_PAGE):
            self._router.send(sender, Compare(compare.salt, page))
        for ranges in telling(state.ring, differing):
            self._router.send(sender, ranges)

    def _taught_by_another(self, sender: str) -> bool:
        """Whether this peer is a newcomer to whom somebody else tells the ring: each neighbour would tell it all."""
        state = self._state
        assert state.ring is not None
        if self._young_until_ms is None:
            self._young_until_ms = state.now + YOUTH_MS
        if state.now >= self._young_until_ms or all(claim.owner for _, claim in state.ring.tokens()):
            self._young_until_ms = 0
            return False
        linked = self._links.link_to(self._teacher) is not None
        if linked and self._teacher != sender and state.now < self._taught_ms + LESSON_MS:
            return True
        self._teacher, self._taught_ms = sender, state.now
        return False

    def compared_members(self, sender: str, compare: CompareMembers) -> None:
        members = self._state.members
        check_ranges(compare.prints, POSITIONS)
        finer, differing = narrowed(members.roster, compare.prints, compare.salt)
        for page in _pages(finer, PRINTS_PAGE):
            self._router.send(sender, CompareMembers(compare.salt, page))
        for spans in _pages(differing, SPANS_PAGE):
            self._router.send(sender, Members(tuple(members.within(spans)), spans))

    def ranges(self, sender: str, ranges: Ranges) -> None:
        state = self._state
        state.check(ranges.segments)
        state.join(ranges.segments, sender)
        if sender == self._teacher:
            self._taught_ms = state.now
        if ranges.answer:
            assert state.ring is not None
            for answer in answering(state.ring, ranges):
                self._router.send(sender, answer)

    def members(self, sender: str, message: Members) -> None:
        state = self._state
        check_ranges(message.spans, POSITIONS)
        state.learn(message.members, sender)
        theirs = {member.peer: member.stamp for member in message.members}
        newer = [m for m in state.members.within(message.spans) if m.peer not in theirs or m.stamp > theirs[m.peer]]
        for page in _pages(newer, MEMBERS_PAGE):
            self._router.send(sender, Members(page, ()))


def _pages(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    return (tuple(items[first : first + size]) for first in range(0, len(items), size))
