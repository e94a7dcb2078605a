"""What a member promises to the coordinator of a removal, and how it is bound by that and free of it again.

The rules are those of docs/design.md, "Leaving and removal", and safety.md S1 and S8 to S10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.core.durable import DropPledge, Pledge, PutPledge
from ringipam.core.links import Links
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import EPOCH_JUMP_MAX, State
from ringipam.errors import PeerError
from ringipam.messages import AskRemoval, DenyRemoval, Health, Member, PromiseRemoval, QueryRound, RoundOver, Standing
from ringipam.ring.intervals import Intervals

QUERY_MS = 2_000
"""Between two times that a bound member asks what became of the round."""
WINDOW_MAX = 2_000
"""Ranges in one round; a larger view takes several rounds, each over a part of the universe."""
TOLD_MAX = 10_000
TARGETS_MAX = 1_000
HEARD_MS = 10_000
"""Whoever probed or answered within that time is alive, linked or not."""


class Pledges:
    """The promises of this peer, to itself too while it coordinates a round."""

    def __init__(self, state: State, links: Links, router: Router) -> None:
        self._state = state
        self._links = links
        self._router = router
        self._query_ms = 0
        self.give_way: Callable[[str], None] = _nothing_to_give_up
        """End the round that this peer coordinates, for that of another."""

    @property
    def bound(self) -> bool:
        """Whether a round of somebody who is still there counts on this peer's promise."""
        return any(not self._state.members.gone(coordinator) for coordinator in self._state.pledges)

    def out(self, peer: str, targets: Sequence[str]) -> bool:
        """Whether `peer` is to go, or has gone before: removal may have to be repeated (safety.md S10)."""
        return peer in targets or self._state.members.gone(peer)

    def electorate(self, targets: Sequence[str]) -> bytes:
        known = sorted({*self._state.members.others(), self._state.me}.difference(targets))
        return blake2b("\n".join(known).encode(), digest_size=8).digest()

    def other(self, coordinator: str, targets: Sequence[str]) -> str:
        """To whom else this peer is bound, and may not promise: one round at a time (safety.md S9).

        A coordinator that is itself to be removed, or was, binds nobody to its round.
        """
        for other in self._state.pledges:
            if other != coordinator and not self.out(other, targets):
                return other
        return ""

    # ── what coordinators ask ────────────────────────────────────────────────────────────────────

    def asked(self, coordinator: str, ask: AskRemoval) -> None:
        """Promise, durably, and show the view; or say why not."""
        state = self._state
        if ask.epoch > state.epoch + EPOCH_JUMP_MAX or len(ask.targets) > TARGETS_MAX:
            raise PeerError(f"{coordinator} asks for a removal beyond all reason")
        if coordinator not in state.members or state.members.gone(coordinator) or state.me in ask.targets:
            return
        before = state.pledges.get(coordinator)
        if before is not None and before.epoch < ask.epoch:
            # What became of that one is to be known before its promise is given up for another.
            self._router.send(coordinator, QueryRound(before.epoch))
            return
        denial = self._objection(coordinator, ask)
        if denial is not None:
            self._router.send(coordinator, denial)
            return
        self.make(coordinator, Pledge(ask.epoch, ask.targets))
        self._router.send(coordinator, self._view(ask))

    def _objection(self, coordinator: str, ask: AskRemoval) -> DenyRemoval | None:
        state = self._state
        if state.hold:
            # Its view may be one it has lost (safety.md S23).
            return DenyRemoval(ask.epoch, 0, "", f"takes no part: {state.hold}")
        links, gone = self._links, state.members.gone
        linked = [name_of(peer) for peer in ask.targets if links.link_to(peer) is not None and not gone(peer)]
        if linked and not ask.force:
            return DenyRemoval(ask.epoch, 0, "", f"is linked to {', '.join(linked)}, so that is alive")
        if state.pledges.get(coordinator) == Pledge(ask.epoch, ask.targets):
            # Asked again: what was promised holds, unless a takeover above it has been seen meanwhile.
            return DenyRemoval(ask.epoch, state.epoch, "", "") if state.epoch > ask.epoch else None
        bound = self.other(coordinator, ask.targets)
        if bound == state.me and coordinator < state.me:
            self.give_way(coordinator)
            bound = self.other(coordinator, ask.targets)
        if bound:
            return DenyRemoval(ask.epoch, 0, bound, "")
        if ask.epoch <= state.epoch:
            return DenyRemoval(ask.epoch, state.epoch, "", "")
        return None

    def _view(self, ask: AskRemoval) -> PromiseRemoval:
        state = self._state
        assert state.ring is not None
        wanted = Intervals()
        for start, end in ask.ranges:
            wanted.add(max(start, ask.since), min(end, ask.until))
        told: list[Segment] = []
        until = ask.until
        for segment in state.ring.segments(ask.since):
            if segment.start >= until:
                break
            names = self.out(segment.claim.owner, ask.targets) or self.out(segment.claim.writer, ask.targets)
            pieces = [segment] if names else [segment._replace(start=s, end=e) for s, e in wanted.within(*segment[:2])]
            if len(told) >= 2 * WINDOW_MAX:
                until = segment.start
                break
            told += pieces
        possessed = [piece for start, end in wanted if start < until for piece in state.kept(start, min(end, until))]
        same = self.electorate(ask.targets) == ask.electorate
        members = () if same else tuple(state.members.others())
        ranges = tuple(Range(start, min(end, until)) for start, end in wanted if start < until)
        leased = state.leased_elsewhere(ask.since, until)[:TOLD_MAX]
        return PromiseRemoval(ask.epoch, until, ranges, tuple(told), tuple(possessed), members, leased)

    def over(self, coordinator: str, message: RoundOver) -> None:
        """Unbind: after joining the takeover, or because there will be none (safety.md S9)."""
        state = self._state
        state.check(message.segments)
        pledge = state.pledges.get(coordinator)
        if pledge is None or pledge.epoch != message.epoch:
            return
        if message.done:
            state.join(message.segments, coordinator)
            self.bury(pledge.targets)
        self.end(coordinator)

    # ── bound, and free again ────────────────────────────────────────────────────────────────────

    def make(self, coordinator: str, pledge: Pledge) -> None:
        state = self._state
        state.raise_epoch(pledge.epoch)
        if state.pledges.get(coordinator) != pledge:
            state.pledges[coordinator] = pledge
            state.change(PutPledge(coordinator, pledge))

    def end(self, coordinator: str) -> None:
        """Bound no longer. Whoever is not gone is fenced off no longer, and what it wrote is possessed after all."""
        state = self._state
        if state.pledges.pop(coordinator, None) is None:
            return
        state.change(DropPledge(coordinator))
        self._relent()

    def _amnesty(self, coordinator: str, pledge: Pledge) -> None:
        """A coordinator that has gone tells nobody what became of its round, so its targets stay fenced off: it may
        have taken over what they owned, and nobody saw it (S10). But who is seen alive was not dead then either.
        """
        state = self._state
        heard = state.heard_ms
        left = tuple(
            peer
            for peer in pledge.targets
            if self._links.link_to(peer) is None and heard.get(peer, 0) < state.now - HEARD_MS
        )
        if all(map(state.members.gone, left)):
            self.end(coordinator)  # their tombstones fence them off
            return
        if left == pledge.targets:
            return
        self.make(coordinator, Pledge(pledge.epoch, left))
        self._relent()

    def _relent(self) -> None:
        """Possess what was written by those who are fenced off no longer."""
        state = self._state
        if state.ring is None:
            return
        for start, end in list(state.suspended):
            for segment in list(state.ring.segments(start, end)):
                if not state.fences(segment.claim.writer):
                    state.suspend(segment.start, segment.end, on=False)
                    state.regain(segment.start, segment.end)

    def bury(self, targets: Sequence[str]) -> None:
        state = self._state
        for peer in targets:
            known = state.members.get(peer) or Member(peer, "", 0, Health.DEAD, 0)
            state.learn([known._replace(health=Health.DEAD, standing=Standing.REMOVED)], state.me)
        # What was promised to one who is gone now holds as long as it keeps somebody fenced off who is not.
        for coordinator, pledge in list(state.pledges.items()):
            if state.members.gone(coordinator) and all(map(state.members.gone, pledge.targets)):
                self.end(coordinator)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        state = self._state
        return self._query_ms if any(coordinator != state.me for coordinator in state.pledges) else NEVER

    def tick(self) -> None:
        """Ask what became of the rounds this peer is bound to."""
        state = self._state
        if state.now < self._query_ms:
            return
        self._query_ms = state.now + QUERY_MS
        for coordinator, pledge in list(state.pledges.items()):
            if coordinator == state.me:
                continue
            if state.members.gone(coordinator):
                self._amnesty(coordinator, pledge)
            else:
                self._router.send(coordinator, QueryRound(pledge.epoch))


def _nothing_to_give_up(coordinator: str) -> None:
    raise AssertionError(f"no round is open, to give way to {coordinator}")
