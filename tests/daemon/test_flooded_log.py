"""Strangers from many addresses cannot fill the log of a real daemon."""

from __future__ import annotations

import json
import socket
from typing import Any

from process import Daemon

from ringipam.journal import LINES_MAX

SOURCES = 200


def knock(source: str, endpoint: tuple[str, int]) -> None:
    """Say nonsense from `source` and wait for the daemon to hang up."""
    with socket.create_connection(endpoint, timeout=20, source_address=(source, 0)) as stranger:
        stranger.sendall(b"\x00\x00\x00\x04nope")
        assert stranger.recv(1) == b""


def test_what_strangers_cause_is_a_few_lines_and_a_count(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint: tuple[str, int] = free.getsockname()
    daemon.options = ("--listen", f"{endpoint[0]}:{endpoint[1]}", "--log-format", "json")
    client = daemon.start()

    for number in range(SOURCES):
        knock(f"127.0.1.{number + 1}", endpoint)
    client.allocate("c1")
    client.close()
    assert daemon.stop() == 0

    lines: list[dict[str, Any]] = [json.loads(line) for line in daemon.log.splitlines()]
    closed = [line for line in lines if line["event"].startswith("closed a connection from ")]
    left_out = [line["event"] for line in lines if "more lines of this kind" in line["event"]]
    assert closed[0]["peer"] == "127.0.1.1"
    # If the machine is slow they fall into several windows; nothing is lost from the count all the same.
    told = sum(int(event.split()[0]) for event in left_out)
    assert len(closed) + told == SOURCES
    assert len(closed) <= LINES_MAX * (len(left_out) + 1)
