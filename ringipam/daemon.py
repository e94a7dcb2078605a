"""What `ringipam launch` runs: a node, its API, and the manners of a daemon."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from ringipam.config import IPV6_DIR, Config
from ringipam.core.durable import Stored
from ringipam.core.events import Show
from ringipam.errors import RingIpamError
from ringipam.integrations.cni.service import open_cni
from ringipam.integrations.docker.service import open_docker
from ringipam.integrations.watch.watcher import open_watcher
from ringipam.journal import WINDOW_S, Journal, open_journal
from ringipam.runtime.dualstack import DualStack, open_dual_stack
from ringipam.runtime.node import Node, open_node
from ringipam.runtime.outside import Outside
from ringipam.runtime.rotation import LOOK_S, Rotated
from ringipam.sdnotify import is_wanted, notify, watchdog_s
from ringipam.server import access
from ringipam.server.routes import Asker
from ringipam.server.surface import open_surface
from ringipam.store.directory import DATABASE
from ringipam.store.store import Store
from ringipam.version import release

STATUS_S = 10.0
"""How often the service manager is told what the daemon does, unless a watchdog asks more often."""

Served = Node | DualStack

logger = logging.getLogger("ringipam")


class ThawingStore(Store):
    """Whoever loads again has given up what was made of the load before, frozen or not: let the collector find it."""

    def load(self) -> Stored:
        gc.unfreeze()
        return super().load()


OUTSIDE = Outside(store_type=ThawingStore)


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    If that cannot begin, or goes on no longer, it raises RingIpamError where people read the log, and else logs why.
    """
    journal = open_journal(config.log_format)
    failure: RingIpamError | None = None
    try:
        trio.run(_serve, config, journal)
    except* RingIpamError as group:
        failure = _first(group)
    journal.tell_left_out(all_of_them=True)
    if failure is None:
        return 0
    if not journal.for_machines:
        raise failure  # out here, as `except*` would wrap it in a group again
    logger.critical("%s", " ".join(failure.message.split()))
    return 1


async def _serve(config: Config, journal: Journal) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            _opened(config) as node,
            open_watcher(node, config.watched, config.data_dir) as watcher,
            _open_doors(config, node, watcher),
            open_docker(node, config, config.universes) as docker_notices,
            trio.open_nursery() as nursery,
        ):
            _collect_garbage_from_here_on()
            node.notices += [watcher.notices, docker_notices]
            await _greet(config, node, journal)
            notify("READY=1", await _state(node))
            nursery.start_soon(_tell_left_out, journal)
            if is_wanted():
                nursery.start_soon(_report, node)
            async for number in signals:
                logger.info("stopping: %s", signal.Signals(number).name)
                break
            notify("STOPPING=1", "STATUS=answering whoever waits")
            nursery.cancel_scope.cancel()
            await node.close()  # while the API is open, so that whoever waits is told


def _collect_garbage_from_here_on() -> None:
    """Leave what is there out of it: to look through a hundred thousand leases keeps everybody waiting for 60 ms."""
    gc.freeze()
    gc.enable()


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Served]:
    """The node of the one range, or those of both."""
    if config.iprange6 is not None:
        async with open_dual_stack(config, OUTSIDE) as both:
            yield both
        return
    async with open_node(config, OUTSIDE) as node:
        if (config.data_dir / IPV6_DIR / DATABASE).exists():
            left = f"the IPv6 range in {config.data_dir / IPV6_DIR} is not served: start with --iprange6 for it"
            logger.warning("%s", left)
            node.notices.append(lambda: [left])
        yield node


@asynccontextmanager
async def _open_doors(config: Config, node: Served, asker: Asker) -> AsyncIterator[None]:
    """The API of `node`, asked through `asker`, and who may use it: read anew when its files change."""
    rotated = Rotated("the credentials of --http", access.files(config), lambda _: access.read_access(config))
    node.notices.append(lambda: [*access.notice(config), *filter(None, [rotated.problem])])
    async with (
        trio.open_nursery() as nursery,
        open_cni(config, node) as cni,
        open_surface(
            asker,
            config.socket,
            config.http,
            config.default_subnet,
            release(),
            permissions=config.socket_permissions,
            access=lambda: rotated.current,
            more=cni,
        ),
    ):
        if access.files(config):
            nursery.start_soon(_keep_looking, rotated)
        yield
        nursery.cancel_scope.cancel()


async def _keep_looking(rotated: Rotated[access.Access]) -> None:
    while True:
        await trio.sleep(LOOK_S)
        await rotated.look(trio.to_thread.run_sync)


async def _report(node: Served) -> None:
    """Tell the service manager how the node is, as long as it can say so: what does not answer is not alive.

    A node that refuses requests because of its disk answers all the same: a restart would not mend the disk.
    """
    interval_s = watchdog_s()
    alive = ("WATCHDOG=1",) if interval_s is not None else ()
    while True:
        await trio.sleep(STATUS_S if interval_s is None else interval_s / 2)
        with suppress(RingIpamError):
            notify(await _state(node), *alive)


async def _state(node: Served) -> str:
    """One line that says what the node is doing; it comes from the core, not from memory."""
    status = await node.ask(Show.STATUS)
    assert isinstance(status, dict)
    peers = status["peers"]
    assert isinstance(peers, dict)
    text = (
        f"{status['state']}: {status['leases']} leases, {status['free']} addresses free, {peers['alive']} peers alive"
    )
    return "STATUS=" + " ".join(f"{text}; {status['reason']}".split() if status["reason"] else [text])


async def _tell_left_out(journal: Journal) -> None:
    while True:
        await trio.sleep(WINDOW_S)
        journal.tell_left_out()


async def _greet(config: Config, node: Served, journal: Journal) -> None:
    """Say who is there: to people on standard output, to machines in the log."""
    for line in await _greeting(config, node):
        if journal.for_machines:
            logger.info("%s", line)
        else:
            print(line, flush=True)


async def _greeting(config: Config, node: Served) -> list[str]:
    """Who and where this node is and, on a ring of one, how others join it."""
    status = await node.ask(Show.STATUS)
    assert isinstance(status, dict)
    peer = status["peer"]
    assert isinstance(peer, dict)
    lines = [
        f"{peer['name']}.{peer['uid']}: range {config.universe}, socket {config.socket}, listening on {node.listening}"
    ]
    if isinstance(node, DualStack):
        second = node.node(6)
        of_second = await second.ask(Show.STATUS)
        assert isinstance(of_second, dict)
        other = of_second["peer"]
        assert isinstance(other, dict)
        lines.append(f"{other['name']}.{other['uid']}: range {second.config.universe}, listening on {second.listening}")
    if not config.peers and config.init is None:
        lines.append(_invitation(config, node))
    return lines


def _invitation(config: Config, node: Served) -> str:
    second = "" if config.iprange6 is None else f" --iprange6 {config.iprange6}"
    join = f"ringipam launch --iprange {config.universe}{second}"
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


def _first(group: BaseExceptionGroup[RingIpamError]) -> RingIpamError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, RingIpamError)
    return found
