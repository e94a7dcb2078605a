"""What every checker is: a watcher with a name that can only raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ringipam.core.durable import Change
from ringipam.core.events import Effect, Event

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host


class Violation(Exception):  # noqa: N818  the word of the field
    """A property was broken."""

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker
        self.text = text


class Checker:
    """Every method is called at its moment; the default is to look away."""

    def __init__(self, world: World) -> None:
        self.world = world

    def fail(self, text: str) -> NoReturn:
        raise Violation(type(self).__name__, f"at {self.world.elapsed_ms} ms: {text}")

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None: ...

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None: ...

    def restarted(self, host: Host) -> None: ...

    def crashed(self, host: Host) -> None: ...

    def asked(self, request: Request) -> None: ...

    def answered(self, request: Request) -> None: ...

    def finished(self) -> None: ...
