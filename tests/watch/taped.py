"""A unix socket that answers each request with bytes as they are given, piece by piece, however wrong they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

Pieces = Sequence[bytes | None]
"""None: keep the connection open and say nothing more."""


@asynccontextmanager
async def answering(path: Path, *answers: Pieces) -> AsyncIterator[list[bytes]]:
    """Serves the first connection with the first answer, and so on; yields the requests that came."""
    requests: list[bytes] = []
    left = list(answers)

    async def serve(stream: trio.SocketStream) -> None:
        pieces = left.pop(0)
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            requests.append(request)
            for piece in pieces:
                if piece is None:
                    await stream.receive_some()  # until the client goes
                else:
                    await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()  # let it arrive alone

    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    async with trio.SocketListener(sock) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield requests
        nursery.cancel_scope.cancel()


def chunked(*parts: bytes) -> list[bytes]:
    """The pieces of a chunked answer without its end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)]


END = b"0\r\n\r\n"
