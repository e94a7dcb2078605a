"""A worker that speaks HTTP by hand over many connections at once, so cheaply that it is not what is measured.

python -m benchmarks.lean unix SOCKET IPRANGE FILLED     ringipam's daemon
python -m benchmarks.lean tcp PORT                       etcd's JSON gateway on loopback

One thread, non-blocking sockets, epoll. Of an answer it reads the status, the length and, from etcd, whether the
transaction succeeded; of its requests only the id varies.
"""

from __future__ import annotations

import base64
import gc
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Load, Step
from benchmarks.worker import serve
from ringipam.address import parse_cidr

RECEIVE_SIZE = 64 * 1024
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"

Encode = Callable[[Step], bytes]


def ringipam_request(step: Step) -> bytes:
    match step.verb:
        case "allocate":
            return with_body("/v1/leases", f'{{"id":"{step.id}"}}')
        case "claim":
            return bare("PUT", f"/v1/leases/{step.id}/{step.address}")
        case "release":
            return bare("DELETE", f"/v1/leases/{step.id}")
        case _:
            return bare("GET", f"/v1/leases?id={step.id}")


def etcd_request(step: Step) -> bytes:
    """A transaction that creates a key and fails if there is one; or deletes it."""
    key = base64.b64encode(step.id.encode()).decode()
    if step.verb == "release":
        return with_body("/v3/kv/deleterange", f'{{"key":"{key}"}}')
    absent = f'{{"target":"CREATE","key":"{key}","create_revision":"0"}}'
    put = f'{{"request_put":{{"key":"{key}","value":"{key}"}}}}'
    return with_body("/v3/kv/txn", f'{{"compare":[{absent}],"success":[{put}]}}')


def bare(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def with_body(path: str, body: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@dataclass(slots=True)
class Caller:
    sock: socket.socket
    step: Step | None = None
    began: float = 0.0
    received: bytes = b""


class Crowd:
    """So many callers, each with a connection that stays open and one request under way."""

    def __init__(self, connect: Callable[[], socket.socket], encode: Encode, must_hold: bytes, load: Load) -> None:
        self._connect = connect
        self._encode = encode
        self._must_hold = must_hold
        """What the answer to an allocation holds if it succeeded."""
        self._load = load
        self._callers: list[Caller] = []

    def phase(self, question: dict[str, Any]) -> dict[str, Any]:
        """One verb for so long; a release goes on until nothing is held."""
        verb = str(question["verb"])
        while len(self._callers) < question["callers"]:
            self._callers.append(Caller(self._connect()))
        spent, begin = time.process_time(), time.perf_counter()
        end = begin + question["seconds"] if verb != "release" else float("inf")
        us = self._run(self._callers[: question["callers"]], verb, end)
        return {"us": us, "seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - spent}

    def _run(self, callers: list[Caller], verb: str, end: float) -> list[int]:
        us: list[int] = []
        waiting = {caller.sock.fileno(): caller for caller in callers if self._send(caller, verb)}
        with select.epoll(len(callers)) as poll:
            for fd in waiting:
                poll.register(fd, select.EPOLLIN)
            while waiting:
                for fd, _ in poll.poll():
                    caller = waiting[fd]
                    if not self._receive(caller):
                        continue
                    now = time.perf_counter()
                    us.append(round((now - caller.began) * 1e6))
                    if now >= end or not self._send(caller, verb):
                        poll.unregister(fd)
                        del waiting[fd]
        return us

    def _send(self, caller: Caller, verb: str) -> bool:
        """False if there is nothing left to ask for."""
        caller.step = step = self._load.next(verb)
        if step is None:
            return False
        request = self._encode(step)
        caller.began = time.perf_counter()
        caller.sock.send(request)  # small, and the one before was answered: it is taken whole
        return True

    def _receive(self, caller: Caller) -> bool:
        """Whether the answer is complete; raises RuntimeError if it is a refusal."""
        data = caller.sock.recv(RECEIVE_SIZE)
        if not data:
            raise RuntimeError(f"connection closed after {caller.step}: {caller.received!r}")
        caller.received = received = caller.received + data
        head, ended, body = received.partition(HEAD_END)
        if not ended or len(body) < content_length(head):
            return False
        caller.received = b""
        assert caller.step is not None
        if not head.startswith(b"HTTP/1.1 2") or (caller.step.verb == "allocate" and self._must_hold not in body):
            raise RuntimeError(f"{caller.step}: {received!r}")
        self._load.done(caller.step)
        return True


def content_length(head: bytes) -> int:
    head = head.lower()
    at = head.index(LENGTH) + len(LENGTH)
    stop = head.find(b"\r\n", at)
    return int(head[at:] if stop < 0 else head[at:stop])


def over_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def over_tcp(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def main(kind: str, where: str, iprange: str = "10.32.0.0/12", filled: str = "0") -> None:
    universe = parse_cidr(iprange)
    prefix = f"lean-{time.time_ns()}"
    load = Load(prefix, int(filled), universe.range.end - 1, universe.prefix_len, universe.family)
    if kind == "unix":
        crowd = Crowd(lambda: over_unix(where), ringipam_request, b'"address"', load)
    else:
        crowd = Crowd(lambda: over_tcp(int(where)), etcd_request, b'"succeeded":true', load)
    gc.freeze()
    gc.disable()  # a collection in the middle of a turn would look like the server's doing
    serve(crowd.phase)


if __name__ == "__main__":
    main(*sys.argv[1:])
