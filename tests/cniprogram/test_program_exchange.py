"""What the CNI program hands to the daemon, what it prints, and what it says when there is no answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from execing import CONFIG, Program, answer, daemon, finish, says

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
ROOM = 128 * 1024
"""For variables and standard input together (ringipam/server/http.py)."""


def test_the_daemon_gets_every_cni_variable_and_standard_input_as_they_are(program: Program) -> None:
    env = {"CNI_IFNAME": "eth0", "CNI_ARGS": "IP=10.32.0.9;X=a=b", "CNI_NETNS": "", "CNIX": "no", "HOME": "/root"}

    with daemon(program.socket, says(answer(200, b"{}"))) as asked:
        program.call("ADD", env=env)

    assert asked[0].head.startswith(b"POST /v1/cni HTTP/1.1\r\n")
    assert asked[0].variables == {
        b"CNI_COMMAND": b"ADD",
        b"CNI_IFNAME": b"eth0",
        b"CNI_ARGS": b"IP=10.32.0.9;X=a=b",
        b"CNI_NETNS": b"",
    }
    assert asked[0].stdin == CONFIG


def test_odd_values_and_binary_input_arrive_unchanged(program: Program) -> None:
    odd: dict[str | bytes, str | bytes] = {b"CNI_ARGS": b"\xff\n \"'=\\", b"CNI_\xc3\xa4": b"\xe2\x82\xac"}
    binary = bytes(range(256)) * 300

    with daemon(program.socket, says(answer(200, b"{}"))) as asked:
        program.call("ADD", binary, odd)

    assert asked[0].variables == {b"CNI_COMMAND": b"ADD", **odd}
    assert asked[0].stdin == binary


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (400, 1), (500, 1), (503, 1), (201, 1)])
def test_the_answer_is_printed_to_the_byte_and_its_status_is_the_exit_status(
    program: Program, status: int, exit_status: int
) -> None:
    body = b'{"msg": "\xc3\xa4\\u0000"}\n\n'

    with daemon(program.socket, says(answer(status, body))):
        done = program.call("ADD")

    assert (done.status, done.out, done.err) == (exit_status, body, b"")


def test_success_may_print_nothing(program: Program) -> None:
    with daemon(program.socket, says(answer(200, b""))):
        done = program.call("DEL")

    assert (done.status, done.out, program.tombstones()) == (0, b"", [])


def test_an_answer_in_many_pieces_is_one_answer(program: Program) -> None:
    whole = answer(200, b'{"ips": []}')

    def in_pieces(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for at in range(len(whole)):
            connection.sendall(whole[at : at + 1])

    with daemon(program.socket, in_pieces):
        done = program.call("ADD")

    assert (done.status, done.out) == (0, b'{"ips": []}')


def test_the_program_does_not_wait_for_the_connection_to_end(program: Program) -> None:
    released = threading.Event()

    def keeps_it_open(connection: socket.socket) -> None:
        connection.sendall(answer(200, b"{}"))
        released.wait()

    with daemon(program.socket, keeps_it_open):
        done = program.call("ADD")
        released.set()

    assert done.status == 0


def test_a_header_counts_in_any_case_and_place(program: Program) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH:2\r\nX-Y: content-length: 7\r\n\r\n{}"

    with daemon(program.socket, says(head)):
        done = program.call("ADD")

    assert (done.status, done.out) == (0, b"{}")


def test_a_large_answer_is_printed_whole(program: Program) -> None:
    body = b"{" + b" " * 900_000 + b"}"

    with daemon(program.socket, says(answer(200, body))):
        done = program.call("GC")

    assert done.out == body


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(200, b'{"ips": []}')[:-1], "it broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "it broke off"),
        (b"", "it broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "what answers is not ringipam"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "what answers is not ringipam"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}", "what answers is not ringipam"),
        (b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}", "what answers is not ringipam"),
        (b"220 mail.example ESMTP\r\n\r\n", "what answers is not ringipam"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}", "the answer is too long"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20), "the answer is too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n{}", "the answer is too long"),
        (answer(503, b"more than 1024 connections; close some or try again\n"), "it turns requests away"),
        (answer(500, b""), "it turns requests away"),
    ],
)
def test_what_is_no_answer_is_none(program: Program, said: bytes, why: str) -> None:
    def says_it(connection: socket.socket) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have heard enough
            connection.sendall(said)

    with daemon(program.socket, says_it, says_it):
        added = program.call("ADD")
        deleted = program.call("DEL")

    assert added.error == {
        "cniVersion": "0.4.0",
        "code": 11,
        "msg": f"no answer from the ringipam daemon at {program.socket}: {why};"
        " start it on this host, or look at its log, and try again",
    }
    assert (deleted.status, deleted.out, len(program.tombstones())) == (0, b"", 1)


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50), ("FROB", 11)])
def test_without_a_daemon_the_runtime_is_told_what_to_do(program: Program, command: str, code: int) -> None:
    done = program.call(command)

    assert done.error == {
        "cniVersion": "0.4.0",
        "code": code,
        "msg": f"no answer from the ringipam daemon at {program.socket}: No such file or directory;"
        " start it on this host, or look at its log, and try again",
    }
    assert program.tombstones() == []


def test_a_socket_that_nobody_listens_on_any_more_is_no_daemon(program: Program) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(program.socket))

    assert "Connection refused" in program.call("ADD").error["msg"]


def test_a_daemon_killed_before_it_answers_is_no_answer(program: Program) -> None:
    with daemon(program.socket, lambda connection: connection.close()):
        done = program.call("ADD")

    assert done.error["code"] == 11


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b'{"cniVersion":"0.3.1"}', "0.3.1"),
        (b'{"name": "x",\n "cniVersion"\t:  "1.0.0" }', "1.0.0"),
        (b"{}", "1.1.0"),
        (b"", "1.1.0"),
        (b'{"cniVersion": 7}', "1.1.0"),
        (b'{"cniVersion": "0.4.0', "1.1.0"),
        (b'{"cniVersion": ""}', "1.1.0"),
        (b'{"cniVersion": "0.4\\"0"}', "1.1.0"),
        (b'{"name": "\\"cniVersion\\": \\"9\\"", "cniVersion": "0.4.0"}', "0.4.0"),
        (b'{"cniVersion": "' + b"9" * 32 + b'"}', "9" * 32),
        (b'{"cniVersion": "' + b"9" * 33 + b'"}', "1.1.0"),
        (b'{"cniVersion"', "1.1.0"),
        (b"\0\xff" * 60_000, "1.1.0"),
    ],
)
def test_versions_are_known_without_a_daemon(program: Program, stdin: bytes, version: str) -> None:
    done = program.call("VERSION", stdin)

    assert done.status == 0
    assert json.loads(done.out) == {"cniVersion": version, "supportedVersions": VERSIONS}


def test_a_daemon_that_is_there_says_the_versions(program: Program) -> None:
    with daemon(program.socket, says(answer(200, b'{"supportedVersions":["9.9.9"]}'))):
        done = program.call("VERSION")

    assert done.out == b'{"supportedVersions":["9.9.9"]}'


@pytest.mark.parametrize("env", [{}, {"CNI_COMMAND": ""}])
def test_who_starts_it_by_hand_is_told_what_it_is(program: Program, env: dict[str | bytes, str | bytes]) -> None:
    done = program.call(None, b"", env)

    assert (done.status, done.out) == (0, b"")
    assert all(version.encode() in done.err for version in VERSIONS)


def test_as_much_as_the_daemon_takes_is_sent_and_a_byte_more_is_refused(program: Program) -> None:
    most = b'{"cniVersion":"0.4.0"}'.ljust(ROOM - len(b"CNI_COMMAND=ADD\0\0"))

    with daemon(program.socket, says(answer(200, b"{}"))) as asked:
        taken = program.call("ADD", most)
        refused = program.call("ADD", most + b" ")

    assert taken.status == 0
    assert [one.stdin for one in asked] == [most]
    assert refused.error == {
        "cniVersion": "0.4.0",
        "code": 7,
        "msg": "standard input and the CNI_* variables are larger than 131072 bytes:"
        " make the network configuration smaller",
    }


def test_endless_input_is_refused(program: Program) -> None:
    with open("/dev/zero", "rb") as zeros:
        done = subprocess.run([program.path], env={"CNI_COMMAND": "DEL"}, stdin=zeros, capture_output=True, check=False)

    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 7
    assert program.tombstones() == []


def test_variables_alone_can_be_too_large(program: Program) -> None:
    done = program.call("ADD", b"", {"CNI_ARGS": "x" * 100_000, "CNI_PATH": "y" * 100_000})

    assert done.error["code"] == 7


@pytest.mark.parametrize("stdin", ["a directory", "nothing"])
def test_input_that_cannot_be_read_is_an_input_error(program: Program, stdin: str, tmp_path: Path) -> None:
    def prepare() -> None:
        os.close(0)
        if stdin == "a directory":
            os.open(tmp_path, os.O_RDONLY)

    done = subprocess.run(
        [program.path], env={"CNI_COMMAND": "ADD"}, stdout=subprocess.PIPE, preexec_fn=prepare, check=False
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 5
    assert json.loads(done.stdout)["msg"].startswith("cannot read standard input: ")


def test_paths_of_the_environment_stand_above_those_built_in(program: Program, tmp_path: Path) -> None:
    other = tmp_path / "other"
    env = {"RINGIPAM_SOCKET": str(other / "s"), "RINGIPAM_CNI_DIR": str(other / "cni")}
    other.mkdir()

    with daemon(other / "s", says(answer(200, b"{}"))):
        assert program.call("ADD", env=env).status == 0
    assert program.call("DEL", env=env).status == 0

    assert len(list((other / "cni").iterdir())) == 1
    assert program.tombstones() == []


def test_a_socket_path_that_no_socket_can_have_is_said(program: Program) -> None:
    done = program.call("ADD", env={"RINGIPAM_SOCKET": "/" + "x" * 107})

    assert done.error["msg"].startswith(
        f"no answer from the ringipam daemon at /{'x' * 106}: RINGIPAM_SOCKET is longer than"
    )


def test_an_error_is_json_whatever_the_paths_are(program: Program) -> None:
    env: dict[str | bytes, str | bytes] = {"RINGIPAM_SOCKET": b'/no"such\\\n\xff', "RINGIPAM_CNI_DIR": b'"\\' * 2040}

    assert program.call("ADD", env=env).error["msg"].startswith('no answer from the ringipam daemon at /no"such\\??: ')
    assert program.call("DEL", env=env).error["code"] == 11


def test_the_program_ends_when_nobody_reads_its_answer(program: Program) -> None:
    with daemon(program.socket, says(answer(200, b"{}" * 100_000))):
        process = program.start("ADD")
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        done = finish(process)

    assert done.status == 1, "an exit status, not a signal"


def test_being_stopped_and_continued_breaks_nothing(program: Program) -> None:
    process = program.start("ADD")

    def stops_it(connection: socket.socket) -> None:
        for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"{}"):
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            process.send_signal(signal.SIGCONT)
            connection.sendall(part)

    with daemon(program.socket, stops_it):
        done = finish(process)

    assert (done.status, done.out) == (0, b"{}")


def test_many_at_once_each_get_their_own_answer(program: Program) -> None:
    def echo(number: int, connection: socket.socket) -> None:
        connection.sendall(answer(200, b'{"number": %d}' % number))

    with daemon(program.socket, *(partial(echo, number) for number in range(16))) as asked:
        processes = [program.start("ADD", {"CNI_CONTAINERID": str(number)}) for number in range(16)]
        outs = [finish(process).out for process in processes]

    told = {json.loads(out)["number"]: number for number, out in enumerate(outs)}
    assert {at: int(one.variables[b"CNI_CONTAINERID"]) for at, one in enumerate(asked)} == told


@pytest.mark.slow
def test_a_daemon_that_hangs_is_given_up_on(programs: list[Program], tmp_path: Path) -> None:
    commands = ("DEL", "STATUS", "VERSION")
    full = {"RINGIPAM_SOCKET": str(tmp_path / "full")}
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as busy, socket.socket(1) as first:
        silent.bind(str(programs[0].socket))
        silent.listen(64)
        busy.bind(full["RINGIPAM_SOCKET"])
        busy.listen(0)
        first.connect(full["RINGIPAM_SOCKET"])

        places: tuple[dict[str | bytes, str | bytes], ...] = ({}, {**full})
        processes = {
            (program.language, command, bool(place)): program.start(command, place)
            for program in programs
            for command in commands
            for place in places
        }
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        done = {key: finish(process, b"") for key, process in processes.items()}

    for (_, command, _), one in done.items():
        if command == "STATUS":
            assert one.error["code"] == 50
            assert ": it took too long; " in one.error["msg"]
        else:
            assert one.status == 0
    assert [len(program.tombstones()) for program in programs] == [2, 2, 2]
