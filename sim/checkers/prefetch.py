"""The last address goes to real demand only, never to a peer that asks ahead of need (safety.md S17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.core.durable import Change
from ringipam.core.events import Effect, Event, Received, Send
from ringipam.messages import Envelope, Grant, SpaceRequest
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.host import Host


class PrefetchLeavesSome(Checker):
    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        if not isinstance(event, Received) or not isinstance(event.message, Envelope):
            return
        request = event.message.body
        if not isinstance(request, SpaceRequest) or request.urgent:
            return
        assert host.peer is not None
        for effect in effects:
            body = effect.message.body if isinstance(effect, Send) and isinstance(effect.message, Envelope) else None
            granted = isinstance(body, Grant) and body.number == request.number
            if granted and not host.peer.free_in(Range(request.start, request.end), at_most=1):
                self.fail(f"{host.name} gave its last addresses of a range to one who asks ahead of need")
