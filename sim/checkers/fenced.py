"""Whoever is fenced off serves what it holds and nothing else: it issues, grants, restamps and promises nothing (S23).

The same holds for one that waits after its start for a word that its data is current.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutLease, PutMeta, PutTokens
from ringipam.core.events import Asked, DeadlinePassed, Effect, Event, Log, Received, Send
from ringipam.messages import Envelope, Farewell, Grant, PromiseRemoval, Recall
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host

CONFIRMS = " confirms that this host's data is current"


class FencedIssuesNothing(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: dict[str, str] = {}  # host → why nothing is issued there
        self._words: Counter[str] = Counter()  # host → how many have told since its start what they know of it
        self._leases: dict[str, set[str]] = {}

    def restarted(self, host: Host) -> None:
        stored = host.disk.durable
        waits = host.settings.verify and (host.settings.dial or any(p != host.settings.peer for p in stored.members))
        self._held[host.name] = host.fenced or ("it waits for a word that its data is current" if waits else "")
        self._leases[host.name] = set(stored.leases)
        self._words[host.name] = 0

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        self._words[host.name] += _is_word(host, event)

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        held = self._held[host.name]
        if held:
            for effect in effects:
                if type(effect) is Send and type(effect.message) is Envelope:
                    self._said(host, held, effect.message)
        if not host.fenced and (_is_word(host, event) or (held and self._all_have_spoken(host, event, effects))):
            self._held[host.name] = ""

    def _all_have_spoken(self, host: Host, event: Event | None, effects: list[Effect]) -> bool:
        """Whether a host that says that all within reach know nothing of it has a word of as many as it names."""
        said = [effect.text for effect in effects if type(effect) is Log and CONFIRMS in effect.text]
        return type(event) is DeadlinePassed and any(
            text.partition(CONFIRMS)[0].count(" and ") < self._words[host.name] for text in said
        )

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


def _is_word(host: Host, event: Event | None) -> bool:
    """Somebody tells this host how far its history had come, as far as it knows."""
    if type(event) is not Received or type(event.message) is not Envelope or not event.message.mark:
        return False
    return type(event.message.body) is Recall and event.message.target in ("", host.settings.peer)
