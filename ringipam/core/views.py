"""What `status`, `ring`, `peers` and `conflicts` show, as the JSON of docs/http.md."""

from __future__ import annotations

from datetime import UTC, datetime

from ringipam.core.allocator import Allocator
from ringipam.core.disputes import Disputes
from ringipam.core.election import Election
from ringipam.core.leaving import Leaving
from ringipam.core.links import Links
from ringipam.core.settings import name_of
from ringipam.core.state import State
from ringipam.lease import time_text
from ringipam.messages import Health, Member, Standing


class Views:
    def __init__(
        self,
        state: State,
        links: Links,
        election: Election,
        allocator: Allocator,
        leaving: Leaving,
        disputes: Disputes,
    ) -> None:
        self._state = state
        self._links = links
        self._election = election
        self._allocator = allocator
        self._leaving = leaving
        self._disputes = disputes

    def status(self) -> dict[str, object]:
        state = self._state
        word, reason = self._condition()
        return {
            "peer": _name(state.me),
            "universe": str(state.universe),
            "subnet": str(state.settings.subnet),
            "cluster": state.cluster or None,
            "state": word,
            "reason": reason,
            "serving": self._complete(),
            "leases": len(state.leases),
            "owned": sum(owned.size for owned in state.possessed()),
            "free": 0 if state.hold else state.space.size,
            "peers": self._health(),
            "pending": self._allocator.pending(),
            "warnings": [*state.warnings.values(), *self._doubts()],
        }

    def _condition(self) -> tuple[str, str | None]:
        state = self._state
        if state.fenced:
            return "fenced", state.fenced
        if self._links.refusals:
            return "refusing", "; ".join(self._links.refusals.values())
        if state.unconfirmed:
            return "idle", state.hold
        if state.members.me.standing is Standing.LEAVING:
            return "idle", f"leaving the ring, waiting for {self._leaving.waiting_for()}"
        if self._complete():
            return "ready", None
        if state.cluster:
            return "electing", "learning the ring from its members"
        if self._election.wanted:
            return "electing", self._election.explain()
        return "idle", "no ring yet; it is formed when an address is first needed, or by `ringipam prime`"

    def _doubts(self) -> list[str]:
        """What an operator should look after: former selves that are dead, ghosts that own space, carried leases."""
        state = self._state
        members = state.members
        found = []
        alive = {name_of(peer): peer for peer in (*members.others(), state.me) if members.reachable(peer)}
        for peer in members.others():
            successor = alive.get(name_of(peer), peer)
            if successor != peer and not members.reachable(peer):
                found.append(
                    f"{peer} is dead and came back as {successor}: `ringipam remove-peer {peer}` frees its ranges"
                )
        ghosts = [peer for peer in state.ring.owners() if members.gone(peer)] if state.ring else []
        found += [f"{peer} is gone and still owns addresses: `ringipam remove-peer {peer}` again" for peer in ghosts]
        if state.conflicts:
            found.append(f"{len(state.conflicts)} ranges are in doubt: see `ringipam conflicts`")
        if state.suspended.size:
            found.append(
                f"{state.suspended.size} addresses wait for the end of a removal, or for another one of the host that"
                " gave them away and is gone"
            )
        for coordinator, pledge in state.pledges.items():
            if coordinator != state.me:
                names = ", ".join(map(name_of, pledge.targets))
                found.append(f"bound to the removal of {names} by {coordinator}: if that host is dead, remove it too")
        carried = len(self._disputes.carried())
        if carried:
            found.append(
                f"{carried} addresses that are leased here belong to others by the ring: they are asked for, and until"
                " then in doubt: see `ringipam conflicts`"
            )
        return found

    def _complete(self) -> bool:
        ring = self._state.ring
        return ring is not None and all(claim.owner for _, claim in ring.tokens())

    def _health(self) -> dict[str, int]:
        members = self._state.members
        states = [m.health for m in members.all() if m.peer != self._state.me and not m.standing.gone]
        return {health.name.lower(): states.count(health) for health in Health}

    def ring(self) -> dict[str, object]:
        """Only what all converged peers share: equal rings give equal texts."""
        state = self._state
        segments = state.ring.segments() if state.ring else ()
        return {
            "universe": str(state.universe),
            "cluster": state.cluster or None,
            "tokens": [
                {
                    "first": state.universe.text(start),
                    "last": state.universe.text(end - 1),
                    "size": end - start,
                    "owner": claim.owner,
                    "epoch": claim.epoch,
                    "version": claim.version,
                    "writer": claim.writer,
                }
                for start, end, claim in segments
            ],
        }

    def peers(self) -> dict[str, object]:
        state = self._state
        owned = state.ring.owners() if state.ring else {}
        shown = []
        for member in sorted(state.members.all()):
            if member.peer == state.me or (member.standing.gone and not member.address):
                continue
            linked = self._links.link_to(member.peer) is not None
            silent_s = 0 if member.health is Health.ALIVE else state.members.away_s(member.peer, state.now)
            shown.append(
                {
                    **_name(member.peer),
                    "address": member.address,
                    "state": _state_of(member),
                    "owned": owned.get(member.peer, 0),
                    "free": member.free,
                    "last_seen_s": silent_s,
                    "linked": linked,
                    "protocol": self._links.protocol(member.peer) if linked else None,
                    "ignored": self._links.ignored(member.peer) if linked else 0,
                }
            )
        return {"peers": shown}

    def conflicts(self) -> dict[str, object]:
        state = self._state
        shown = []
        for conflict in sorted((*state.conflicts.values(), *self._disputes.carried())):
            inside = [
                lease.as_json()
                for lease in state.leases
                if state.inside(lease.address.version, int(lease.address))
                and conflict.start <= int(lease.address) < conflict.end
            ]
            shown.append(
                {
                    "first": state.universe.text(conflict.start),
                    "last": state.universe.text(conflict.end - 1),
                    "peers": list(conflict.peers),
                    "leases": inside,
                    "since": time_text(datetime.fromtimestamp(conflict.since_ms // 1000, UTC)),
                    "advice": f"shown by {conflict.source}; nothing is issued there: see that no two containers use one"
                    " address, then `ringipam conflicts resolve` it, first with --take on the host whose container"
                    " keeps it, then on the others",
                }
            )
        return {"conflicts": shown}


def _state_of(member: Member) -> str:
    return (member.health if member.standing is Standing.MEMBER else member.standing).name.lower()


def _name(peer: str) -> dict[str, object]:
    return {"name": name_of(peer), "uid": peer.rpartition(".")[2]}
