"""The whole API of one node: a request comes in, its route's answer or refusal goes out, and is counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from time import perf_counter

import trio

from ringipam.address import Cidr
from ringipam.core.events import Show
from ringipam.errors import RequestError, RingIpamError
from ringipam.server import openapi, v1, weave
from ringipam.server.fields import Arguments, read_body, read_query
from ringipam.server.http import Request, Response
from ringipam.server.metrics import CONTENT_TYPE, Metrics
from ringipam.server.routes import Asker, NoRouteError, Route, Router, WrongMethodError

READY_S = 2.0
"""A probe that is not answered within this is answered that the node is not ready."""

_log = logging.getLogger(__name__)


class Api:
    """Answers every request, whatever it is; `handle` raises nothing but cancellation."""

    def __init__(self, asker: Asker, default_subnet: Cidr, version: str, more: Sequence[Route] = ()) -> None:
        self._asker = asker
        self._metrics = Metrics()
        self.routes = (*v1.ROUTES, *weave.routes(default_subnet), *self._own_routes(), *more)
        self._router = Router(self.routes)
        self._document = v1.json_response(HTTPStatus.OK, openapi.document(self.routes, version))

    async def handle(self, request: Request) -> Response:
        arrived = perf_counter()
        try:
            route, path = self._router.find(request.method, request.path)
        except NoRouteError:
            return _refuse_path(request.path, HTTPStatus.NOT_FOUND, "not_found", f"nothing is at {request.path[:80]}")
        except WrongMethodError as error:
            text = f"{request.method} is not served here, only {error.allow}"
            refused = _refuse_path(request.path, HTTPStatus.METHOD_NOT_ALLOWED, "bad_request", text)
            return Response(refused.status, refused.body, refused.content_type, allow=error.allow)
        except RequestError as error:
            return _refuse_path(request.path, HTTPStatus.BAD_REQUEST, error.code, error.message)
        response, code = await self._respond(route, path, request)
        self._metrics.count(route.verb, code, perf_counter() - arrived)
        return response

    async def _respond(self, route: Route, path: dict[str, str], request: Request) -> tuple[Response, str]:
        """The answer, and `ok` or the error's code."""
        try:
            values: dict[str, object] = {}
            if not (route.lenient or route.raw):
                values = read_query(route.query, request.query) | read_body(route.body, request.body)
            body = request.body if route.raw else b""
            return await route.respond(self._asker, Arguments(path, values, body)), "ok"
        except RingIpamError as error:
            return route.refuse(error), error.code
        except Exception:
            _log.exception("%s %s failed", request.method, route.path)
            broken = RingIpamError("a defect of ringipam; the daemon's log has the details")
            return route.refuse(broken), broken.code

    # ── the routes that are about the daemon itself ───────────────────────────────────────────────

    def _own_routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/healthz", "health", "The process turns.", _alive, v1.refusal, {200: "text/plain"}),
            Route("GET", "/readyz", "health", "It can allocate.", _ready, v1.refusal, {200: "Ready", 503: "Ready"}),
            Route("GET", "/metrics", "metrics", "For Prometheus.", self._scrape, v1.refusal, {200: "text/plain"}),
            Route("GET", "/v1/openapi.json", "openapi", "This.", self._describe, v1.refusal, {200: "application/json"}),
        )

    async def _scrape(self, asker: Asker, arguments: Arguments) -> Response:
        status = await asker.ask(Show.STATUS)
        assert isinstance(status, dict)
        return Response(HTTPStatus.OK, self._metrics.render(status), CONTENT_TYPE)

    async def _describe(self, asker: Asker, arguments: Arguments) -> Response:
        return self._document


async def _alive(asker: Asker, arguments: Arguments) -> Response:
    return weave.text_response(HTTPStatus.OK, "ok\n")


async def _ready(asker: Asker, arguments: Arguments) -> Response:
    """200 if an allocation would be served: the ring is known, the disk takes commits, the node is not fenced off."""
    try:
        with trio.fail_after(READY_S):
            status = await asker.ask(Show.STATUS)
    except trio.TooSlowError:  # an answer waits for the commits before it
        return _not_ready("slow", f"the disk has not answered for {READY_S:.0f} s")
    except RingIpamError as error:
        return _not_ready(error.code, error.message)
    assert isinstance(status, dict)
    # Not `state` alone: a node that refuses a foreign ring serves its own containers all the same.
    if status["serving"] and status["state"] != "fenced":
        return v1.json_response(HTTPStatus.OK, {"state": status["state"], "reason": status["reason"]})
    return _not_ready(status["state"], status["reason"])


def _not_ready(state: object, reason: object) -> Response:
    return v1.json_response(HTTPStatus.SERVICE_UNAVAILABLE, {"state": state, "reason": reason})


def _refuse_path(path: str, status: int, code: str, message: str) -> Response:
    """A refusal in the form that the clients of this path expect."""
    if path.startswith("/v1/"):
        return v1.error_response(status, code, message)
    return weave.text_response(status, f"{message}\n")
