"""The API of one node, open on its unix socket and, where wanted, over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio

from ringipam.address import Cidr
from ringipam.config import is_loopback, parse_endpoint
from ringipam.server.access import Access, with_token
from ringipam.server.api import Api
from ringipam.server.connection import Door, Server
from ringipam.server.listener import tcp_listener, unix_listener
from ringipam.server.rebinding import loopback_only, no_pages
from ringipam.server.routes import Asker, Route

OPEN = Access(None, ())
"""Anybody who can connect."""
DRAIN_S = 1.0
"""How long requests under way may take to end when the daemon does."""


@asynccontextmanager
async def open_surface(
    asker: Asker,
    socket: Path,
    http: str | None,
    default_subnet: Cidr,
    version: str,
    *,
    permissions: tuple[int, int | None] = (0o600, None),
    access: Callable[[], Access] = lambda: OPEN,
    more: Sequence[Route] = (),
) -> AsyncIterator[None]:
    """Serves inside the `async with` block, `more` routes too; raises RingIpamError if a door cannot be opened.

    `permissions` are the socket's mode and group; `access` says, for each connection, who may come in by `http`. At
    the end of the block requests under way get a moment to end; those that go on waiting are withdrawn.
    """
    handle = Api(asker, default_subnet, version, more).handle
    with ExitStack() as stack:
        doors = [Door(stack.enter_context(unix_listener(socket, *permissions)), handle)]
        if http is not None:
            keep_off = loopback_only if is_loopback(parse_endpoint(http, None)[0]) else no_pages
            guarded = keep_off(with_token(handle, access))
            doors.append(Door(stack.enter_context(tcp_listener(http)), guarded, lambda: access().context))
        server = Server()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, doors)
            yield
            await server.drain(DRAIN_S)
            nursery.cancel_scope.cancel()
