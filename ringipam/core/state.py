"""What a peer knows, and the one way in for news and out for effects; shared by the parts of the core.

Possession is decided here and nowhere else (safety.md): an address is this peer's to issue, grant or restamp
if its own ring says so, it is not suspended from it, no conflict is recorded over it, and it is not fenced off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.core.durable import (
    Change,
    Conflict,
    DropConflict,
    PutConflict,
    PutMember,
    PutMeta,
    PutPoint,
    PutTokens,
    Record,
    Recorded,
    Stored,
    Suspensions,
)
from ringipam.core.events import Answer, Effect, Log, Persist, Reply
from ringipam.core.identity import mark_of
from ringipam.core.leases import LeaseBook
from ringipam.core.memory import Memory
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import OutOfRangeError, PeerError
from ringipam.gossip.membership import Membership
from ringipam.gossip.rumours import Rumours
from ringipam.lease import Lease
from ringipam.messages import COUNTER_MAX, Health, Member, Point, Print, Rest, Rumour, Standing
from ringipam.ring.intervals import Intervals, difference, runs
from ringipam.ring.ring import Changed, Joined, Ring
from ringipam.ring.space import Rows, Space

RUMOUR_SEGMENTS_MAX = 500
RUMOUR_MEMBERS_MAX = 20
"""Bigger news than this is left to anti-entropy, which sends only what the other side lacks."""
EPOCH_JUMP_MAX = 1 << 20
"""No correct peer raises an epoch so far at once: each removal is one, or a few more where several were tried."""
RECORDED_MAX = 256
"""So many ranges of one join are written into the audit log."""
CONFLICTS_MAX = 20_000
MEMBERS_MAX = 20_000
"""Members that are durable here, gone ones included; a hostile member could otherwise invent them without end."""


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
        self.doubtful = Intervals(self.conflicts)
        """What lies in any of them."""
        self.pledges = dict(stored.pledges)
        """What was promised to which coordinator of a removal (core/removal.py)."""
        self.epoch = int(stored.meta.get("epoch", "0"))
        """The highest epoch promised or seen (safety.md S9)."""
        self.suspended = Intervals(stored.suspended.items())
        """What this peer owns by its ring and may not possess, as one who is fenced off wrote it (safety.md S1)."""
        self.fenced = stored.meta.get("fenced", "")
        """Why this peer issues nothing any more and goes on serving what it holds; "" as long as all is well."""
        self.unconfirmed = False
        """Nothing is issued before a peer has confirmed that the data is current (`--on-restart verify`)."""
        self.memory = Memory(stored, rng.fork().token(12).lower())
        self.points = dict(stored.points)
        """How far the history of each other peer had come, as far as anybody said (safety.md S12)."""
        self._unsaved: dict[str, None] = {}
        self.rejoining = "formerly" in stored.meta
        """Was another peer before, and joins a ring that is there: it never forms one."""
        self.hints = tuple(stored.meta.get("dial", "").split())
        """Where others were when it was."""
        self.heard_ms: dict[str, int] = {}
        """When each peer answered or probed last, over whatever way."""
        self.doubters: set[str] = set()
        """Who knew nothing of this peer's history, while it waits for somebody who does."""
        self.whence: Callable[[], str] = str
        """Names the connection through which came what is being looked at, for logs."""
        self.excluded = Intervals(settings.excluded)
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
        for peer, (address, standing) in sorted(stored.members.items()):
            if peer == self.me:
                self.members.publish(standing=standing)
                continue
            health = Health.DEAD if standing.gone else Health.ALIVE
            self.members.merge(Member(peer, address, 0, health, 0, standing), self.now)
        self.epoch = max([self.epoch, *(claim.epoch for claim in stored.tokens.values())])
        leased = self._leased()
        if self.cluster:
            self.ring = Ring.from_tokens(self.extent, sorted(stored.tokens.items()))
            self._fill_space(stored, leased)
        self.orphans = self._carried(leased)
        """Leases at addresses that this peer does not own: carried over from a former self (core/disputes.py)."""

    def _leased(self) -> list[Range]:
        """All addresses of the universe that are leased here."""
        lowest, highest = self.extent
        leased = self.leases.addresses(self.universe.family)
        return list(runs(sorted(address for address in leased if lowest <= address < highest)))

    def _carried(self, leased: list[Range]) -> dict[int, Lease]:
        owned = self.ring.ranges_of(self.me) if self.ring is not None else []
        elsewhere = Intervals(difference(leased, owned))
        return (
            {int(lease.address): lease for lease in self.leases if int(lease.address) in elsewhere} if elsewhere else {}
        )

    def _fill_space(self, stored: Stored, leased: list[Range]) -> None:
        assert self.ring is not None
        for owned in self.ring.ranges_of(self.me):
            self.space.add(owned.start, owned.end)
        for start, (end, until) in sorted(stored.quarantine.items()):
            for owned in self.ring.ranges_of(self.me, start, end):
                # A clock that was set back must not make a rest longer than it was meant to be.
                self.space.rest(owned.start, owned.end, min(until, self.now + self.settings.quarantine_ms))
        for start, end in (*self.doubtful, *self.suspended, *self.excluded):
            self.space.remove(start, end)
        self.space.remove_all(leased)

    # ── possession ───────────────────────────────────────────────────────────────────────────────

    def inside(self, family: int, address: int) -> bool:
        return family == self.universe.family and address in self.extent

    def foreign(self, family: int | None) -> OutOfRangeError | None:
        """What to say to a request about the range of `family`, if that is not this one's."""
        if family in (None, self.universe.family):
            return None
        hint = ": --iprange6 adds one" if family == 6 else ""
        return OutOfRangeError(f"there is no IPv{family} range here, only {self.universe}{hint}")

    @property
    def hold(self) -> str:
        """Why nothing is issued or given away here at the moment; "" if nothing stands in the way."""
        if self.unconfirmed:
            return "waiting for one peer to confirm that this host's data is current (--on-restart verify)"
        return self.fenced

    def owns(self, start: int, end: int) -> bool:
        """Whether this peer possesses all of `[start, end)`."""
        return not self.hold and self.entitled(start, end)

    def entitled(self, start: int, end: int) -> bool:
        """Whether it would, were it not for what holds it up as a whole."""
        if self.ring is None or self.doubtful.first(start, end) is not None:
            return False
        if self.suspended.first(start, end) is not None:
            return False
        _, claims = self.ring.columns(start, end)
        return all(claim.owner == self.me for claim in claims)

    def possessed(self, lo: int | None = None, hi: int | None = None) -> list[Range]:
        """What this peer possesses of `[lo, hi)`, in order."""
        if self.ring is None or self.hold:
            return []
        owned = self.ring.ranges_of(self.me, lo, hi)
        if not self.doubtful.size and not self.suspended.size:
            return owned
        return difference(owned, (*self.doubtful, *self.suspended))

    def kept(self, lo: int, hi: int) -> list[Range]:
        """What of `[lo, hi)` is this peer's to keep, even where it is in doubt and may not be issued."""
        assert self.ring is not None
        return difference(self.ring.ranges_of(self.me, lo, hi), self.suspended.within(lo, hi))

    def leased_elsewhere(self, lo: int, hi: int) -> tuple[Range, ...]:
        """Addresses of `[lo, hi)` that are leased here and owned by others: nobody may issue them."""
        held = sorted(int(lease.address) for lease in self.leases_within(lo, hi))
        return tuple(Range(at, at + 1) for at in held if self.ring is None or self.ring.at(at).owner != self.me)

    def settle(self, start: int, end: int, holder: str) -> None:
        """Whoever put a range on record as in doubt, because it leases it, asks for it: the doubt ends here."""
        conflict = self.conflicts.get((start, end))
        if conflict is not None and conflict.source == holder:
            del self.conflicts[start, end]
            self.doubtful.discard(start, end)
            self.change(DropConflict(start, end))

    def fences(self, peer: str) -> bool:
        """Whether `peer` is fenced off: gone for ever, or this peer has promised it (safety.md S9, S10, S11).

        Nothing is granted to it, and what it wrote and was not joined before is not possessed here.
        """
        return self.members.gone(peer) or any(peer in pledge.targets for pledge in self.pledges.values())

    def fence(self, reason: str) -> None:
        """Possess nothing from now on, for good; what is held goes on being served (safety.md S23)."""
        if not self.fenced:
            self.fenced = reason
            self.gained = True  # whoever waits for an address is told at once
            self.change(PutMeta("fenced", reason))
            self.log("error", f"this host has fenced itself off and issues nothing: {reason}")

    def suspend(self, start: int, end: int, *, on: bool) -> None:
        """Possess `[start, end)` no longer, or again; in the record of the ring change that made it so (S1)."""
        if not on and self.suspended.first(start, end) is None:
            return
        before = dict(self.suspended)
        if on:
            self.suspended.add(start, end)
        else:
            self.suspended.discard(start, end)
        after = dict(self.suspended)
        dropped = tuple(lo for lo in before if lo not in after)
        self.change(Suspensions(dropped, tuple(Range(lo, hi) for lo, hi in after.items() if before.get(lo) != hi)))

    def raise_epoch(self, epoch: int) -> None:
        """Remember an epoch that is promised: none below it is ever promised again."""
        if epoch > self.epoch:
            self.epoch = epoch
            self.change(PutMeta("epoch", str(epoch)))

    def check(self, segments: Iterable[Segment]) -> None:
        """Raise PeerError, before anything is changed, on what no correct peer sends."""
        check_ranges(segments, self.extent)
        for _, _, claim in segments:
            if claim.version > COUNTER_MAX or claim.epoch > min(COUNTER_MAX, self.epoch + EPOCH_JUMP_MAX):
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
        if source != self.me:
            self._recognise(joined.changed)
        for start, end, old, new in joined.ties:
            if old.owner != new.owner:
                self._contest(start, end, (old.owner, new.owner, new.writer), source)
        if not joined:
            return joined
        self.ring_changes += 1
        self.change(PutTokens(joined.removed, joined.put))
        self._record(joined.changed, source)
        for changed in joined.changed:
            self._changed(changed, source, rests)
        self.gained = True
        self._learn_owners(joined, source)
        if rumour is not None:
            self.rumours.add(rumour, source)
        elif len(joined.segments) <= RUMOUR_SEGMENTS_MAX:
            self.spread(joined.segments, (), source)
        return joined

    def _changed(self, changed: Changed, source: str, rests: tuple[Rest, ...] | None) -> None:
        """Bring possession in line with a piece of the ring that changed."""
        start, end, old, new = changed
        self.moved.append((Range(start, end), new.owner))
        self.epoch = max(self.epoch, new.epoch)
        mine, idle = old.owner == self.me, list(self.suspended.within(start, end))
        if mine and source != self.me:
            # Over what this peer was suspended from, a removal may write without asking it.
            for piece in difference([(start, end)], idle):
                self._contest(*piece, (old.owner, new.owner, new.writer), source)
        self.suspend(start, end, on=False)
        if new.owner != self.me:
            if mine:
                self.rows(self.space.remove(start, end))
        elif source != self.me and self.fences(new.writer):
            self.suspend(start, end, on=True)
            self.rows(self.space.remove(start, end))
        elif not mine:
            self._gain(start, end, rests, first=new.version == 1)
        else:
            for piece in idle:
                self._gain(*piece, None, first=False)

    def _recognise(self, changed: tuple[Changed, ...]) -> None:
        """By output commit whatever others have seen of this peer is on its disk: else it has lost memory (S12)."""
        for start, end, _, new in changed:
            if new.writer == self.me and new.version > 1:
                self.fence(
                    f"{self.describe(start, end)} was given away by this host, which does not know of it: its disk went"
                    " back to an earlier state"
                )
                return

    def _record(self, changed: tuple[Changed, ...], source: str) -> None:
        """Write down for people who came to own what."""
        lines = [
            Recorded(self.now, start, end, old.owner, new, source)
            for start, end, old, new in changed[:RECORDED_MAX]
            if old.owner != new.owner
        ]
        if lines:
            self.change(Record(tuple(lines)))

    def _learn_owners(self, joined: Joined, source: str) -> None:
        """Whoever owns space is a member, met or not: a removal must ask it (S4), and probes tell if it is there."""
        owners = dict.fromkeys(new.owner for *_, new in joined.changed)
        self.learn_names(filter(None, owners), source, owners=True)

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
        for lo, hi in self.doubtful.within(start, end):
            self.rows(self.space.remove(lo, hi))
        for lease in self.leases_within(start, end):
            self.rows(self.space.remove(int(lease.address), int(lease.address) + 1))

    def _contest(self, start: int, end: int, peers: tuple[str, ...], source: str) -> None:
        """Somebody else wrote over a range of ours: issue nothing there, say so.

        No correct peer does that, unless this one was removed while it was alive, or has lost memory. Then only what it
        leases is in doubt, as it possesses nothing any more. The addresses stay with whoever holds a lease on them;
        nobody is cut off (weave's D3 to D5, #1962).
        """
        if not self.fenced:
            self.dispute(start, end, peers, source)
            return
        for lease in self.leases_within(start, end):
            self.dispute(int(lease.address), int(lease.address) + 1, peers, source)

    def dispute(self, start: int, end: int, peers: tuple[str, ...], source: str) -> None:
        """Put a range on record as in doubt, durably; nothing is issued there until that is resolved by hand."""
        if self.doubtful.count(start, end) == end - start:
            return
        self.doubtful.add(start, end)
        self.rows(self.space.remove(start, end))
        if len(self.conflicts) >= CONFLICTS_MAX:
            self.warn("conflicts", f"more than {CONFLICTS_MAX} conflicts: what {source} says of more is not on record")
            return
        conflict = Conflict(start, end, tuple(sorted({*peers})), self.now, source)
        self.conflicts[start, end] = conflict
        self.change(PutConflict(conflict))
        told = f"{source} ({self.whence()})"
        text = f"conflict over {self.describe(start, end)}: {told} says {peers[1]} owns it"
        self.log("error", text, source, "conflict")

    def regain(self, start: int, end: int) -> None:
        """What of `[start, end)` is possessed again may be issued, after a rest."""
        for piece in self.possessed(start, end):
            self._gain(*piece, None, first=False)

    def leases_within(self, start: int, end: int) -> list[Lease]:
        if end - start < len(self.leases):
            found = (self.leases.at(self.universe.family, address) for address in range(start, end))
            return [lease for lease in found if lease is not None]
        return [
            lease
            for lease in self.leases
            if lease.address.version == self.universe.family and start <= int(lease.address) < end
        ]

    # ── members ──────────────────────────────────────────────────────────────────────────────────

    def learn(
        self, members: Iterable[Member], source: str, rumour: Rumour | None = None, *, owners: bool = False
    ) -> None:
        """Take in what `source` says of members; what was news is spread, newcomers are durable first (S4)."""
        news = []
        for member in members:
            known = self.members.get(member.peer)
            if known is None and not owners and len(self.members) >= MEMBERS_MAX:
                self.warn("members", f"{source} names more than {MEMBERS_MAX} members: the others are ignored")
                continue
            self._check_own(member, source)
            found = self.members.merge(member, self.now)
            if found is None:
                continue
            if found.peer == self.me:
                self.spread((), (found,), self.me)  # a refutation: the news is ours
                continue
            if member.point is not None:
                self.note_point(member.peer, member.point, confronted=False)
            if known is None or (known.address, known.standing) != (found.address, found.standing):
                self.change(PutMember(found.peer, found.address, found.standing))
            news.append(found)
        if news:
            self.gained = True  # a donor may have come, or be known to be gone
            if rumour is not None:
                self.rumours.add(rumour, source)
            elif len(news) <= RUMOUR_MEMBERS_MAX:
                self.spread((), tuple(news), source)

    def learn_names(self, peers: Iterable[str], source: str, *, owners: bool = False) -> None:
        """There are these members, of whom maybe nothing else is known; a removal asks the closure of lists (S4)."""
        strangers = [Member(peer, "", 0, Health.ALIVE, 0) for peer in peers if peer not in self.members]
        if strangers:
            self.learn(strangers, source, owners=owners)

    def _check_own(self, member: Member, source: str) -> None:
        """What others say of this peer: how far its history had come, and whether it is still a member."""
        if member.peer != self.me:
            return
        self.confront(member.point, source)
        mine = self.members.me
        if member.standing.value > mine.standing.value:
            self.come_to(member.standing)
            self.fence(
                "it was removed from the ring by an operator: `ringipam rejoin` brings it back as a new peer, and"
                " `ringipam conflicts` lists which of its addresses are in doubt"
                if member.standing is Standing.REMOVED
                else "it was leaving the ring, which it does not remember: its disk went back to an earlier state"
            )

    def note_point(self, peer: str, point: Point, *, confronted: bool) -> None:
        """Hold on to the furthest point of another's history; durable with the next `save_points`.

        One of a process that is new here replaces it only once the peer was `confronted` with what was held: it may
        have gone back and come that far again among others, who know nothing of what it lost (safety.md S12, S13).
        """
        known = self.points.get(peer)
        if known is None or (point.number > known.number and (confronted or point.nonce == known.nonce)):
            self.points[peer] = point
            self._unsaved[peer] = None

    def save_points(self) -> None:
        """Make durable what was noted, and what is told of this peer's own history from now on."""
        for peer in self._unsaved:
            self.change(PutPoint(peer, self.points[peer]))
        self._unsaved.clear()
        published = self.memory.publish()
        if published is not None:
            self.change(published)
            self.members.point = self.memory.point

    def confront(self, point: Point | None, source: str) -> None:
        """Look for a point of this peer's history that somebody holds; fence this peer off if it is not in it (S12)."""
        objection = self.memory.objection(point) if point is not None else ""
        if objection:
            self.fence(f"{objection} (as {source} knows): `ringipam rejoin` brings it back as a new peer")

    def come_to(self, standing: Standing) -> None:
        """Be on the way out from now on, durably, and let everybody know."""
        me = self.members.publish(standing=standing)
        self.change(PutMember(me.peer, me.address, standing))
        self.spread((), (me,), self.me)
        self.gained = True

    def meet(self, peer: str, address: str) -> None:
        """A link to `peer` stands, and it listens at `address`."""
        if peer not in self.members:
            self.learn([Member(peer, address, 0, Health.ALIVE, 0)], peer)
        elif self.members.moved(peer, address):
            self.change(PutMember(peer, address, self.members.standing(peer)))
        for member in self.members.all():
            if member.address == address and member.peer != peer:
                self.members.doubt(member.peer)  # a former self: no dial will ever fail to tell that it is gone

    def hide(self, peer: str) -> None:
        """Show one who has gone no longer, durably; that it has gone is on record for ever (safety.md S10)."""
        if self.members.moved(peer, ""):
            self.change(PutMember(peer, "", self.members.standing(peer)))

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
            numbered = self.memory.commit(self._changes, self.now)
            if numbered is not None:
                self._changes.append(numbered)
            effects.insert(0, Persist(tuple(self._changes)))
            self._changes = []
        return effects

    def describe(self, start: int, end: int) -> str:
        """A range in words for logs and errors."""
        first, last = self.universe.text(start), self.universe.text(end - 1)
        return first if end - start == 1 else f"{first}-{last}"
