"""A takeover is written only in a round that every member has promised, and promises are kept (S1, S8 to S11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, DropPledge, DropRound, PutMember, PutMeta, PutPledge, PutRound
from ringipam.core.events import Effect, Event, RemovePeers, Send
from ringipam.messages import Envelope, Grant, Standing
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host


class TakeoversWerePromised(Checker):
    """A forced removal goes on without those who do not answer; everything else waits for all."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._promised: set[tuple[str, str, int]] = set()  # member, coordinator, epoch
        self._open: dict[str, dict[int, None]] = {}  # coordinator → its rounds
        self._forced: dict[str, set[frozenset[str]]] = {}  # host → whom its operator removes by force

    def asked(self, request: Request) -> None:
        if isinstance(request.verb, RemovePeers) and request.verb.force:
            self._forced.setdefault(request.host, set()).add(frozenset(request.verb.peers))

    def restarted(self, host: Host) -> None:
        self._open[host.name] = dict.fromkeys(host.disk.durable.rounds)

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, PutPledge):
                self._promised.add((host.settings.peer, change.coordinator, change.pledge.epoch))

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        open_ = self._open[host.name]
        for change in changes:
            match change:
                case PutRound(epoch, round_) if round_.done:
                    if epoch not in open_:
                        self.fail(f"{host.name} takes over in epoch {epoch}, which it has not begun or has given up")
                    self._look(host, epoch, round_.targets)
                case PutRound(epoch, _):
                    open_[epoch] = None
                case DropRound(epoch):
                    del open_[epoch]
                case _:
                    pass

    def _look(self, host: Host, epoch: int, targets: tuple[str, ...]) -> None:
        me = host.settings.peer
        if frozenset(targets) in self._forced.get(host.name, ()):
            return
        for peer, member in host.disk.durable.members.items():
            asked = peer != me and peer not in targets and not member.standing.gone
            if asked and (peer, me, epoch) not in self._promised:
                self.fail(f"{host.name} takes over from {', '.join(targets)} and {peer} has not promised it")


class PromisesAreKept(Checker):
    """Nothing is granted to one who is leaving, has gone, or is to be removed by a promise of the donor's."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._pledges: dict[str, dict[str, tuple[str, ...]]] = {}  # host → coordinator → whom it removes
        self._standing: dict[str, dict[str, Standing]] = {}

    def restarted(self, host: Host) -> None:
        stored = host.disk.durable
        self._pledges[host.name] = {peer: pledge.targets for peer, pledge in stored.pledges.items()}
        self._standing[host.name] = {peer: member.standing for peer, member in stored.members.items()}

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        """By what was known before this step."""
        for effect in effects:
            envelope = effect.message if isinstance(effect, Send) else None
            if not isinstance(envelope, Envelope) or envelope.origin not in ("", host.settings.peer):
                continue
            for segment in envelope.body.segments if isinstance(envelope.body, Grant) else ():
                self._look(host, segment.claim.owner, segment.start)

    def _look(self, host: Host, owner: str, start: int) -> None:
        barred = any(owner in targets for targets in self._pledges[host.name].values())
        if barred or self._standing[host.name].get(owner, Standing.MEMBER) is not Standing.MEMBER:
            self.fail(f"{host.name} grants {self.world.universe.text(start)} to {owner}, which is on its way out")

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        pledges, standing = self._pledges[host.name], self._standing[host.name]
        for change in changes:
            match change:
                case PutPledge(coordinator, pledge):
                    pledges[coordinator] = pledge.targets
                case DropPledge(coordinator):
                    pledges.pop(coordinator, None)
                case PutMember(peer, _, level):
                    standing[peer] = level
                case _:
                    pass


class EpochsAndStandingsGoOn(Checker):
    """The epoch that a host has promised or seen never falls, and nobody who has gone is a member again (S9, S10)."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._epoch: dict[str, int] = {}  # peer → the highest on its disk
        self._standing: dict[tuple[str, str], Standing] = {}  # who says it of whom

    def wiped(self, host: Host) -> None:
        peer = host.settings.peer
        self._epoch.pop(peer, None)
        for key in [key for key in self._standing if key[0] == peer]:
            del self._standing[key]

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        me = host.settings.peer
        if host.name in self.world.doubts.twins:
            return  # two disks of one peer
        for change in changes:
            match change:
                case PutMeta("epoch", text):
                    if int(text) <= self._epoch.get(me, 0):
                        self.fail(f"{host.name} goes back from epoch {self._epoch[me]} to {text}")
                case PutMember(peer, _, standing):
                    before = self._standing.get((me, peer), Standing.MEMBER)
                    if standing.value < before.value:
                        self.fail(f"{host.name} takes {peer} for {standing.name}, who was {before.name}")
                case _:
                    pass

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        me = host.settings.peer
        for change in changes:
            match change:
                case PutMeta("epoch", text):
                    self._epoch[me] = int(text)
                case PutMember(peer, _, standing):
                    self._standing[me, peer] = standing
                case _:
                    pass


class NothingStaysSuspended(Checker):
    """When every removal is over nobody is bound to one, and nothing is left without a possessor because of one.

    One case is left out: who began to remove a host that lives, and died in the middle, leaves the others bound to a
    round of which nobody knows any more whether it was done. That holds until the accused host is removed as well.
    """

    def settled(self) -> None:
        for host in self.world.members():
            stored = host.disk.durable
            open_ = [epoch for epoch, round_ in stored.rounds.items() if not round_.done]
            gone = {peer for peer, member in stored.members.items() if member.standing.gone}
            accused = {
                target
                for coordinator, pledge in stored.pledges.items()
                if coordinator in gone and not gone.issuperset(pledge.targets)
                for target in pledge.targets
            }
            alive = {other.settings.peer for other in self.world.members()}
            if open_ or (stored.pledges and not accused & alive):
                self.fail(f"{host.name} has rounds {open_} open, and is bound by {stored.pledges}")
            if stored.suspended and not accused & alive:
                self.fail(f"{host.name} is suspended from {stored.suspended}, and no removal is under way")
