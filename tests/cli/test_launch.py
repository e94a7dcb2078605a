"""The daemon as a process: what it says, how it ends, and how it refuses to begin."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from running import Run

from ringipam import Client, Config, DaemonUnreachableError

RINGIPAM = (sys.executable, "-m", "ringipam")
Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a daemon with its data below `tmp_path`; its output is text on pipes."""
    started: list[subprocess.Popen[str]] = []

    def launch(
        *options: str, env: dict[str, str] | None = None, data: str = "data", stderr: Any = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        where = ("--data-dir", str(tmp_path / data), "--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:0")
        command = [*RINGIPAM, "launch", "--name", "h1", *where, *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env))
        return started[-1]

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """What it says when it is ready: who it is, then how others join."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_from_launch_over_allocate_lookup_and_release_to_sigterm(launch: Launch, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "s"
    process = launch("--iprange", "10.32.0.0/12")
    greeting, invitation = next_line(process), next_line(process)

    assert greeting.startswith("h1.")
    for part in ("10.32.0.0/12", str(path), "listening on 127.0.0.1:"):
        assert part in greeting
    assert "--password-file" in invitation
    assert run("allocate", "c1", "--socket", str(path)).out == "10.32.0.1/12\n"
    assert run("lookup", "c1", "--socket", str(path)).out == "10.32.0.1/12\n"
    assert run("release", "c1", "--socket", str(path)).status == 0
    assert run("lookup", "c1", "--socket", str(path)).status == 1

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "INFO stopping: SIGTERM" in err
    assert "Traceback" not in err
    assert not path.exists()


def test_the_settings_may_stand_in_a_file_and_the_command_line_comes_first(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "ringipam.toml"
    file.write_text('iprange = "10.32.0.0/12"\nsubnet = "10.32.4.0/24"\nname = "from-file"\n')

    process = launch("--config", str(file))

    assert next_line(process).startswith("h1.")
    with Client(tmp_path / "s") as client:
        assert client.allocate("c1").interface == "10.32.4.1/24"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(20)

    def hears(self) -> dict[str, str]:
        """The next notification."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def hears_of(self, name: str) -> dict[str, str]:
        """The next notification that says `name`."""
        while name not in (said := self.hears()):
            pass
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path / "notify")) as manager:
        yield manager


def test_the_service_manager_is_told_when_it_is_ready_and_when_it_stops(
    launch: Launch, manager: Manager, tmp_path: Path
) -> None:
    process = launch("--iprange", "10.32.0.0/12", env={"NOTIFY_SOCKET": str(manager.path)})

    ready = manager.hears()
    assert ready["READY"] == "1"
    assert ready["STATUS"].startswith("ready: 0 leases")
    with Client(tmp_path / "s") as client:
        client.status()
    process.terminate()
    assert manager.hears()["STOPPING"] == "1"
    assert process.wait(timeout=10) == 0


def test_the_watchdog_is_told_that_it_works_and_how_it_is(launch: Launch, manager: Manager, tmp_path: Path) -> None:
    watched = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    launch("--iprange", "10.32.0.0/12", env=watched)

    assert "WATCHDOG" not in manager.hears(), "it has yet to be ready"
    assert manager.hears_of("WATCHDOG")["WATCHDOG"] == "1"
    with Client(tmp_path / "s") as client:
        client.allocate("c1")
    while "1 leases" not in manager.hears_of("WATCHDOG")["STATUS"]:
        pass


def test_a_watchdog_of_another_process_is_none_of_its_business(launch: Launch, manager: Manager) -> None:
    others = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    process = launch("--iprange", "10.32.0.0/12", env=others)

    assert "READY" in manager.hears()
    process.terminate()
    assert "STOPPING" in manager.hears(), "no beat came between"


def test_lines_on_standard_error_are_json_objects_if_so_wanted(launch: Launch, tmp_path: Path) -> None:
    process = launch("--iprange", "10.32.0.0/12", "--log-format", "json")
    with Client(tmp_path / "s") as client:
        answered(client)

    process.terminate()
    out, err = process.communicate(timeout=10)

    assert out == ""
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert any(event.startswith("h1.") for event in events), "who it is"
    assert events[-1] == "stopping: SIGTERM"


def test_a_daemon_that_cannot_begin_says_why_in_the_form_that_is_wanted(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")

    process = launch("--iprange", "10.32.0.0/12", "--log-format", "json")
    _, err = process.communicate(timeout=20)

    [line] = map(json.loads, err.splitlines())
    assert process.returncode == 1
    assert (line["level"], "cannot use the data directory" in line["event"]) == ("critical", True)


def test_under_systemd_every_line_says_its_priority(launch: Launch, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = (tmp_path / "journal").stat()
        stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        process = launch("--iprange", "10.32.0.0/12", env=stream, stderr=journal)
        with Client(tmp_path / "s") as client:
            answered(client)

        process.terminate()
        assert process.wait(timeout=10) == 0
        lines = (tmp_path / "journal").read_text().splitlines()

    assert all(line.startswith("<6>") for line in lines)
    assert lines[-1] == "<6>stopping: SIGTERM"


def answered(client: Client) -> None:
    """Returns when the daemon answers."""
    end = time.monotonic() + 20
    while True:
        try:
            client.status()
            return
        except DaemonUnreachableError:
            assert time.monotonic() < end


def test_a_client_that_waits_does_not_keep_the_daemon_from_ending(launch: Launch, tmp_path: Path) -> None:
    process = launch("--iprange", "10.32.0.0/12", "--init", "observer")
    next_line(process)
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(tmp_path / "s"))
        waiting.sendall(b"GET /ring HTTP/1.1\r\n\r\n")
        with Client(tmp_path / "s") as client:
            client.status()  # answered after the other was asked

        process.terminate()

        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--iprange", "10.32.0.1/12"],
        ["--iprange", "10.32.0.0/12", "--subnet", "10.0.0.0/24"],
        ["--iprange", "10.32.0.0/12", "--http", "0.0.0.0:6784"],
        ["--iprange", "10.32.0.0/12", "--http", "0.0.0.0:6784", "--http-cert", "c", "--http-key", "k"],
        ["--iprange", "10.32.0.0/12", "--http", "127.0.0.1:6784", "--http-cert", "c"],
        ["--iprange", "10.32.0.0/12", "--http", "127.0.0.1:6784", "--http-ca", "c"],
        ["--iprange", "10.32.0.0/12", "--http-token-file", "t"],
        ["--iprange", "10.32.0.0/12", "--socket-mode", "0066"],
        ["--iprange", "10.32.0.0/12", "--socket-mode", "rw"],
        ["--iprange", "10.32.0.0/12", "--socket-group", "no such group"],
        ["--iprange", "10.32.0.0/12", "--socket-group", "4294967295"],
        ["--iprange", "10.32.0.0/12", "--socket-group", "9" * 5000],
        ["--iprange", "10.32.0.0/12", "--socket", "http://host:1"],
        ["--iprange", "10.32.0.0/12", "--listen", "0.0.0.0:6783"],
        ["--iprange", "10.32.0.0/12", "--init", "sometimes"],
        ["--iprange", "10.32.0.0/12", "--exclude", "10.0.0.1"],
        ["--iprange", "10.32.0.0/12", "--ca", "x"],
        ["--iprange", "10.32.0.0/12", "--frobnicate"],
        ["--iprange", "10.32.0.0/12", "--log-format", "xml"],
        ["--iprange", "10.32.0.0/12", "host2:port"],
        ["--config", "/nowhere/at/all.toml"],
    ],
)
def test_wrong_settings_are_one_line_and_exit_status_2(run: Run, options: list[str]) -> None:
    done = run("launch", *options)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("ringipam: ")
    assert done.err.count("\n") == 1


def test_an_unknown_setting_in_the_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text('iprange = "10.32.0.0/12"\nip-rang = 1\n')

    done = run("launch", "--config", str(tmp_path / "f"))

    assert done.status == 2
    assert "unknown setting 'ip_rang'" in done.err


def complaint(process: subprocess.Popen[str]) -> str:
    """The one line with which a daemon refuses to begin."""
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    [line] = [line for line in err.splitlines() if line.startswith("ringipam: ")]
    return line


@pytest.mark.parametrize(("content", "mode"), [("x" * 32, 0o640), ("short", 0o600), ("", 0o600), ("ä" * 32, 0o600)])
def test_a_useless_token_file_is_one_line_and_exit_status_1(
    launch: Launch, tmp_path: Path, content: str, mode: int
) -> None:
    (tmp_path / "token").write_text(content)
    (tmp_path / "token").chmod(mode)

    token = ("--http-token-file", str(tmp_path / "token"))
    said = complaint(launch("--iprange", "10.32.0.0/12", "--http", "127.0.0.1:0", *token))

    assert f"--http-token-file {tmp_path}/token" in said


def test_the_socket_of_a_daemon_has_the_mode_it_is_given(launch: Launch, tmp_path: Path) -> None:
    next_line(launch("--iprange", "10.32.0.0/12", "--socket-mode", "0660", "--socket-group", str(os.getegid())))

    assert stat.filemode((tmp_path / "s").stat().st_mode) == "srw-rw----"


def test_a_second_daemon_on_one_socket_refuses_and_the_first_goes_on(launch: Launch, tmp_path: Path) -> None:
    next_line(launch("--iprange", "10.32.0.0/12"))

    assert f"a daemon already answers at {tmp_path}/s" in complaint(launch("--iprange", "10.32.0.0/12", data="other"))
    with Client(tmp_path / "s") as client:
        assert client.status()["state"]


def test_a_second_daemon_on_one_data_directory_refuses(launch: Launch, tmp_path: Path) -> None:
    next_line(launch("--iprange", "10.32.0.0/12"))

    assert str(tmp_path / "data") in complaint(launch("--iprange", "10.32.0.0/12", "--socket", str(tmp_path / "other")))


def test_a_port_in_use_is_one_line_and_exit_status_1(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"

        assert f"cannot listen on {endpoint}" in complaint(launch("--iprange", "10.32.0.0/12", "--http", endpoint))
        assert endpoint in complaint(launch("--iprange", "10.32.0.0/12", "--listen", endpoint))


def test_the_engines_to_watch_are_those_named_or_none_or_for_root_the_usual_ones() -> None:
    named = Config(iprange="10.32.0.0/12", watch=("/a", "/b", "/a")).watched
    none = Config(iprange="10.32.0.0/12", watch=("none",)).watched
    default = Config(iprange="10.32.0.0/12").watched

    assert named == (Path("/a"), Path("/b"))
    assert none == ()
    usual = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))
    assert default == (usual if os.geteuid() == 0 else ())


@pytest.mark.parametrize("paths", [["none", "/a"], ["/a", "none"], [""], ["/a\0b"]])
def test_engines_that_cannot_be_watched_are_refused(run: Run, paths: list[str]) -> None:
    done = run("launch", "--iprange", "10.32.0.0/12", *(word for path in paths for word in ("--watch", path)))

    assert (done.status, done.err.count("\n")) == (2, 1)
