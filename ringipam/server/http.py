"""HTTP/1.1 as values: bytes to requests, responses to bytes. No I/O, no path, no verb is known here."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

HEAD_SIZE_MAX = 16 * 1024
"""Bytes of request line and headers."""
BODY_SIZE_MAX = 128 * 1024
"""The largest lease that can be asked for is half of it; clients without a token may fill it too."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, received whole."""

    method: str
    path: str
    """Not percent-decoded: a segment may hold an encoded slash."""
    query: str
    headers: Mapping[bytes, bytes]
    """By lower-case name; of several lines of one name the last."""
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = JSON
    allow: str = ""
    """With 405: the methods that the path has."""


class MalformedError(Exception):
    """These bytes are not a request that will be served; the text says why."""


class RequestParser:
    """Bytes in, requests out, bounded in every direction.

    After `feed`, `complete` holds the requests that arrived whole, to be served in order. If `fault` is set,
    they were followed by something malformed: nothing more can be read from this connection.
    """

    def __init__(self) -> None:
        self.complete: deque[Request] = deque()
        self.fault: str | None = None
        self._parser = HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._in_body = False
        self._fed = 0

    def feed(self, data: bytes) -> None:
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
            # the parser itself hoards an unfinished header, or a trailer, without telling us of it
            if self._fed > HEAD_SIZE_MAX + (BODY_SIZE_MAX if self._in_body else 0):
                raise MalformedError("request too large")
        except HttpParserUpgrade:
            # The request is complete; what it wants to upgrade to is not spoken here, so what follows is lost.
            self.fault = "nothing to upgrade to"
        except (HttpParserError, MalformedError) as error:
            self.fault = str(error.__context__ or error) or "malformed"

    @property
    def awaits_continue(self) -> bool:
        """The client holds its body back until it is told to go on (RFC 9110, 10.1.1)."""
        return self._in_body and not self._body and b"100-continue" in self._headers.get(b"expect", b"").lower()

    # ── called by the parser ──────────────────────────────────────────────────────────────────────

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._grow_head(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value) + 4)
        if self._in_body:
            return  # a trailer, which nobody asked for
        name = name.lower()
        if name == b"host" and name in self._headers:
            raise MalformedError("more than one Host header")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        length = self._headers.get(b"content-length", b"0")
        if len(length) > 12 or int(length) > BODY_SIZE_MAX:
            raise MalformedError(f"body larger than {BODY_SIZE_MAX} bytes")
        self._in_body = True

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._body_size += len(part)
        if self._body_size > BODY_SIZE_MAX:
            raise MalformedError(f"body larger than {BODY_SIZE_MAX} bytes")

    def on_message_complete(self) -> None:
        try:
            path, _, query = self._target.decode().partition("?")
        except UnicodeDecodeError:
            raise MalformedError("the target is not UTF-8") from None
        parser = self._parser
        keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        method = parser.get_method().decode("ascii")
        self.complete.append(Request(method, path, query, self._headers, b"".join(self._body), keep_alive))
        self._begin()

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_SIZE_MAX:
            raise MalformedError(f"request line and headers larger than {HEAD_SIZE_MAX} bytes")


@lru_cache(maxsize=128)
def _head(status: int, content_type: str, allow: str, keep_alive: bool) -> bytes:
    """Everything in front of the content's length."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if allow:
        lines.append(f"Allow: {allow}")
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")
    if not keep_alive:
        lines.append("Connection: close")
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Type: {content_type}")
        lines.append("Content-Length: ")
    return "\r\n".join(lines).encode("ascii")


def render(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """The bytes of `response`; without its body it answers HEAD."""
    head = _head(response.status, response.content_type, response.allow, keep_alive)
    if response.status == HTTPStatus.NO_CONTENT:
        return head + b"\r\n\r\n"
    return b"%b%d\r\n\r\n%b" % (head, len(response.body), response.body if with_body else b"")
