"""What must hold of the HTTP API for any bytes at its socket: an answer, never a 500, and a refusal changes nothing.

The parser, the routes and a real peer with a ring of its own; only the socket between is left out.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))

import trio
from solo import Solo

from ringipam.address import Address, parse_address
from ringipam.core.durable import Stored
from ringipam.core.events import Answer, Cancelled, DialFailed, Verb
from ringipam.errors import RequestTimeoutError, RingIpamError
from ringipam.server.api import Api
from ringipam.server.http import Request, RequestParser, Response, render
from ringipam.server.rebinding import loopback_only
from ringipam.server.routes import Route

UNIVERSE = "10.32.0.0/24"
CHUNK = 1_000
"""Bytes that arrive together."""


class Served:
    """A peer that answers at once, or says that the time is up."""

    def __init__(self) -> None:
        self.solo = Solo(UNIVERSE)
        self.solo.allocate("c1")
        self.solo.allocate("c2")

    async def history(self, address: str | Address) -> dict[str, object]:
        parse_address(str(address))
        return {"address": str(address), "history": []}

    async def ask(self, verb: Verb) -> Answer:
        solo = self.solo
        number = solo.ask(verb)
        if number not in solo.answers:
            solo.step(Cancelled(number))
            raise RequestTimeoutError("not in time")
        answer = solo.answers[number]
        if isinstance(answer, RingIpamError):
            raise answer
        return answer

    def durable(self) -> list[object]:
        return [copy(getattr(self.solo.stored, field.name)) for field in fields(Stored)]

    def fail_dials(self) -> None:
        """What the runtime says of hosts that are not there becomes a warning, which `status` shows."""
        self.solo.wait(0)
        for address in self.solo.dialled:
            self.solo.step(DialFailed(address, "refused"))


ROUTES = Api(Served(), Solo(UNIVERSE).settings.universe, "0").routes


def check(data: bytes) -> None:
    """Send `data` to a node of one."""
    trio.run(_check, data)


async def _check(data: bytes) -> None:
    served = Served()
    api = Api(served, served.solo.settings.universe, "0")
    handle = loopback_only(api.handle)
    parser = RequestParser()
    for at in range(0, len(data), CHUNK):
        if parser.fault is None:
            parser.feed(data[at : at + CHUNK])
    for request in parser.complete:
        before = served.durable()
        answer = await handle(request)
        _check_answer(request, answer)
        if answer.status >= 400:
            assert served.durable() == before, (request, answer, "changed something")
    served.fail_dials()
    for path in ("/v1/status", "/v1/peers", "/metrics"):
        answer = await api.handle(Request("GET", path, "", {}, b"", True))
        assert answer.status == 200, (path, answer)


def _check_answer(request: Request, answer: Response) -> None:
    assert answer.status != 500, (request, answer)
    assert b"a defect of ringipam" not in answer.body, (request, answer)  # weave's paths say it with a 400
    sent = render(answer, keep_alive=request.keep_alive)
    assert sent.startswith(b"HTTP/1.1 %d " % answer.status)
    if answer.content_type == "application/json" and answer.status != 204:
        json.loads(answer.body)


# ── requests that are nearly right ────────────────────────────────────────────────────────────────

TEXTS = (
    *("c1", "c2", "c3", "_", "", " ", "a b", "a/b", "ü", "\ud800", "\x00", "\n", "x" * 257, "container", "static"),
    *("10.32.0.0", "10.32.0.1", "10.32.0.9", "10.32.0.255", "10.33.0.1", "::1", "fe80::1%eth0", "1" * 5_000),
    *("10.32.0.0/24", "10.32.0.8/29", "10.32.0.1/24", "10.0.0.0/8", "::/0", "24", "30", "33", "-1", "0", "٣", "²"),
    *("true", "false", "1e-9", "3600", "nan", "inf", "1e999", "me", "h:1", "h:99999", "[::1]:1", "a..b:1", "\ud800:1"),
)
NESTED: tuple[Any, ...] = ([], [[]], {}, {"a": "b"}, {"a": 1}, {"\ud800": "x"})
VALUES: tuple[Any, ...] = (*TEXTS, *NESTED, None, True, False, 0, 1, -1, 0.001, 1e308, 10**30)
HEADERS = (
    *("Host: localhost", "Host: 127.0.0.1:80", "Host: evil.example", "Origin: http://evil.example", "Host: [::1"),
    *("Connection: close", "Connection: upgrade\r\nUpgrade: h2c", "Expect: 100-continue", "Content-Type: text/plain"),
    *("Transfer-Encoding: chunked", "Content-Length: 3", "Content-Length: -1", "Content-Length: " + "9" * 30, "X:"),
)


def seeds() -> Iterator[bytes]:
    """A request for every route, with plausible values."""
    for number, route in enumerate(ROUTES):
        rng = random.Random(number)
        for texts, values in ((TEXTS[:1], TEXTS[:1]), (("10.32.0.9", "24"), TEXTS)):
            yield _request(route, rng, texts, values, ())


def mutate(data: bytes, seed: int) -> bytes:
    """Requests added to what was there, or in the place of it."""
    rng = random.Random(seed)
    sent = data if rng.random() < 0.3 else b""
    for _ in range(rng.randint(1, 3)):
        headers = rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 2)))
        sent += _request(rng.choice(ROUTES), rng, TEXTS, VALUES, tuple(headers))
    if rng.random() < 0.2:
        at = rng.randrange(len(sent))
        sent = sent[:at] + rng.randbytes(rng.randrange(4)) + sent[at + rng.randrange(4) :]
    return sent


def _request(
    route: Route, rng: random.Random, texts: tuple[str, ...], values: tuple[Any, ...], headers: tuple[str, ...]
) -> bytes:
    segments = [_segment(rng.choice(texts)) if part.startswith("{") else part for part in route.path.split("/")]
    query = {field.name: rng.choice(texts) for field in route.query if rng.random() < 0.5}
    target = "/".join(segments) + (f"?{urlencode(query, errors='surrogatepass')}" if query else "")
    wanted = {field.name: rng.choice(values) for field in route.body if field.required or rng.random() < 0.4}
    if rng.random() < 0.05:
        wanted[rng.choice(TEXTS)] = rng.choice(values)
    body = json.dumps(wanted).encode() if route.body else b""
    if rng.random() < 0.03:
        body = rng.choice((b"[" * 100_000, b'{"id":' * 400, b'{"id": 1' + b"0" * 5_000 + b"}", b'{"id": NaN}', b"\xff"))
    lines = [f"{route.method} {target} HTTP/1.1", *(headers or ("Host: localhost",)), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _segment(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
