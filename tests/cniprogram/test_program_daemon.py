"""The program in each of its kinds with a real daemon: addresses come and go, and none is lost while it is away."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execing import Done, Program

sys.path.insert(0, str(Path(__file__).parent.parent / "daemon"))

from process import Daemon

CONFIG = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "ipam": {"type": "ringipam", "subnet": "10.32.5.0/24"},
}


@pytest.fixture
def daemon(program: Program) -> Iterator[Daemon]:
    """At the socket and with the directory that are built into the program."""
    options = ("--listen", "127.0.0.1:0", "--cni-dir", str(program.cni_dir))
    daemon = Daemon(program.socket.parent, options=options)
    assert daemon.socket == program.socket
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.kill()


def call(program: Program, command: str, container: str = "c1", **more: object) -> Done:
    env = {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": "/proc/self/ns/net", "CNI_PATH": "/x"}
    return program.call(command, json.dumps({**CONFIG, **more}).encode(), {**env, "CNI_NETNS_OVERRIDE": "1"})


def result(done: Done) -> dict[str, Any]:
    assert done.status == 0, done
    read: dict[str, Any] = json.loads(done.out)
    return read


def test_an_address_comes_and_goes(program: Program, daemon: Daemon) -> None:
    with daemon.start() as client:
        added = result(call(program, "ADD"))
        [lease] = client.leases()
        checked = call(program, "CHECK", prevResult=added)
        deleted = [call(program, "DEL"), call(program, "DEL")]

        assert added["ips"] == [{"address": f"{lease.address}/24", "gateway": "10.32.5.1"}]
        assert (checked.status, checked.out) == (0, b"")
        assert [(one.status, one.out) for one in deleted] == [(0, b"")] * 2
        assert client.leases() == []
    assert program.tombstones() == []


def test_an_error_of_the_daemon_reaches_the_runtime(program: Program, daemon: Daemon) -> None:
    with daemon.start():
        done = call(program, "ADD", ipam={"type": "ringipam", "subnet": "nonsense"})

    assert done.error["cniVersion"] == "1.1.0"
    assert done.error["code"] == 7
    assert "nonsense" in done.error["msg"]


def test_status_and_versions_are_those_of_the_daemon(program: Program, daemon: Daemon) -> None:
    without = result(program.call("VERSION", b'{"cniVersion":"0.4.0"}'))
    assert call(program, "STATUS").error["code"] == 50

    with daemon.start() as client:
        client.prime()
        assert call(program, "STATUS").status == 0
        assert result(program.call("VERSION", b'{"cniVersion":"0.4.0"}')) == without


def test_a_container_that_goes_while_the_daemon_is_away_leaves_nothing(program: Program, daemon: Daemon) -> None:
    with daemon.start():
        result(call(program, "ADD", "c1"))
        kept = result(call(program, "ADD", "c2"))["ips"]
    daemon.kill()

    assert call(program, "DEL", "c1").status == 0
    assert call(program, "ADD", "c3").error["code"] == 11
    assert len(program.tombstones()) == 1

    with daemon.start() as client:
        for _ in range(1_000):
            if not program.tombstones():
                break
            time.sleep(0.02)
        assert program.tombstones() == []
        assert [lease.id for lease in client.leases()] == ["c2"]
        assert result(call(program, "ADD", "c2"))["ips"] == kept
    assert daemon.stop() == 0


def test_a_large_list_of_attachments_passes(program: Program, daemon: Daemon) -> None:
    valid = [{"containerID": f"{number:064}", "ifname": "eth0"} for number in range(1_000)]
    with daemon.start() as client:
        result(call(program, "ADD", "c1"))
        result(call(program, "ADD", f"{7:064}"))

        done = call(program, "GC", **{"cni.dev/valid-attachments": valid})

        assert (done.status, done.out) == (0, b"")
        assert [lease.id for lease in client.leases()] == [f"{7:064}"]
