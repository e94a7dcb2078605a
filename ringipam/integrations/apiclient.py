"""Asks a container runtime over its API socket: HTTP/1.1 on a unix socket, one request a connection, all of it bounded.

Knows nothing of what is asked. What comes back may be chunked (RFC 9112, 7.1) and, for `stream`, without an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from httptools import HttpParserError, HttpResponseParser

TIMEOUT_S = 30.0
"""For an answer that has an end."""
BODY_SIZE_MAX = 64 << 20
"""A list of 10,000 containers with many labels each takes some 30 MB."""
LINE_SIZE_MAX = 1 << 20
HEAD_SIZE_MAX = 64 << 10
SAID_SIZE_MAX = 4 << 10
"""Of what comes with a refusal, more is not read."""
RECEIVE_SIZE = 64 << 10


class ApiError(Exception):
    """The runtime cannot be reached, or answered what is no answer; the text says which in one line."""


class RefusedError(ApiError):
    """The runtime answered that it will not; `status` is HTTP's."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"it answered {status}: {said or 'nothing'}")
        self.status = status


class ApiClient:
    """The API behind the unix socket at `path`. Each request has its own connection."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    async def get(self, target: str) -> bytes:
        """The body behind `target`, whole. Raises RefusedError for any status but 200, else ApiError."""
        try:
            with trio.fail_after(self._timeout_s):
                async with self._ask(target) as answer:
                    return await answer.rest(BODY_SIZE_MAX)
        except trio.TooSlowError:
            raise ApiError(f"no answer within {self._timeout_s:g} s") from None

    @asynccontextmanager
    async def stream(self, target: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines behind `target`, one after the other as they come, without their ends and without empty ones.

        Entered when the request is sent: Podman does not answer before it has a line. The iterator raises as `get`
        does, also for a line that is too long, and ends where the answer ends; it waits without a limit.
        """
        async with self._ask(target) as answer:
            yield _Lines(answer)

    @asynccontextmanager
    async def _ask(self, target: str) -> AsyncIterator[_Answer]:
        # Docker insists on a Host header (RFC 9112, 3.2), whatever it says.
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii")
        try:
            stream = await trio.open_unix_socket(str(self.path))
        except (OSError, ValueError) as error:  # ValueError: a path that no socket can have
            raise ApiError(f"cannot connect: {getattr(error, 'strerror', None) or error}") from None
        async with stream:
            try:
                await stream.send_all(request)
            except trio.BrokenResourceError:
                raise ApiError("it closed the connection") from None
            yield _Answer(stream)


class _Answer:
    """One answer as it arrives; the methods with `on_` are called by the parser."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.status = 0
        self._stream = stream
        self._parser = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._ended = False
        self._head_size = 0

    async def rest(self, size_max: int) -> bytes:
        body = bytearray()
        while part := await self.part():
            body += part
            if len(body) > size_max:
                raise ApiError(f"its answer has more than {size_max} bytes")
        return bytes(body)

    async def part(self) -> bytes:
        """The next bytes of the body; none at its end."""
        if not self.status:
            await self._head()
        return await self._part()

    async def _head(self) -> None:
        while not self.status:
            await self._receive()
            if not self.status and self._head_size > HEAD_SIZE_MAX:
                raise ApiError("its answer has no end of headers")
        if self.status != 200:
            said = b""
            while len(said) < SAID_SIZE_MAX and (part := await self._part()):
                said += part
            raise RefusedError(self.status, _brief(said))

    async def _part(self) -> bytes:
        while not self._parts and not self._ended:
            await self._receive()
        part, self._parts = b"".join(self._parts), []
        return part

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(RECEIVE_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise ApiError("it closed the connection")
        if not self.status:
            self._head_size += len(data)
        try:
            self._parser.feed_data(bytes(data))
        except HttpParserError as error:
            raise ApiError(f"what answers there does not speak HTTP: {error}") from None

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # what comes before is a hint, not the answer (RFC 9110, 15.2)
            self.status = status

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self._ended = self.status != 0


class _Lines:
    """The lines of an answer: an iterator, as an async generator left half-way would need closing of its own."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._begun = b""
        self._complete: deque[bytes] = deque()

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        while not self._complete:
            part = await self._answer.part()
            *lines, self._begun = (self._begun + (part or b"\n")).split(b"\n")
            if max(map(len, [*lines, self._begun])) > LINE_SIZE_MAX:
                raise ApiError(f"a line of its answer has more than {LINE_SIZE_MAX} bytes")
            self._complete.extend(filter(None, map(bytes.strip, lines)))
            if not part and not self._complete:
                raise StopAsyncIteration
        return self._complete.popleft()


def _brief(body: bytes) -> str:
    text = " ".join(body[:200].decode(errors="replace").split())
    return text if text.isprintable() else ascii(text)[1:-1]
