"""Keeps web pages away from the API over TCP, which a browser can reach.

A page can make a browser send requests to 127.0.0.1, directly or by pointing its own name there (DNS
rebinding). Such requests name the page's host in `Host` or in `Origin`; honest clients name this host. Beyond
loopback a browser might have a certificate that admits it, and say where a page comes from in `Origin`.
"""

from __future__ import annotations

from http import HTTPStatus

from ringipam.config import is_loopback, parse_endpoint
from ringipam.errors import RequestError
from ringipam.server.connection import Handler
from ringipam.server.http import TEXT, Request, Response


def loopback_only(handler: Handler) -> Handler:
    """`handler` for requests that name a loopback host, 400 for all others."""

    async def guarded(request: Request) -> Response:
        for name in (b"host", b"origin"):
            value = request.headers.get(name)
            if value is not None and not _names_loopback(value.decode("latin-1")):
                body = f"{name.decode().title()} is not a loopback address of this host\n".encode()
                return Response(HTTPStatus.BAD_REQUEST, body, TEXT)
        return await handler(request)

    return guarded


def no_pages(handler: Handler) -> Handler:
    """`handler` for requests that no web page began, 400 for all others."""

    async def guarded(request: Request) -> Response:
        if b"origin" in request.headers:
            return Response(HTTPStatus.BAD_REQUEST, b"web pages are not served\n", TEXT)
        return await handler(request)

    return guarded


def _names_loopback(value: str) -> bool:
    """Whether `HOST`, `HOST:PORT` or `http://HOST:PORT` is this host."""
    try:
        host, _ = parse_endpoint(value.rpartition("//")[2])
    except RequestError:
        return False
    return is_loopback(host)
