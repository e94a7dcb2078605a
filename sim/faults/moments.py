"""Faults that lie in wait for the moment at which they hurt most: a grant, a promise, an adoption, a lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringipam.core.durable import DropLease, PutLease, PutMeta, PutTokens
from ringipam.core.events import Send
from ringipam.messages import Accepted, Body, Denied, Envelope, Grant, Introduced, Promise
from sim.cluster import World
from sim.faults.fault import Fault, Kind, crash_for
from sim.faults.network import isolate
from sim.faults.processes import KINDS as PROCESSES
from sim.host import Host

Moment = Callable[[Host, object], bool]
Deed = Callable[[World, Fault, Host], None]


@dataclass(eq=False)
class _Ambush:
    """Does its deed the first time that its moment comes, on whatever host."""

    world: World
    fault: Fault
    point: str
    moment: Moment
    deed: Deed
    until: int

    def reached(self, point: str, host: Host, subject: object) -> bool:
        if point != self.point or host.stranger or not self.moment(host, subject):
            return self.world.loop.now > self.until
        self.world.traps.remove(self)
        self.world.mark(f"fault {self.fault.kind}")
        self.world.disturbed()
        self.deed(self.world, self.fault, host)
        return True


def _sends(*kinds: type[Body]) -> Moment:
    """A message of one of these kinds of the host's own, as an effect."""

    def moment(host: Host, subject: object) -> bool:
        if not isinstance(subject, Send) or not isinstance(subject.message, Envelope):
            return False
        return subject.message.origin in ("", host.settings.peer) and type(subject.message.body) in kinds

    return moment


def _records(kind: type) -> Moment:
    return lambda _, changes: isinstance(changes, tuple) and any(type(change) is kind for change in changes)


def _records_cluster(_: Host, changes: object) -> bool:
    return isinstance(changes, tuple) and any(type(c) is PutMeta and c.key == "cluster" for c in changes)


def _gains(host: Host, changes: object) -> bool:
    """The record of a grant that came in."""
    me = host.settings.peer
    return isinstance(changes, tuple) and any(
        claim.owner == me and claim.writer != me and claim.version > 1
        for change in changes
        if isinstance(change, PutTokens)
        for _, claim in change.put
    )


def _gives(host: Host, changes: object) -> bool:
    """The record of a grant that goes out."""
    me = host.settings.peer
    return isinstance(changes, tuple) and any(
        claim.writer == me and claim.owner != me
        for change in changes
        if isinstance(change, PutTokens)
        for _, claim in change.put
    )


def _crash(world: World, fault: Fault, host: Host) -> None:
    crash_for(world, host.name, 1 + fault.for_ms)


def _crash_before_sending(world: World, fault: Fault, host: Host) -> None:
    world.mark("a crash fell between a grant's record and its sending")
    _crash(world, fault, host)


def _isolate(world: World, fault: Fault, host: Host) -> None:
    isolate(world, Fault(0, "isolate", (host.name,), fault.for_ms, fault.strength))


def _pause(world: World, fault: Fault, host: Host) -> None:
    host.paused_until = world.loop.now + min(fault.for_ms, 3_000)


FORGETFUL = 15


def _isolate_founder(world: World, fault: Fault, host: Host) -> None:
    """Whoever learns first that the ring is decided can tell nobody: the others must come to the same ring.

    From a strength of `FORGETFUL` on they also lose what they keep in memory only.
    """
    _isolate(world, fault, host)
    if fault.strength >= FORGETFUL:
        others = tuple(other.name for other in world.members() if other is not host)
        PROCESSES["power-loss"].strike(world, Fault(0, "power-loss", others, 100, fault.strength))


def _ambush(point: str, moment: Moment, deed: Deed) -> Callable[[World, Fault], bool]:
    def strike(world: World, fault: Fault) -> bool:
        world.traps.append(_Ambush(world, fault, point, moment, deed, world.loop.now + 20_000))
        return False

    return strike


def _drop(kind: type[Body]) -> Callable[[World, Fault], bool]:
    def strike(world: World, fault: Fault) -> bool:
        for _ in range(1 + fault.strength // 10):
            world.network.drop_next(kind)
        return True

    return strike


def _founder(world: World, fault: Fault) -> bool:
    if any(host.disk.durable.meta.get("cluster") for host in world.members()):
        return False
    return _ambush("durable", _records_cluster, _isolate_founder)(world, fault)


KINDS = {
    "isolate-founder": Kind(_founder, "who learns first that the ring is decided is cut off", 0, standing=True),
    "crash-at-adoption": Kind(
        _ambush("commit", _records_cluster, _crash), "a crash just before a new ring is durable", 0, standing=True
    ),
    "crash-at-promise": Kind(
        _ambush("done", _sends(Promise, Accepted), _crash), "an elector crashes behind its promise", 0, standing=True
    ),
    "crash-at-grant": Kind(
        _ambush("effect", _sends(Grant), _crash_before_sending), "a donor crashes with a grant durable and unsent", 0
    ),
    "crash-after-grant": Kind(_ambush("done", _sends(Grant), _crash), "a donor crashes behind its grant", 0),
    "crash-giving": Kind(_ambush("commit", _gives, _crash), "a donor crashes before its grant is durable", 0),
    "crash-given": Kind(_ambush("durable", _gives, _crash), "a donor crashes in the moment its grant is durable", 0),
    "crash-committing": Kind(
        _ambush("committing", _records(PutTokens), _crash), "a crash while the disk writes a change of the ring", 0
    ),
    "crash-gaining": Kind(
        _ambush("commit", _gains, _crash), "an asker crashes before what it was granted is durable", 0
    ),
    "crash-gained": Kind(_ambush("durable", _gains, _crash), "an asker crashes when what it was granted is durable", 0),
    "pause-at-grant": Kind(_ambush("effect", _sends(Grant), _pause), "a donor stands still behind its grant", 0),
    "cut-at-grant": Kind(_ambush("done", _sends(Grant), _isolate), "a donor is cut off behind its grant", 0),
    "crash-at-witness": Kind(_ambush("done", _sends(Introduced), _crash), "a newcomer's witness crashes", 0),
    "crash-leasing": Kind(_ambush("commit", _records(PutLease), _crash), "a crash before a lease is durable", 0),
    "crash-leased": Kind(_ambush("durable", _records(PutLease), _crash), "a crash between a lease and its answer", 0),
    "crash-releasing": Kind(
        _ambush("durable", _records(DropLease), _crash), "a crash between a release and its answer", 0
    ),
    "lose-grants": Kind(_drop(Grant), "grants are lost on the way", 0),
    "lose-denials": Kind(_drop(Denied), "denials are lost on the way", 0),
}
