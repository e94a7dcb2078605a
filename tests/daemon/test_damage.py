"""Every way to start wrong: a clear line, nothing lost, nothing overwritten (S14; design "Durable state")."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from process import Daemon


def digest_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("ringipam.db*"))}


def with_a_lease(daemon: Daemon) -> None:
    client = daemon.start()
    client.allocate("c1")
    client.close()
    assert daemon.stop() == 0


def test_a_changed_iprange_on_old_data_refuses_to_start_and_says_how_to_begin_anew(daemon: Daemon) -> None:
    with_a_lease(daemon)
    before = digest_of(daemon.data)

    daemon.iprange = "10.96.0.0/12"
    said = daemon.refuses_to_start()

    assert "10.32.0.0/12" in said
    assert "10.96.0.0/12" in said
    assert "begin anew" in said
    assert digest_of(daemon.data) == before


def test_a_directory_in_use_is_refused_and_its_user_named(daemon: Daemon) -> None:
    client = daemon.start()
    second = Daemon(daemon.directory, options=daemon.options)

    said = subprocess.run(
        [*second.command()[:-2], "--listen", "127.0.0.1:0", "--socket", str(daemon.directory / "other")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert daemon.process is not None
    assert said.returncode == 1
    assert f"in use by process {daemon.process.pid}" in said.stderr
    assert client.allocate("c1").interface == "10.32.0.1/12"
    client.close()


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "not a database"])
def test_a_damaged_database_is_refused_and_left_as_it_is(daemon: Daemon, damage: str) -> None:
    with_a_lease(daemon)
    path = daemon.data / "ringipam.db"
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "overwritten":
            path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
        case _:
            path.write_bytes(b"this is no database, is it?\n" * 400)
    before = digest_of(daemon.data)

    said = daemon.refuses_to_start()

    assert str(path) in said
    assert digest_of(daemon.data)["ringipam.db"] == before["ringipam.db"]


def test_a_port_in_use_is_named(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon.options = ("--listen", endpoint)

        assert endpoint in daemon.refuses_to_start()
