"""The plugin in the daemon: its route, and what goes on beside it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ringipam.config import Config
from ringipam.integrations.cni import reaper
from ringipam.integrations.cni.netns import Machine
from ringipam.integrations.cni.plugin import Plugin, refuse
from ringipam.integrations.cni.reaper import Reaper
from ringipam.integrations.cni.turns import Turns
from ringipam.server.routes import Asker, Route

PATH = "/v1/cni"
MACHINE = Machine()

_log = logging.getLogger(__name__)


def route(plugin: Plugin) -> Route:
    """Where the program that runtimes execute passes on what it is given."""
    about = "A call of the CNI plugin: the CNI_* variables, each with a zero byte, one more, and standard input."
    return Route("POST", PATH, "cni", about, plugin.respond, refuse, {200: "application/json"}, raw=True)


@asynccontextmanager
async def open_cni(
    config: Config, asker: Asker, machine: Machine = MACHINE, look_s: float = reaper.LOOK_S
) -> AsyncIterator[tuple[Route, ...]]:
    """The routes of the plugin; within the block tombstones are carried out, and containers that are gone released."""
    boot = machine.boot()
    turns = Turns()
    directory = config.cni_directory
    plugin = Plugin(asker, turns, directory, machine, boot)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("cannot make %s for releases while the daemon is down: %s", directory, error.strerror)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plugin.tombstones.run)
        nursery.start_soon(Reaper(asker, turns, machine, boot, config.reap_after_s, look_s).run)
        yield (route(plugin),)
        nursery.cancel_scope.cancel()
