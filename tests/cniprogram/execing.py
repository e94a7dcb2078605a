"""How a runtime executes the program, and a daemon that speaks the program's contract and nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = b'{"cniVersion": "0.4.0", "name": "net", "type": "bridge", "ipam": {"type": "ringipam"}}'
LONG_S = 120
"""When a test gives up on what must have ended long ago."""


@dataclass(frozen=True)
class Done:
    status: int
    out: bytes
    err: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error that the runtime reads."""
        assert self.status == 1, self
        error: dict[str, Any] = json.loads(self.out)
        return error


@dataclass(frozen=True)
class Program:
    """An installed program, and where it looks."""

    path: Path
    socket: Path
    cni_dir: Path
    language: str

    def start(
        self, command: str | None, env: Mapping[str | bytes, str | bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        told: dict[str | bytes, str | bytes] = {"PATH": "/nowhere", **(env or {})}
        if command is not None:
            told["CNI_COMMAND"] = command
        pipe = subprocess.PIPE
        return subprocess.Popen([self.path], env=told, stdin=pipe, stdout=pipe, stderr=pipe)

    def call(
        self, command: str | None, stdin: bytes = CONFIG, env: Mapping[str | bytes, str | bytes] | None = None
    ) -> Done:
        return finish(self.start(command, env), stdin)

    def tombstones(self) -> list[bytes]:
        if not self.cni_dir.exists():
            return []
        names = sorted(path.name for path in self.cni_dir.iterdir())
        assert all(name.startswith("del-") for name in names), names
        return [(self.cni_dir / name).read_bytes() for name in names]


def finish(process: subprocess.Popen[bytes], stdin: bytes = CONFIG) -> Done:
    out, err = process.communicate(stdin, timeout=LONG_S)
    return Done(process.returncode, out, err)


def answer(status: int, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (
            status,
            len(body),
        )
        + body
    )


Behaviour = Callable[[socket.socket], None]


def says(data: bytes) -> Behaviour:
    return lambda connection: connection.sendall(data)


@dataclass(frozen=True)
class Asked:
    head: bytes
    variables: dict[bytes, bytes]
    stdin: bytes


def read_request(connection: socket.socket) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += _more(connection)
    assert len(body) == length
    return parse_body(head, body)


def parse_body(head: bytes, body: bytes) -> Asked:
    variables, at = {}, 0
    while (end := body.index(b"\0", at)) != at:
        name, _, value = body[at:end].partition(b"=")
        assert name not in variables
        variables[name] = value
        at = end + 1
    return Asked(head, variables, body[at + 1 :])


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the program went away"
    return part


@contextmanager
def daemon(path: Path, *behaviours: Behaviour) -> Iterator[list[Asked]]:
    """Serves one connection for each behaviour, in order; what it was asked."""
    asked: list[Asked] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    listener.settimeout(LONG_S)
    over = threading.Event()

    def serve() -> None:
        for behaviour in behaviours:
            connection, _ = listener.accept()
            if over.is_set():
                return
            with connection:
                connection.settimeout(LONG_S)
                asked.append(read_request(connection))
                behaviour(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        with socket.socket(socket.AF_UNIX) as wake:
            wake.connect(str(path))
        thread.join()
        listener.close()
        path.unlink()
