"""Which handler serves which method and path. Knows how a path is taken apart, not what any of them does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from ringipam.address import Address
from ringipam.core.events import Answer, Verb
from ringipam.errors import RequestError, RingIpamError
from ringipam.server.fields import Arguments, Field
from ringipam.server.http import Response


class Asker(Protocol):
    """What the HTTP surface needs of a node."""

    async def ask(self, verb: Verb) -> Answer:
        """The durable answer; raises RingIpamError. Cancelling the call withdraws the question (safety.md S18)."""
        ...

    async def history(self, address: str | Address) -> dict[str, object]:
        """Who gave the range with `address` to whom, as far as it is recorded; raises RingIpamError."""
        ...


Respond = Callable[[Asker, Arguments], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API: what serves it and what is said of it."""

    method: str
    path: str
    """Segments in braces are parameters: `/v1/leases/{id}`."""
    verb: str
    """Its name in metrics and in the OpenAPI document."""
    about: str
    respond: Respond
    refuse: Callable[[RingIpamError], Response]
    """How this route says no."""
    answers: Mapping[int, str]
    """Status codes of success, each with the name of its schema in the OpenAPI document, or a media type."""
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    lenient: bool = False
    """Ignores query parameters it does not know, and any body, as weave's API does."""
    raw: bool = False
    """Reads its body itself, from `Arguments.body`."""


class NoRouteError(Exception):
    """Nothing is served at this path."""


class WrongMethodError(Exception):
    """The path is served, but not for this method; `allow` lists those that are."""

    def __init__(self, allow: str) -> None:
        super().__init__(allow)
        self.allow = allow


@dataclass(slots=True)
class _Place:
    """A node of the tree of path segments."""

    literals: dict[str, _Place] = field(default_factory=dict)
    parameter: _Place | None = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)
    """By method; with the names of the path's parameters, in order."""


class Router:
    """Finds a route by method and path in one walk over the path's segments. Literal segments come first."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Place()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        place, names = self._root, []
        for segment in route.path[1:].split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                place.parameter = place.parameter or _Place()
                place = place.parameter
            else:
                place = place.literals.setdefault(segment, _Place())
        assert route.method not in place.routes, f"two routes for {route.method} {route.path}"
        place.routes[route.method] = route, tuple(names)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters, percent-decoded.

        Raises NoRouteError, WrongMethodError, or RequestError if a parameter is not UTF-8.
        """
        place, values = self._root, []
        if not path.startswith("/"):
            raise NoRouteError
        for segment in path[1:].split("/"):
            literal = place.literals.get(segment)
            if literal is not None:
                place = literal
            elif place.parameter is not None and segment:
                place = place.parameter
                values.append(_decode(segment))
            else:
                raise NoRouteError
        if not place.routes:
            raise NoRouteError
        if method not in place.routes:
            raise WrongMethodError(", ".join(sorted(place.routes)))
        route, names = place.routes[method]
        return route, dict(zip(names, values, strict=True))


def _decode(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise RequestError(f"not UTF-8 in the path: {segment!r}") from None
