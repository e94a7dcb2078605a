"""What one message, request or moment changes is one durable record, and nothing is seen before it (safety.md S19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Effect, Event, Persist
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.host import Host


class OneRecordAStep(Checker):
    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        for effect in effects[1:]:
            if type(effect) is Persist:
                what = type(event).__name__ if event is not None else "the start"
                self.fail(f"{host.name} asks for a record behind other effects of {what}")
