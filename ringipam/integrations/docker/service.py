"""The plugin of one daemon: its socket, where Docker finds it, and the looks at Docker."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio

from ringipam.address import Cidr
from ringipam.config import SYSTEM_SOCKET, Config
from ringipam.errors import StoreError
from ringipam.integrations.docker.driver import Driver
from ringipam.integrations.docker.engine import Engine
from ringipam.integrations.docker.keeper import Keeper
from ringipam.integrations.docker.plugin import Plugin
from ringipam.server.connection import Door, Server
from ringipam.server.listener import unix_listener
from ringipam.server.routes import Asker

SOCKET = Path("/run/docker/plugins/ringipam.sock")
"""Docker looks there for a driver of that name."""
NONE = Path("none")
DRAIN_S = 1.0
Notices = Callable[[], list[str]]
ENGINE_FILE = "docker-engine"
"""In the data directory: which engine's containers have addresses from here."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_docker(asker: Asker, config: Config, ranges: Sequence[Cidr]) -> AsyncIterator[Notices]:
    """Serves Docker inside the `async with` block, where the configuration wants it or this is the daemon of the host.

    What it gives tells what an operator should know just now.

    Raises StoreError if the socket that was asked for cannot be opened.
    """
    with ExitStack() as stack:
        path = config.docker_plugin or _usual(config)
        try:
            listeners = [] if path == NONE else [stack.enter_context(unix_listener(path, option="--docker-plugin"))]
        except StoreError as error:
            if config.docker_plugin is not None:
                raise
            _log.info("Docker is not served: %s", error.message)
            listeners = []
        if not listeners:
            yield list
            return
        keeper = Keeper(asker, Engine(config.docker_api), path.stem, config.data_dir / ENGINE_FILE)
        driver = Driver(asker, ranges, keeper.wake)
        server = Server()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, [Door(listener, Plugin(driver).handle) for listener in listeners])
            if config.docker_api != NONE:
                nursery.start_soon(keeper.run, driver)
            yield lambda: [keeper.stranger] if keeper.stranger else []
            await server.drain(DRAIN_S)
            nursery.cancel_scope.cancel()


def _usual(config: Config) -> Path:
    """Where Docker looks, if this is the daemon of the host; else nowhere.

    A second daemon, for a trial, say, must not find itself serving Docker while the daemon of the host is down: what it
    issues then is of another ring.
    """
    return SOCKET if os.geteuid() == 0 and config.socket == SYSTEM_SOCKET else NONE
