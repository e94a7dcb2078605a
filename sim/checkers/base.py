"""What every checker is: a watcher with a name that can only raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ringipam.core.durable import Change
from ringipam.core.events import Effect, Event, Leave, Rejoin, Verb

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host


def drops_leases(verb: Verb) -> bool:
    """Whether an operator may let go of all leases of a host by this."""
    return isinstance(verb, Leave | Rejoin) and verb.drop_leases


class Violation(Exception):  # noqa: N818  the word of the field
    """A property was broken."""

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker
        self.text = text


class Checker:
    """Every method is called at its moment, if a subclass has its own."""

    def __init__(self, world: World) -> None:
        self.world = world

    def fail(self, text: str) -> NoReturn:
        raise Violation(type(self).__name__, f"at {self.world.elapsed_ms} ms: {text}")

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        """After every step of a peer; `event` is None for its start."""

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        """After a step that has effects, or in which a user asked or left."""

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        """After a step that asks for something to be kept: `changes`, of which there are some."""

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None: ...

    def restarted(self, host: Host) -> None:
        """A process begins: its peer stands, and has not done anything yet."""

    def crashed(self, host: Host) -> None: ...

    def wiped(self, host: Host) -> None:
        """A host that is down has lost its disk, or what is on it is of an earlier time."""

    def asked(self, request: Request) -> None: ...

    def answered(self, request: Request) -> None: ...

    def healed(self) -> None:
        """No fault strikes from now on."""

    def settled(self) -> None:
        """All rings are one, and whatever was in doubt has been noticed."""

    def finished(self) -> None: ...
