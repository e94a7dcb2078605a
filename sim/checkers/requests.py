"""A request for space is granted at most once, however often it comes and whatever crashes between (safety.md S16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutAnswered
from ringipam.core.events import Effect, Event, Received, Send
from ringipam.messages import Denied, Envelope, Grant, Hello
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class SpaceIsGrantedOnce(Checker):
    """A grant is of the record that says its request is answered, and such records only ever count up.

    What one process has denied it does not grant later either: the asker has gone on by then.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._answered: dict[str, dict[str, int]] = {}  # donor → asker → number
        self._greeted: dict[int, str] = {}  # link → who is at its other end, though the host may be another by now

    def restarted(self, host: Host) -> None:
        self._answered[host.name] = dict(host.disk.durable.answered)

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if type(event) is Received and type(event.message) is Hello:
            self._greeted[event.link] = event.message.peer
        for effect in effects:
            if type(effect) is Send and type(effect.message) is Envelope and type(effect.message.body) is Denied:
                envelope, denied = effect.message, effect.message.body
                asker = envelope.target if envelope.origin == host.settings.peer else self._greeted.get(effect.link, "")
                if asker and envelope.origin in ("", host.settings.peer):
                    answered = self._answered[host.name]
                    answered[asker] = max(denied.number, answered.get(asker, 0))

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        recorded: dict[str, int] = {}
        for change in changes:
            if isinstance(change, PutAnswered):
                recorded[change.asker] = change.number
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Envelope):
                envelope = effect.message
                number = envelope.body.number if isinstance(envelope.body, Grant) else 0
                mine = number and envelope.origin in ("", host.settings.peer)
                if mine and number not in recorded.values():
                    self.fail(f"{host.name} grants request {number} without a record of that")
        answered = self._answered[host.name]
        for asker, number in recorded.items():
            if number <= answered.get(asker, 0):
                self.fail(f"{host.name} grants request {number} of {asker}, and has answered {answered[asker]}")
            answered[asker] = number
