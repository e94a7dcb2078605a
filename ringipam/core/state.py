"""What a peer knows, and the one way in for news and out for effects; shared by the parts of the core.

Possession is decided here and nowhere else (safety.md): an address is this peer's to issue, grant or restamp
if its own ring says so and no conflict is recorded over it. (Suspension and fencing will join the test here.)
"""

from __future__ import annotations

from collections.abc import Iterable

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.core.durable import Change, Conflict, PutConflict, PutMember, PutMeta, PutTokens, Stored
from ringipam.core.events import Answer, Effect, Log, Persist, Reply
from ringipam.core.identity import mark_of
from ringipam.core.leases import LeaseBook
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import PeerError
from ringipam.gossip.membership import Membership
from ringipam.gossip.rumours import Rumours
from ringipam.lease import Lease
from ringipam.messages import COUNTER_MAX, Health, Member, Print, Rest, Rumour
from ringipam.ring.intervals import Intervals
from ringipam.ring.ring import Joined, Ring
from ringipam.ring.space import Rows, Space

RUMOUR_SEGMENTS_MAX = 500
RUMOUR_MEMBERS_MAX = 20
"""Bigger news than this is left to anti-entropy, which sends only what the other side lacks."""


def check_ranges(ranges: Iterable[tuple[int, ...] | Segment | Print], within: Range) -> None:
    """Raise PeerError on ranges that do not lie in `within`, in order and apart: work is bounded by them."""
    reached, last = within
    for start, end, *_ in ranges:
        if not reached <= start < end <= last:
            raise PeerError("ranges out of order, overlapping or outside of what there is")
        reached = end


class State:
    """Everything durable of a peer, as it is in memory, ahead of the disk by what `effects` is about to persist."""

    def __init__(self, settings: Settings, stored: Stored, rng: Rng, now: int) -> None:
        self.settings = settings
        self.me = settings.peer
        self.universe = settings.universe
        self.extent = settings.universe.range
        """All its addresses; kept, as most events ask for it."""
        self.universe_text = str(settings.universe)
        self.rng = rng
        self.now = now
        self.boot = int(stored.meta.get("boots", "0")) + 1
        self.cluster = stored.meta.get("cluster", "")
        self.mark = mark_of(self.cluster, settings.universe)
        """Stands in every envelope for this peer's ring (safety.md S6)."""
        self.ring: Ring | None = None
        self.leases = LeaseBook(stored.leases.values())
        self.answered = dict(stored.answered)
        self.acceptor = stored.acceptor
        self.conflicts = dict(stored.conflicts)
        self.excluded = Intervals()
        self.space = Space()
        self.rumours = Rumours()
        self.members = Membership(
            Member(self.me, settings.address, 1, Health.ALIVE, 0),
            settings.probe_ms,
            settings.probe_timeout_ms,
            rng.fork().shuffled,
        )
        self.warnings: dict[str, str] = {}
        """What the operator should know, by a key that replaces an older warning of the kind."""
        self.gained = False
        """Space or knowledge came in this step for which somebody may be waiting."""
        self.ring_changes = 0
        """Counts the joins that changed the ring: what was derived from it holds as long as this does."""
        self.moved: list[tuple[Range, str]] = []
        """Which ranges came to which owner in this step."""
        self._changes: list[Change] = []
        self._effects: list[Effect] = []
        self._load(stored)

    def _load(self, stored: Stored) -> None:
        for start, end in self.settings.excluded:
            self.excluded.add(start, end)
        for peer, address in sorted(stored.members.items()):
            self.members.merge(Member(peer, address, 0, Health.ALIVE, 0), self.now)
        if self.cluster:
            self.ring = Ring.from_tokens(self.extent, sorted(stored.tokens.items()))
            self._fill_space(stored)

    def _fill_space(self, stored: Stored) -> None:
        assert self.ring is not None
        for owned in self.ring.ranges_of(self.me):
            self.space.add(owned.start, owned.end)
        for start, (end, until) in sorted(stored.quarantine.items()):
            for owned in self.ring.ranges_of(self.me, start, end):
                # A clock that was set back must not make a rest longer than it was meant to be.
                self.space.rest(owned.start, owned.end, min(until, self.now + self.settings.quarantine_ms))
        for conflict in self.conflicts.values():
            self.space.remove(conflict.start, conflict.end)
        for start, end in self.excluded:
            self.space.remove(start, end)
        for lease in self.leases:
            address = int(lease.address)
            if not self.inside(lease.address.version, address):
                continue
            self.space.remove(address, address + 1)
            if self.ring.at(address).owner != self.me:
                self.warn(
                    f"orphan {lease.address}",
                    f"{lease.address} is leased to {lease.id} here, but the ring gives it to"
                    f" {self.ring.at(address).owner or 'nobody'}: release it and allocate anew",
                )

    # ── possession ───────────────────────────────────────────────────────────────────────────────

    def inside(self, family: int, address: int) -> bool:
        return family == self.universe.family and address in self.extent

    def owns(self, start: int, end: int) -> bool:
        """Whether this peer possesses all of `[start, end)`."""
        if self.ring is None or any(c.start < end and start < c.end for c in self.conflicts.values()):
            return False
        _, claims = self.ring.columns(start, end)
        return all(claim.owner == self.me for claim in claims)

    def possessed(self) -> list[Range]:
        """The ranges this peer possesses, in order."""
        if self.ring is None:
            return []
        owned = self.ring.ranges_of(self.me)
        if not self.conflicts:
            return owned
        mine = Intervals()
        for start, end in owned:
            mine.add(start, end)
        for conflict in self.conflicts.values():
            mine.discard(conflict.start, conflict.end)
        return list(mine)

    def check(self, segments: Iterable[Segment]) -> None:
        """Raise PeerError, before anything is changed, on what no correct peer sends."""
        check_ranges(segments, self.extent)
        for _, _, claim in segments:
            if claim.epoch > COUNTER_MAX or claim.version > COUNTER_MAX:
                raise PeerError("an epoch or version beyond all reason")

    # ── the way in for ring news ─────────────────────────────────────────────────────────────────

    def join(
        self,
        segments: Iterable[Segment],
        source: str,
        rests: tuple[Rest, ...] | None = None,
        rumour: Rumour | None = None,
    ) -> Joined:
        """Join `segments` into the ring: one durable record, space and conflicts brought in line, news spread.

        `source` is the peer that sent them, or this peer itself for its own writes. `rests` are the quarantines
        that came with a grant; ranges that arrive without them rest in full, as their grant (and with it what is
        left of each quarantine) was lost on the way (safety.md S20). `rumour` is what the news came in, if it did.
        """
        assert self.ring is not None
        joined = self.ring.join(segments)
        for start, end, old, new in joined.ties:
            if old.owner != new.owner:
                self._contest(start, end, (old.owner, new.owner, new.writer), source)
        if not joined:
            return joined
        self.ring_changes += 1
        self.change(PutTokens(joined.removed, joined.put))
        for start, end, old, new in joined.changed:
            self.moved.append((Range(start, end), new.owner))
            if old.owner == self.me and source != self.me:
                self._contest(start, end, (old.owner, new.owner, new.writer), source)
            if old.owner == self.me and new.owner != self.me:
                self.rows(self.space.remove(start, end))
            elif new.owner == self.me and old.owner != self.me:
                self._gain(start, end, rests, first=new.version == 1)
        self.gained = True
        self._learn_owners(joined, source)
        if rumour is not None:
            self.rumours.add(rumour, source)
        elif len(joined.segments) <= RUMOUR_SEGMENTS_MAX:
            self.spread(joined.segments, (), source)
        return joined

    def _learn_owners(self, joined: Joined, source: str) -> None:
        """Whoever owns space is a member, met or not: a removal must ask it (S4), and probes tell if it is there."""
        owners = dict.fromkeys(new.owner for *_, new in joined.changed)
        strangers = [owner for owner in owners if owner and owner not in self.members]
        if strangers:
            self.learn([Member(owner, "", 0, Health.ALIVE, 0) for owner in strangers], source)

    def _gain(self, start: int, end: int, rests: tuple[Rest, ...] | None, *, first: bool) -> None:
        self.space.add(start, end)
        if rests is not None:
            for rest in rests:
                lo, hi = max(start, rest.start), min(end, rest.end)
                if lo < hi:
                    due = self.now + min(rest.remaining_ms, self.settings.quarantine_ms)
                    self.rows(self.space.rest(lo, hi, due))
        elif not first and self.settings.quarantine_ms:
            self.rows(self.space.rest(start, end, self.now + self.settings.quarantine_ms))
        for lo, hi in self.excluded.within(start, end):
            self.rows(self.space.remove(lo, hi))
        for conflict in self.conflicts.values():
            self.rows(self.space.remove(conflict.start, conflict.end))
        for lease in self._leases_within(start, end):
            self.rows(self.space.remove(int(lease.address), int(lease.address) + 1))

    def _contest(self, start: int, end: int, peers: tuple[str, ...], source: str) -> None:
        """Somebody else wrote over a range of ours, which no correct peer does: issue nothing there, say so.

        The addresses stay with whoever holds a lease on them; nobody is cut off (weave's D3 to D5, #1962).
        """
        if (start, end) in self.conflicts:
            return
        conflict = Conflict(start, end, tuple(sorted({*peers})), self.now, source)
        self.conflicts[start, end] = conflict
        self.change(PutConflict(conflict))
        self.rows(self.space.remove(start, end))
        text = f"conflict over {self.describe(start, end)}: {source} says {peers[1]} owns it"
        self.log("error", text, source, "conflict")

    def _leases_within(self, start: int, end: int) -> list[Lease]:
        if end - start < len(self.leases):
            found = (self.leases.at(self.universe.family, address) for address in range(start, end))
            return [lease for lease in found if lease is not None]
        return [
            lease
            for lease in self.leases
            if lease.address.version == self.universe.family and start <= int(lease.address) < end
        ]

    # ── members ──────────────────────────────────────────────────────────────────────────────────

    def learn(self, members: Iterable[Member], source: str, rumour: Rumour | None = None) -> None:
        """Take in what `source` says of members; what was news is spread, newcomers are durable first (S4)."""
        news = []
        for member in members:
            known = self.members.get(member.peer)
            found = self.members.merge(member, self.now)
            if found is None:
                continue
            if found.peer == self.me:
                self.spread((), (found,), self.me)  # a refutation: the news is ours
                continue
            if known is None or known.address != found.address:
                self.change(PutMember(found.peer, found.address))
            news.append(found)
        if news:
            self.gained = True  # a donor may have come, or be known to be gone
            if rumour is not None:
                self.rumours.add(rumour, source)
            elif len(news) <= RUMOUR_MEMBERS_MAX:
                self.spread((), tuple(news), source)

    def meet(self, peer: str, address: str) -> None:
        """A link to `peer` stands, and it listens at `address`."""
        if peer not in self.members:
            self.learn([Member(peer, address, 0, Health.ALIVE, 0)], peer)
        elif self.members.moved(peer, address):
            self.change(PutMember(peer, address))

    def spread(self, segments: tuple[Segment, ...], members: tuple[Member, ...], source: str) -> None:
        """Begin to spread news; its way back to `source` is spared. Each member is a rumour of its own."""
        back = "" if source == self.me else source
        if segments:
            self.rumours.begin(segments, (), back)
        for member in members:
            self.rumours.begin((), (member,), back)

    # ── the way out ──────────────────────────────────────────────────────────────────────────────

    def change(self, change: Change) -> None:
        self._changes.append(change)

    def rows(self, rows: Rows) -> None:
        if rows.dropped or rows.put:
            self._changes.append(rows)

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def reply(self, request: int, answer: Answer) -> None:
        self._effects.append(Reply(request, answer))

    def log(self, level: str, text: str, peer: str = "", kind: str = "") -> None:
        self._effects.append(Log(level, text, peer, kind))

    def warn(self, key: str, text: str) -> None:
        """Log a warning and show it in `status`, once. The first word of `key` is its kind."""
        if self.warnings.get(key) != text:
            self.warnings[key] = text
            self.log("warning", text, kind=key.partition(" ")[0])

    def found(self, cluster: str, segments: tuple[Segment, ...]) -> None:
        """A ring exists from now on: `segments` is what is known of it."""
        assert self.ring is None
        self.cluster = cluster
        self.mark = mark_of(cluster, self.universe)
        self.change(PutMeta("cluster", cluster))
        self.ring = Ring(self.extent)
        self.change(PutTokens((), tuple(self.ring.tokens())))
        self.join(segments, self.me)
        self.gained = True

    def drain(self) -> list[Effect]:
        """The effects of this step. All its changes come first and are one record, so nothing that follows
        from them is seen before they are durable (docs/design.md, "Output commit"; safety.md S19)."""
        effects, self._effects = self._effects, []
        if self._changes:
            effects.insert(0, Persist(tuple(self._changes)))
            self._changes = []
        return effects

    def describe(self, start: int, end: int) -> str:
        """A range in words for logs and errors."""
        first, last = self.universe.text(start), self.universe.text(end - 1)
        return first if end - start == 1 else f"{first}-{last}"
