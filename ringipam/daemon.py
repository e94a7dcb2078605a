"""What `ringipam launch` runs: a node, its API, and the manners of a daemon."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ringipam.config import Config
from ringipam.core.events import Show
from ringipam.errors import RingIpamError
from ringipam.runtime.node import Node, open_node
from ringipam.runtime.rotation import LOOK_S, Rotated
from ringipam.server import access
from ringipam.server.surface import open_surface
from ringipam.version import release


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises RingIpamError if that cannot begin, or goes on no longer."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    failure: RingIpamError | None = None
    try:
        trio.run(_serve, config)
    except* RingIpamError as group:
        failure = _first(group)
    if failure is not None:  # raised out here, as `except*` would wrap it in a group again
        raise failure


async def _serve(config: Config) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_node(config) as node, _open_doors(config, node):
            print("\n".join(await _greeting(config, node)), flush=True)
            notify("READY=1")
            async for number in signals:
                logging.getLogger("ringipam").info("stopping: %s", signal.Signals(number).name)
                break
            notify("STOPPING=1")
            await node.close()  # while the API is open, so that whoever waits is told


@asynccontextmanager
async def _open_doors(config: Config, node: Node) -> AsyncIterator[None]:
    """The API of `node`, and who may use it: read anew when its files change."""
    rotated = Rotated("the credentials of --http", access.files(config), lambda _: access.read_access(config))
    node.notices.append(lambda: [*access.notice(config), *filter(None, [rotated.problem])])
    surface = open_surface(
        node,
        config.socket,
        config.http,
        config.default_subnet,
        release(),
        permissions=config.socket_permissions,
        access=lambda: rotated.current,
    )
    async with trio.open_nursery() as nursery, surface:
        if access.files(config):
            nursery.start_soon(_keep_looking, rotated)
        yield
        nursery.cancel_scope.cancel()


async def _keep_looking(rotated: Rotated[access.Access]) -> None:
    while True:
        await trio.sleep(LOOK_S)
        await rotated.look(trio.to_thread.run_sync)


async def _greeting(config: Config, node: Node) -> list[str]:
    """Who and where this node is and, on a ring of one, how others join it."""
    status = await node.ask(Show.STATUS)
    assert isinstance(status, dict)
    peer = status["peer"]
    assert isinstance(peer, dict)
    lines = [
        f"{peer['name']}.{peer['uid']}: range {config.universe}, socket {config.socket}, listening on {node.listening}"
    ]
    if not config.peers and config.init is None:
        lines.append(_invitation(config, node))
    return lines


def _invitation(config: Config, node: Node) -> str:
    join = f"ringipam launch --iprange {config.universe}"
    port = node.listening.rpartition(":")[2]
    if config.password_file is not None:
        return f"others join with: {join} --password-file FILE {config.name}:{port}"
    if config.ca is not None:
        return f"others join with: {join} --ca FILE --cert FILE --key FILE {config.name}:{port}"
    if config.insecure:
        return f"others join, unprotected, with: {join} --insecure {config.name}:{port}"
    return (
        "without credentials this is a ring of one host; for others to join, start it with --password-file FILE,"
        f" and each of them with: {join} --password-file FILE {config.name}:{port}"
    )


def notify(state: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.sendto(state.encode(), address)
    except OSError as error:
        logging.getLogger("ringipam").warning("cannot notify the service manager at %s: %s", path, error.strerror)


def _first(group: BaseExceptionGroup[RingIpamError]) -> RingIpamError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, RingIpamError)
    return found
