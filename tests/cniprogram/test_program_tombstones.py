"""A DEL that the daemon does not answer is kept, whole or not at all, where the daemon finds it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from execing import CONFIG, Program, answer, daemon, finish, parse_body, says

ENV: dict[str | bytes, str | bytes] = {
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "",
    "CNI_ARGS": b"A=\xff\n",
}

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def test_a_tombstone_is_the_request_that_the_daemon_would_have_got(program: Program) -> None:
    with daemon(program.socket, says(answer(200, b""))) as asked:
        program.call("DEL", CONFIG, ENV)
    done = program.call("DEL", CONFIG, ENV)

    assert (done.status, done.out, done.err) == (0, b"", b"")
    [tombstone] = program.tombstones()
    assert parse_body(asked[0].head, tombstone) == asked[0]


@pytest.mark.parametrize("body", [b'{"code": 11, "msg": "not yet"}', b"more than 1024 connections"])
def test_a_daemon_that_cannot_do_it_now_finds_it_later(program: Program, body: bytes) -> None:
    with daemon(program.socket, says(answer(503, body))):
        done = program.call("DEL", CONFIG, ENV)

    assert (done.status, done.out) == (0, b"")
    assert len(program.tombstones()) == 1


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_daemon_that_refuses_is_believed(program: Program, status: int) -> None:
    with daemon(program.socket, says(answer(status, b'{"code": 4, "msg": "no"}'))):
        done = program.call("DEL", CONFIG, ENV)

    assert done.error["code"] == 4
    assert program.tombstones() == []


def test_a_large_tombstone_is_kept_whole(program: Program) -> None:
    binary = os.urandom(100_000)

    program.call("DEL", binary)

    assert program.tombstones() == [b"CNI_COMMAND=DEL\0\0" + binary]


def test_releases_at_the_same_time_are_each_kept(program: Program) -> None:
    processes = [program.start("DEL", {"CNI_CONTAINERID": f"c{number}"}) for number in range(20)]

    assert {finish(process).status for process in processes} == {0}

    kept = [parse_body(b"", tombstone).variables[b"CNI_CONTAINERID"] for tombstone in program.tombstones()]
    assert sorted(kept) == sorted(b"c%d" % number for number in range(20))


def test_tombstones_are_for_their_owner_alone(program: Program) -> None:
    program.call("DEL")

    [tombstone] = program.cni_dir.iterdir()
    assert program.cni_dir.stat().st_mode & 0o777 == 0o700
    assert tombstone.stat().st_mode & 0o777 == 0o600


def test_every_missing_directory_is_made(program: Program, tmp_path: Path) -> None:
    deep = tmp_path / "a/b/../c"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").mkdir()

    done = program.call("DEL", CONFIG, {"RINGIPAM_CNI_DIR": f"{deep}//d/"})

    assert done.status == 0
    assert len(list((tmp_path / "a/c/d").iterdir())) == 1


@pytest.mark.root
@pytest.mark.parametrize("made", [True, False])
def test_a_daemon_of_another_user_can_take_them(program: Program, made: bool, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for directory in (data, data / "cni") if made else (data,):
        directory.mkdir(mode=0o700)
        os.chown(directory, 4711, 4712)

    program.call("DEL", CONFIG, {"RINGIPAM_CNI_DIR": str(data / "cni")})

    [tombstone] = (data / "cni").iterdir()
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (data / "cni", tombstone)}
    assert owners == {(4711, 4712)}


def test_where_nothing_can_be_kept_the_runtime_is_told_to_try_again(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    done = program.call("DEL", CONFIG, {"RINGIPAM_CNI_DIR": str(file)})

    assert done.error == {
        "cniVersion": "0.4.0",
        "code": 11,
        "msg": f"no answer from the ringipam daemon at {program.socket}: No such file or directory;"
        f" nor could the release be kept in {file}: Not a directory; mend one of the two, and try again",
    }


def test_no_directory_has_a_longer_name(program: Program) -> None:
    done = program.call("DEL", CONFIG, {"RINGIPAM_CNI_DIR": "/" + "x/" * 3_000})

    assert done.error["msg"].endswith(": File name too long; mend one of the two, and try again")


def test_what_does_not_fit_leaves_nothing_behind(program: Program) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    done = subprocess.run(
        [program.path],
        env={"CNI_COMMAND": "DEL"},
        input=CONFIG,
        stdout=subprocess.PIPE,
        preexec_fn=limited,
        check=False,
    )

    assert done.returncode == 1
    assert b"File too large" in done.stdout
    assert list(program.cni_dir.iterdir()) == []


def test_a_file_that_waits_in_the_way_is_not_written_through(program: Program, tmp_path: Path) -> None:
    # a dangling link in the place of the directory: whoever may write to its parent leads nothing elsewhere
    elsewhere = tmp_path / "elsewhere"
    program.cni_dir.symlink_to(elsewhere)

    done = program.call("DEL")

    assert done.error["code"] == 11
    assert not elsewhere.exists()


STEPS = ["write:{}:when=1", "fsync:{}:when=1", "renameat,renameat2:{}:when=1", "fsync:{}:when=2"]
"""What is done to keep a release, in this order: it is written, and on the disk; it has its name, and that is too."""


def traced(program: Program, *options: str) -> subprocess.CompletedProcess[bytes]:
    """A DEL under strace, which sees what the kernel is asked for and can interfere with it."""
    env = {"CNI_COMMAND": "DEL", "PATH": os.environ["PATH"]}
    command = ["strace", "-o", str(program.cni_dir.parent / "trace"), *options, str(program.path)]
    return subprocess.run(command, env=env, input=CONFIG, capture_output=True, check=False)


@needs_strace
def test_what_is_acknowledged_is_on_the_disk(program: Program) -> None:
    done = traced(program, "-e", "trace=/^(mkdir|open|openat|write|fsync|rename).*")

    assert done.returncode == 0
    [name] = [path.name for path in program.cni_dir.iterdir()]
    lines = (program.cni_dir.parent / "trace").read_text().split("\n")
    made = next(at for at, line in enumerate(lines) if line.startswith(("mkdir", "mkdirat")))
    steps = [line.partition("(")[0] for line in lines[made:] if not line.startswith("+++") and line]
    assert steps == ["mkdirat", "openat", "fsync", "openat", "write", "fsync", "renameat", "fsync"]
    assert f'".{name}"' in lines[made + 3]
    descriptor = lines[made + 3].rpartition(" = ")[2]
    assert lines[made + 5].startswith(f"fsync({descriptor})")
    directory = lines[made + 1].rpartition(" = ")[2]
    assert lines[made + 7].startswith(f"fsync({directory})")


@needs_strace
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_program_that_is_killed_leaves_a_whole_tombstone_or_none(program: Program, step: int) -> None:
    program.cni_dir.mkdir()

    done = traced(program, "-e", "inject=" + STEPS[step].format("signal=SIGKILL"))

    assert done.returncode == -signal.SIGKILL, "strace ends as what it traced"
    names = [path for path in program.cni_dir.iterdir() if not path.name.startswith(".")]
    assert [path.read_bytes() for path in names] == [b"CNI_COMMAND=DEL\0\0" + CONFIG] * (step == 3)


@needs_strace
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_disk_that_fails_is_told_to_the_runtime(program: Program, step: int) -> None:
    program.cni_dir.mkdir()

    done = traced(program, "-e", "inject=" + STEPS[step].format("error=EIO"))

    assert done.returncode == 1
    assert b"Input/output error" in done.stdout
    assert len(list(program.cni_dir.iterdir())) == (step == 3), "one too many is carried out twice, which does no harm"
