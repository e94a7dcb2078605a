"""Who is there, and who seems not to be: SWIM (Das, Gupta and Motivala, DSN 2002) with Lifeguard's local health.

Health is a hint: for choosing donors and telling operators, never for safety. Nothing here removes a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringipam.address import Range
from ringipam.gossip.roster import Roster
from ringipam.messages import COUNTER_MAX, Ack, Body, Health, Member, Ping, PingRequest, Point, Standing

HELPERS = 3
"""How many others are asked to ping a member that did not answer (SWIM's k)."""
LOCAL_HEALTH_MAX = 8


def suspicion_ms(members: int, probe_ms: int) -> int:
    """How long a suspect may refute before it counts as dead: grows like log(members) (SWIM, 4.2)."""
    return max(3, members.bit_length()) * probe_ms


@dataclass(slots=True)
class _Known:
    member: Member
    since_ms: int
    """When it was last seen to come or to fall silent."""


@dataclass(slots=True)
class _Probe:
    peer: str
    sequence: int
    ask_others_ms: int
    give_up_ms: int
    asked_others: bool = False


class Membership:
    """Every member ever heard of, and this peer's own record among them."""

    def __init__(self, me: Member, probe_ms: int, timeout_ms: int, shuffle: Callable[[list[str]], list[str]]) -> None:
        self._me = me.peer
        self._known: dict[str, _Known] = {}
        self.roster = Roster()
        self.departures = 0
        """How many members have gone; what was derived from that holds as long as this does."""
        self._others: list[str] | None = None
        """What `others` says, as long as nobody comes or goes."""
        self._hold(me, 0)
        self._probe_ms = probe_ms
        self._timeout_ms = timeout_ms
        self._shuffle = shuffle
        self._round: list[str] = []
        self._doubted: dict[str, None] = {}
        self._probe: _Probe | None = None
        self._next_probe_ms = 0
        self._sequence = 0
        self._local_health = 0  # Lifeguard: how much this peer distrusts its own judgement, 0 to 8
        self._helping: dict[int, tuple[str, int]] = {}  # my sequence → (who asked, its sequence)
        self._suspected: dict[str, int] = {}  # suspect → when it is declared dead
        self.point: Point | None = None
        """How far this peer's own history has come; rides on probes and on what is published."""

    def __contains__(self, peer: str) -> bool:
        return peer in self._known

    def __len__(self) -> int:
        return len(self._known)

    @property
    def me(self) -> Member:
        return self._known[self._me].member

    def get(self, peer: str) -> Member | None:
        known = self._known.get(peer)
        return known.member if known else None

    def all(self) -> list[Member]:
        return [known.member for known in self._known.values()]

    def within(self, spans: Iterable[Range]) -> list[Member]:
        """Who stands in these ranges of positions, in order."""
        return [self._known[peer].member for span in spans for peer in self.roster.within(*span)]

    def others(self) -> list[str]:
        """Every other member that has neither left nor been removed."""
        if self._others is None:
            self._others = [
                peer for peer, known in self._known.items() if peer != self._me and not known.member.standing.gone
            ]
        return list(self._others)

    def gone(self, peer: str) -> bool:
        """Whether it has left or was removed; for ever, then (safety.md S10)."""
        known = self._known.get(peer)
        return known is not None and known.member.standing.gone

    def standing(self, peer: str) -> Standing:
        known = self._known.get(peer)
        return known.member.standing if known else Standing.MEMBER

    def reachable(self, peer: str) -> bool:
        known = self._known.get(peer)
        return known is not None and known.member.health is not Health.DEAD and not known.member.standing.gone

    def away_s(self, peer: str, now: int) -> int:
        """For how many seconds `peer`, which is not alive, has not been, as seen here."""
        known = self._known.get(peer)
        return max(0, now - (known.since_ms if known else 0)) // 1000

    def publish(
        self, *, free: int | None = None, standing: Standing | None = None, point: Point | None = None
    ) -> Member:
        """Renew this peer's own record; the raised incarnation makes it win everywhere."""
        me = self.me
        renewed = me._replace(
            incarnation=me.incarnation + 1,
            free=me.free if free is None else free,
            standing=me.standing if standing is None else standing,
            point=point or me.point,
        )
        self._hold(renewed, 0)
        return renewed

    def _hold(self, member: Member, now: int) -> None:
        """Whatever is learned of a member goes in here."""
        known = self._known.get(member.peer)
        departs = member.standing.gone and not (known and known.member.standing.gone)
        self.departures += departs
        if known is None or departs:
            self._others = None
        if known is None:
            self._known[member.peer] = _Known(member, now)
        else:
            if (member.health is Health.ALIVE) is not (known.member.health is Health.ALIVE):
                known.since_ms = now
            known.member = member
        self.roster.put(member)

    def merge(self, member: Member, now: int) -> Member | None:
        """Take `member` in if it is news; what is news to others then (perhaps a refutation), else None."""
        if member.incarnation > COUNTER_MAX:
            return None
        if member.peer == self._me:
            if member.stamp > self.me.stamp:
                # What others say of this peer's own standing is for it to find out (core/memory.py).
                self._hold(self.me._replace(incarnation=max(member.incarnation, self.me.incarnation)), 0)
                return self.publish()
            return None
        known = self._known.get(member.peer)
        if known is None:
            self._hold(member, now)
            self._watch(member, now)
            return member
        old = known.member
        if member.stamp <= old.stamp:
            return None
        if not member.address or member.address.startswith(":"):
            member = member._replace(address=old.address)
        self._hold(member, now)
        self._watch(member, now)
        return member

    def moved(self, peer: str, address: str) -> bool:
        """`peer` was met at `address`; whether that is a new one."""
        member = self._known[peer].member
        if member.address == address:
            return False
        self._hold(member._replace(address=address), 0)
        return True

    def _watch(self, member: Member, now: int) -> None:
        if member.health is not Health.SUSPECT or member.standing.gone:
            self._suspected.pop(member.peer, None)
        elif member.peer not in self._suspected:
            self._suspected[member.peer] = now + suspicion_ms(len(self._known), self._probe_ms)

    # ── probing ──────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        """When `tick` is wanted next."""
        if self._probe is None:
            due = self._next_probe_ms
        else:
            due = self._probe.give_up_ms if self._probe.asked_others else self._probe.ask_others_ms
        return min(due, *self._suspected.values()) if self._suspected else due

    def doubt(self, peer: str) -> None:
        """A link to `peer` broke, or could not be had: probe it before the others."""
        if peer in self._known:
            self._doubted[peer] = None

    def tick(self, now: int, linked: list[str]) -> tuple[list[tuple[str, Body]], list[Member]]:
        """What to send, and which members' news to spread."""
        sends: list[tuple[str, Body]] = []
        news = self._bury(now)
        probe = self._probe
        if probe is not None and not probe.asked_others and now >= probe.ask_others_ms:
            probe.asked_others = True
            helpers = [peer for peer in self._shuffle(linked) if peer != probe.peer]
            sends += [(helper, PingRequest(probe.sequence, probe.peer)) for helper in helpers[:HELPERS]]
        if probe is not None and now >= probe.give_up_ms:
            self._probe = None
            self._local_health = min(LOCAL_HEALTH_MAX, self._local_health + 1)
            suspect = self._suspect(probe.peer, now)
            news += [suspect] if suspect else []
        if self._probe is None and now >= self._next_probe_ms:
            sends += self._begin_probe(now, linked)
        return sends, news

    def _bury(self, now: int) -> list[Member]:
        news = []
        for peer in [peer for peer, due in self._suspected.items() if due <= now]:
            dead = self._known[peer].member._replace(health=Health.DEAD)
            if self.merge(dead, now):
                news.append(dead)
        return news

    def _suspect(self, peer: str, now: int) -> Member | None:
        member = self._known[peer].member
        if member.health is not Health.ALIVE:
            return None
        return self.merge(member._replace(health=Health.SUSPECT), now)

    def _begin_probe(self, now: int, linked: list[str]) -> list[tuple[str, Body]]:
        """Probe the next member in turn. The dead are not probed: they refute when a link to them stands again."""
        self._next_probe_ms = now + self._probe_ms
        peer = self._next_to_probe(linked)
        if peer is None:
            return []
        self._sequence += 1
        patience = self._timeout_ms * (1 + self._local_health)
        self._probe = _Probe(peer, self._sequence, now + patience, now + 2 * patience)
        return [(peer, Ping(self._sequence, self.point))]

    def _next_to_probe(self, linked: list[str]) -> str | None:
        """Who is doubted, then in turn the linked and those that nobody can dial: others look after the rest."""
        while self._doubted:
            peer = next(iter(self._doubted))
            del self._doubted[peer]
            if self.reachable(peer) and peer != self._me:
                return peer
        if not self._round:
            unmet = [peer for peer in self.others() if not self._known[peer].member.address]
            self._round = self._shuffle([*linked, *unmet])
        here = set(linked)
        while self._round:
            peer = self._round.pop()
            if self.reachable(peer) and (peer in here or not self._known[peer].member.address):
                return peer
        return None

    def received(self, sender: str, message: Ping | Ack | PingRequest) -> list[tuple[str, Body]]:
        """What to answer."""
        match message:
            case Ping(sequence):
                return [(sender, Ack(sequence, self.point))]
            case PingRequest(_, peer) if peer == self._me or peer not in self._known:
                return []
            case PingRequest(sequence, peer):
                self._sequence += 1
                self._helping[self._sequence] = (sender, sequence)
                if len(self._helping) > 100:
                    del self._helping[next(iter(self._helping))]
                return [(peer, Ping(self._sequence, self.point))]
            case Ack(sequence):
                if self._probe is not None and self._probe.sequence == sequence:
                    self._probe = None
                    self._local_health = max(0, self._local_health - 1)
                if sequence in self._helping:
                    asker, theirs = self._helping.pop(sequence)
                    return [(asker, Ack(theirs))]
                return []
