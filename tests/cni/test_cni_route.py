"""The route that the program posts to: described like all others, counted, and served by a launched daemon."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from calling import SUBNET, UNIVERSE, Host, body, conf

from ringipam import Client, Config, DaemonUnreachableError, RequestError
from ringipam.address import parse_subnet
from ringipam.cli import main
from ringipam.integrations.cni import plugin as plugin_module
from ringipam.integrations.cni.service import route
from ringipam.server.surface import open_surface


async def get(cni: Host, target: str) -> str:
    async with await trio.open_unix_socket(cni.socket) as stream:
        await stream.send_all(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        return b"".join([part async for part in stream]).decode()


async def test_the_route_is_in_the_openapi_document(cni: Host) -> None:
    document = json.loads((await get(cni, "/v1/openapi.json")).partition("\r\n\r\n")[2])

    route = document["paths"]["/v1/cni"]["post"]
    assert route["requestBody"]["content"].keys() == {"application/octet-stream"}
    assert "application/json" in route["responses"]["200"]["content"]
    assert "$ref" not in json.dumps(route["responses"]["default"])


async def test_calls_are_counted_by_their_outcome(cni: Host) -> None:
    await cni("ADD")
    await cni("ADD", interface="..")

    metrics = await get(cni, "/metrics")

    assert 'ringipam_requests_total{code="ok",verb="cni"} 1.0' in metrics
    assert 'ringipam_requests_total{code="bad_request",verb="cni"} 1.0' in metrics


async def test_nobody_who_comes_over_tcp_calls_the_plugin(cni: Host) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sent = body({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}, conf())
    more = [route(cni.plugin)]
    surface = open_surface(
        cni.node, cni.socket.with_name("t"), f"127.0.0.1:{port}", parse_subnet(UNIVERSE), "0", more=more
    )

    async with surface, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = f"POST /v1/cni HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n\r\n"
        await stream.send_all(head.encode() + sent)
        answer = b"".join([part async for part in stream])

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":4' in answer
    assert await cni.leases() == []


async def test_files_that_hang_keep_no_call_waiting_that_names_none(cni: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    mended = threading.Event()
    monkeypatch.setattr(plugin_module, "read_dns", lambda path: mended.wait() and {})
    try:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                given = conf(ipam={"subnet": SUBNET, "resolvConf": "/mnt/gone"})
                nursery.start_soon(partial(cni, "ADD", given, container=f"hangs-{number}"))
            with trio.fail_after(20):
                await trio.testing.wait_all_tasks_blocked(0.1)
                said = await cni("ADD", netns="/mnt/ns")  # for which a thread is needed
            nursery.cancel_scope.cancel()
    finally:
        mended.set()

    assert said.done


def test_the_daemon_serves_the_plugin_and_carries_out_what_was_left(tmp_path: Path) -> None:
    left = tmp_path / "left"
    options = ["--data-dir", str(tmp_path / "data"), "--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "ringipam", "launch", "--iprange", "10.0.0.0/8", *options, "--cni-dir", str(left)]
    left.mkdir()
    env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    (left / "del-1").write_bytes(body(env, conf()))
    daemon = subprocess.Popen([*command, "--reap-after", "60"], stdout=subprocess.DEVNULL)
    try:
        _wait_for(tmp_path / "s")
        end = time.monotonic() + 20
        while (left / "del-1").exists():
            assert time.monotonic() < end
            time.sleep(0.01)

        said = trio.run(_add, tmp_path / "s")

        assert b'"address":"10.1.2.2/24"' in said
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0


def _wait_for(socket: Path) -> None:
    end = time.monotonic() + 30
    with Client(socket) as client:
        while True:
            try:
                client.status()
                return
            except DaemonUnreachableError:
                assert time.monotonic() < end
                time.sleep(0.01)


async def _add(socket: Path) -> bytes:
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/ns"}
    sent = body(env, conf())
    async with await trio.open_unix_socket(socket) as stream:
        head = f"POST /v1/cni HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n\r\n"
        await stream.send_all(head.encode() + sent)
        return b"".join([bytes(part) async for part in stream])


@pytest.mark.parametrize("seconds", [-1, 86_401, float("nan")])
def test_a_time_for_runtimes_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(RequestError, match="--reap-after"):
        Config("10.0.0.0/8", reap_after_s=seconds)


def test_launch_says_what_a_time_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "--iprange", "10.0.0.0/8", "--reap-after", "soon"]) == 2

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_tombstones_are_beside_the_data_unless_told_otherwise(tmp_path: Path) -> None:
    assert Config("10.0.0.0/8", data_dir=tmp_path, socket=tmp_path / "s").cni_directory == tmp_path / "cni"
    usual = Config("10.0.0.0/8", data_dir=tmp_path, socket=Path("/run/ringipam/ringipam.sock"))
    assert usual.cni_directory == Path("/var/lib/ringipam/cni"), "where a program that was told nothing leaves things"
    assert Config("10.0.0.0/8", data_dir=tmp_path, cni_dir=tmp_path / "x").cni_directory == tmp_path / "x"
