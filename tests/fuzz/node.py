"""A real daemon on loopback for fuzzing from outside, and all that it has made durable."""

from __future__ import annotations

import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "daemon"))

from process import Daemon

PATIENCE_S = 20.0


AT_REST = {"boots", "published", "sums"}
"""Tables that a node itself writes while nobody asks it for anything: its starts, and checks of the others."""


@dataclass
class Node:
    port: int
    """Of its HTTP API."""
    database: Path
    daemon: Daemon

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def durable(self) -> dict[str, list[object]]:
        return rows(self.database)

    @property
    def peer_port(self) -> int:
        """Where other hosts connect."""
        return int(self.daemon.log.partition("listening on 127.0.0.1:")[2].split()[0])

    def says(self, request: bytes, port: int | None = None) -> bytes:
        """What comes back for these bytes until either side closes; raises TimeoutError if nothing ends it."""
        with closing(socket.create_connection(("127.0.0.1", port or self.port), timeout=PATIENCE_S)) as client:
            said = b""
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                while data := client.recv(65_536):
                    said += data
            except (ConnectionResetError, BrokenPipeError):
                pass  # it had heard enough
            return said


def rows(database: Path) -> dict[str, list[object]]:
    """Every row of every table but those of `AT_REST`."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")} - AT_REST
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in sorted(tables)}


@contextmanager
def a_node(directory: Path, universe: str) -> Iterator[Node]:
    """A ring of one that holds two leases; ends with the block, and must still have lived then."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    file = directory / "node.toml"
    file.write_text("quarantine_s = 86400\n")  # no row goes by itself while somebody compares
    options = ("--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}", "--config", str(file))
    daemon = Daemon(directory, universe, options)
    client = daemon.start()
    try:
        client.allocate("c1")
        client.allocate("c2")
        yield Node(port, daemon.data / "ringipam.db", daemon)
        assert client.status()["serving"]  # it may refuse foreign rings
        assert "Traceback" not in daemon.log, daemon.log
    finally:
        client.close()
        daemon.kill()
