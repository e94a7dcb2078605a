"""Credentials of real daemons: the password changes under them, and no secret is seen where others look."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

from process import Daemon

from ringipam import Client
from ringipam.client.calls import listing

OLD, NEW, FOREIGN = "the former password of all hosts", "the password that follows it", "quite another password"
TOKEN, WRONG_TOKEN = "a-token-for-the-api-over-tcp", "a-token-that-somebody-guessed"


def until(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"not within 60 s: {what}"
        time.sleep(0.05)


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_text("\n".join(lines))
    os.replace(fresh, path)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def linked(daemon: Daemon) -> bool:
    """Whether the one other host answers when it is asked for its leases."""
    with Client(daemon.socket) as client:
        known = client.status()["peers"] != {"alive": 0, "suspect": 0, "dead": 0}
        return known and not client.perform(listing(cluster=True)).unreachable


def pair(tmp_path: Path) -> tuple[Daemon, Daemon]:
    """Two daemons that dial each other's way: the second one the first."""
    port = free_port()
    first, second = Daemon(tmp_path / "1"), Daemon(tmp_path / "2")
    first.options = ("--listen", f"127.0.0.1:{port}", "--password-file", str(tmp_path / "1/password"))
    other = ("--name", "h2", "--listen", "127.0.0.1:0", "--init", "observer")
    second.options = (*other, "--password-file", str(tmp_path / "2/password"), f"127.0.0.1:{port}")
    return first, second


def test_two_daemons_change_their_password_one_after_the_other_and_find_each_other_at_every_step(
    tmp_path: Path,
) -> None:
    """The first is never restarted; the second one is, so that its links are new ones."""
    first, second = pair(tmp_path)
    write(tmp_path / "1/password", OLD)
    write(tmp_path / "2/password", OLD)
    try:
        client = first.start()
        client.prime()
        client.close()
        second.start().close()
        until("the hosts are linked", lambda: linked(first) and linked(second))

        for step, passwords in enumerate(((OLD, NEW), (NEW, OLD), (NEW,)), start=1):
            write(tmp_path / "1/password", *passwords)
            until("the change is taken up", lambda step=step: first.log.count("are in use for new") == step)
            assert linked(first)
            for lines in (None, passwords):
                if lines is not None:
                    write(tmp_path / "2/password", *lines)
                assert second.stop() == 0
                second.start().close()
                until(f"they are linked at {passwords}", lambda: linked(first) and linked(second))

        write(tmp_path / "2/password", OLD)
        assert second.stop() == 0
        second.start().close()
        until("the former password is refused", lambda: "wrong password" in status_of(second))
        assert not linked(second)
    finally:
        for daemon in (first, second):
            daemon.kill()


def status_of(daemon: Daemon) -> str:
    with Client(daemon.socket) as client:
        return json.dumps(client.status())


def ask(port: int, path: str, token: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    said = answer.status, answer.read().decode()
    connection.close()
    return said


def test_no_secret_is_seen_in_logs_views_or_the_process_list(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    http = free_port()
    token_file = write(tmp_path / "1/token", TOKEN)
    write(tmp_path / "1/password", OLD, NEW)
    write(tmp_path / "2/password", FOREIGN)
    first.options = (*first.options, "--http", f"127.0.0.1:{http}", "--http-token-file", str(token_file))
    seen = ""
    try:
        first.start().close()
        second.start().close()
        until("the wrong password is refused", lambda: "wrong password" in status_of(second))
        assert ask(http, "/v1/status", WRONG_TOKEN)[0] == 401
        write(tmp_path / "1/password", *[OLD, NEW] * 4)
        write(tmp_path / "1/token", TOKEN[:8])
        until("the broken files are told", lambda: first.log.count("changed and cannot be used") == 2)
        assert "cannot be used" in status_of(first)

        for path in ("/v1/status", "/v1/ring", "/v1/peers", "/v1/conflicts", "/metrics", "/v1/openapi.json"):
            status, said = ask(http, path, TOKEN)  # of the former file, which stays in use
            assert status == 200
            seen += said
        for daemon in (first, second):
            assert daemon.process is not None
            process = Path(f"/proc/{daemon.process.pid}")
            seen += daemon.log + status_of(daemon) + process.joinpath("cmdline").read_text()
            seen += process.joinpath("environ").read_text(errors="replace")
        keys = [(tmp_path / number / "data/tls/node.pem").read_text().splitlines()[-2] for number in "12"]
    finally:
        for daemon in (first, second):
            daemon.kill()

    assert "--password-file" in seen  # the process list was looked at
    assert "closed a connection from 127.0.0.1" in seen  # and the log
    for secret in (OLD, NEW, FOREIGN, TOKEN, WRONG_TOKEN, TOKEN[:8], "PRIVATE KEY", *keys):
        assert secret not in seen
