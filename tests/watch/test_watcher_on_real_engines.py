"""A daemon beside a real Docker and a real Podman: addresses end with their containers, whatever happens in between."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched_engines import Docker, Podman, RealEngine, until

from ringipam import Client

sys.path.insert(0, str(Path(__file__).parent.parent / "daemon"))

from process import Daemon

STRANGER = "5" * 64
"""The id of a container that this engine does not know."""

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(params=[Docker, Podman])
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    kind: type[RealEngine] = request.param
    if os.geteuid() != 0 or not all(map(shutil.which, (*kind.needs, "busybox"))):
        pytest.skip(f"needs root and {', '.join(kind.needs)} and busybox")
    with tempfile.TemporaryDirectory(prefix="rw-", ignore_cleanup_errors=True) as directory:  # short, for sockets
        engine = kind(Path(directory))
        try:
            engine.start()
            engine.load()
            yield engine
        finally:
            engine.end()


@pytest.fixture
def daemon(engine: RealEngine, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "h1", options=("--listen", "127.0.0.1:0", "--watch", str(engine.socket)))
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.kill()


def holders(client: Client) -> set[str]:
    return {lease.id for lease in client.leases()}


def running(engine: RealEngine, client: Client, *options: str) -> str:
    container = engine.create(options=options)
    client.allocate(container)
    engine("start", container)
    return container


def test_addresses_end_with_their_containers(engine: RealEngine, daemon: Daemon) -> None:
    with daemon.start() as client:
        until(lambda: "watching the containers" in daemon.log, "the engine is watched")
        client.allocate(STRANGER)
        created = engine.create()
        client.allocate(created)
        stopped, restarted, removed = (running(engine, client) for _ in range(3))

        engine("stop", "-t", "0", stopped)
        engine("restart", "-t", "0", restarted)
        engine("rm", "-f", removed)
        until(lambda: removed not in holders(client), "what was removed has no address")
        at_once = holders(client)
        until(lambda: stopped not in holders(client), "what was stopped for the grace has none either")
        later = holders(client)

    assert at_once == {STRANGER, created, stopped, restarted}
    assert later == {STRANGER, created, restarted}
    assert "Traceback" not in daemon.log


def test_what_happens_while_the_daemon_is_down_is_not_missed(engine: RealEngine, daemon: Daemon) -> None:
    with daemon.start() as client:
        until(lambda: "watching the containers" in daemon.log, "the engine is watched")
        client.allocate(STRANGER)
        stays, goes = running(engine, client), running(engine, client)
        until(lambda: goes in (daemon.data / "watched.json").read_text(), "both were seen")
        daemon.kill()

    engine("rm", "-f", goes)

    with daemon.start() as client:
        until(lambda: goes not in holders(client), "what went meanwhile has no address")
        assert holders(client) == {STRANGER, stays}


def test_what_happens_while_the_engine_is_down_is_not_missed(engine: RealEngine, daemon: Daemon) -> None:
    with daemon.start() as client:
        until(lambda: "watching the containers" in daemon.log, "the engine is watched")
        client.allocate(STRANGER)
        options = () if isinstance(engine, Podman) else ("--restart", "always")
        stays, goes = running(engine, client, *options), running(engine, client)
        until(lambda: goes in (daemon.data / "watched.json").read_text(), "both were seen")

        engine.kill()
        until(lambda: "are not watched" in daemon.log, "the daemon has noticed")
        assert holders(client) == {STRANGER, stays, goes}
        if isinstance(engine, Podman):
            engine("rm", "-f", goes)  # its commands need no service
        engine.start()

        until(lambda: goes not in holders(client), "what went meanwhile has no address")
        assert holders(client) == {STRANGER, stays}


# Podman starts again at once: there is no pause to be mistaken for an end.
@pytest.mark.parametrize("engine", [Docker], indirect=True)
def test_a_restart_policy_keeps_the_address_however_often_it_starts_the_container(
    engine: RealEngine, daemon: Daemon
) -> None:
    with daemon.start() as client:
        until(lambda: "watching the containers" in daemon.log, "the engine is watched")
        failing = engine.create("false", options=("--restart", "always"))
        client.allocate(failing)
        witness = running(engine, client)

        engine("start", failing)
        # Its tenth pause, of 51 s, is longer than the grace.
        until(lambda: int(engine("inspect", "-f", "{{.RestartCount}}", failing)) >= 8, "it has failed often")
        engine("stop", "-t", "0", witness)
        until(lambda: witness not in holders(client), "a whole grace has passed")

        assert holders(client) == {failing}
