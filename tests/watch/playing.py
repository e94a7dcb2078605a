"""A container engine's API on a real socket: says what a test wants it to, in the form that Docker and Podman use."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class Player:
    """`states` is what there is; `happen` changes it and says so, `say` puts any bytes into the streams of events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = "/var/lib/docker"
        self.states: dict[str, str] = {}
        self.heads_at_once = True
        """Podman answers a request for events with its first event, not before."""
        self.instead: dict[str, tuple[int, bytes]] = {}
        """Status and body for a path, in place of the true ones."""
        self.asked: list[str] = []
        self.holding: trio.Event | None = None
        """While set, questions about one container wait for it."""
        self._streams: set[trio.SocketStream] = set()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(self.path))
        sock.listen(100)
        async with trio.SocketListener(sock) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, [listener])
            yield
            nursery.cancel_scope.cancel()
        self.path.unlink()

    async def happen(self, container: str, action: str, state: str | None = None) -> None:
        """`container` is in `state` from now on (None: gone), and an event says why."""
        if state is None:
            self.states.pop(container, None)
        else:
            self.states[container] = state
        await self.say(event(container, action))

    async def say(self, data: bytes) -> None:
        for stream in list(self._streams):
            if not self.heads_at_once:
                await stream.send_all(HEAD)
            await stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))
        self.heads_at_once = True

    async def hang_up(self) -> None:
        for stream in list(self._streams):
            await stream.aclose()

    @property
    def listeners(self) -> int:
        return len(self._streams)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            target = request.split()[1].decode()
            self.asked.append(target)
            path = target.partition("?")[0]
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if path == "/events" and path not in self.instead:
                    await self._follow(stream)
                else:
                    status, body = await self._answer(path)
                    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n\r\n"
                    await stream.send_all(head.encode() + body)

    async def _follow(self, stream: trio.SocketStream) -> None:
        self._streams.add(stream)
        try:
            if self.heads_at_once:
                await stream.send_all(HEAD)
            await stream.receive_some()
        finally:
            self._streams.discard(stream)

    async def _answer(self, path: str) -> tuple[int, bytes]:
        if path in self.instead:
            return self.instead[path]
        if path == "/info":
            return 200, json.dumps({"ID": "A:B", "DockerRootDir": self.root}).encode()
        if path == "/containers/json":
            listed = [{"Id": container, "Names": ["/n"], "State": state} for container, state in self.states.items()]
            return 200, json.dumps(listed).encode()
        if self.holding is not None:
            await self.holding.wait()
        container = path.split("/")[2]
        if container not in self.states:
            return 404, b'{"message":"No such container"}'
        return 200, json.dumps({"Id": container, "State": {"Status": self.states[container]}}).encode()


def event(container: str, action: str) -> bytes:
    actor = {"ID": container, "Attributes": {"image": "bb", "name": "n"}}
    said = {
        "status": action,
        "id": container,
        "Type": "container",
        "Action": action,
        "Actor": actor,
        "time": 1795291149,
    }
    return json.dumps(said).encode() + b"\n"
