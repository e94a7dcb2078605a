"""Whoever is fenced off serves what it holds and nothing else: it issues, grants, restamps and promises nothing (S23).

The same holds for one that waits after its start for a word that its data is current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutLease, PutMeta, PutTokens
from ringipam.core.events import Asked, DeadlinePassed, Effect, Event, Received, Send
from ringipam.messages import Envelope, Farewell, Grant, PromiseRemoval, Recall
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class FencedIssuesNothing(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: dict[str, str] = {}  # host → why nothing is issued there
        self._leases: dict[str, set[str]] = {}

    def restarted(self, host: Host) -> None:
        stored = host.disk.durable
        waits = host.settings.verify and (host.settings.dial or any(p != host.settings.peer for p in stored.members))
        self._held[host.name] = host.fenced or ("it waits for a word that its data is current" if waits else "")
        self._leases[host.name] = set(stored.leases)

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        held = self._held[host.name]
        if held:
            for effect in effects:
                if type(effect) is Send and type(effect.message) is Envelope:
                    self._said(host, held, effect.message)
        if type(event) is Received and type(event.message) is Envelope and not host.fenced:
            recalled = type(event.message.body) is Recall and event.message.target in ("", host.settings.peer)
            if recalled and event.message.mark:
                self._held[host.name] = ""

    def _said(self, host: Host, held: str, envelope: Envelope) -> None:
        body = envelope.body
        if envelope.origin not in ("", host.settings.peer):
            return
        if type(body) in (Grant, PromiseRemoval) or (isinstance(body, Farewell) and body.willing):
            self.fail(f"{host.name} says {body}, and is fenced off: {held}")

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        held, leases = self._held[host.name], self._leases[host.name]
        for change in changes:
            match change:
                case PutLease(lease):
                    if held and lease.lease not in leases:
                        self.fail(f"{host.name} leases {lease.address} to {lease.id}, and is fenced off: {held}")
                    leases.add(lease.lease)
                case PutTokens() if held and isinstance(event, DeadlinePassed | Asked):
                    if any(claim.writer == host.settings.peer for _, claim in change.put):
                        self.fail(f"{host.name} writes the ring on {event}, and is fenced off: {held}")
                case PutMeta("fenced", reason):
                    self._held[host.name] = reason
                case _:
                    pass
