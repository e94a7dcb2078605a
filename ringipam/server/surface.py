"""The API of one node, open on its unix socket and, where wanted, on loopback TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from socket import socket as Socket  # noqa: N812  # `socket` is the path of it here, as everywhere in the API

import trio

from ringipam.address import Cidr
from ringipam.server.api import Api
from ringipam.server.connection import Handler, Server
from ringipam.server.listener import tcp_listener, unix_listener
from ringipam.server.rebinding import loopback_only
from ringipam.server.routes import Asker

DRAIN_S = 1.0
"""How long requests under way may take to end when the daemon does."""


@asynccontextmanager
async def open_surface(
    asker: Asker, socket: Path, http: str | None, default_subnet: Cidr, version: str
) -> AsyncIterator[None]:
    """Serves inside the `async with` block; raises RingIpamError if a door cannot be opened.

    At the end of the block requests under way get a moment to end; those that go on waiting are withdrawn.
    """
    handle = Api(asker, default_subnet, version).handle
    with ExitStack() as stack:
        doors: list[tuple[Socket, Handler]] = [(stack.enter_context(unix_listener(socket)), handle)]
        if http is not None:
            doors.append((stack.enter_context(tcp_listener(http)), loopback_only(handle)))
        server = Server()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, doors)
            yield
            await server.drain(DRAIN_S)
            nursery.cancel_scope.cancel()
