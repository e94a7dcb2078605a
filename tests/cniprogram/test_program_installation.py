"""`ringipam cni install`: what it puts where, what it leaves alone, and what it says."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from execing import CONFIG, Done, answer, daemon, finish, says
from execing import Program as Installed

from ringipam.cli import main
from ringipam.integrations.cni.program import installation

Install = Callable[..., Done]


@pytest.fixture(params=["C", "Python"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, compiled: Path, tmp_path: Path) -> str:
    """Which of the two programs this installation of the package has."""
    monkeypatch.setattr(installation, "COMPILED", compiled if request.param == "C" else tmp_path / "none")
    monkeypatch.delenv("RINGIPAM_SOCKET", raising=False)
    name: str = request.param
    return name


@pytest.fixture
def install(language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Install:
    """`ringipam cni install` into directories of this test."""

    def install(*options: str) -> Done:
        status = main(
            ["cni", "install", "--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "conf"), *options]
        )
        out, err = capsys.readouterr()
        return Done(status, out.encode(), err.encode())

    return install


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_program_and_network_are_put_in_place(install: Install, language: str, tmp_path: Path) -> None:
    done = install()

    program, conflist = tmp_path / "bin/ringipam", tmp_path / "conf/10-ringipam.conflist"
    assert done == Done(0, f"wrote {program}, a program in {language}\nwrote {conflist}\n".encode(), b"")
    assert sorted(files(tmp_path)) == ["bin/ringipam", "conf/10-ringipam.conflist"]
    assert (program.stat().st_mode & 0o7777, conflist.stat().st_mode & 0o7777) == (0o755, 0o644)
    assert Installed(program, tmp_path / "s", tmp_path / "cni", language).call(None).status == 0


def conflist_of(tmp_path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((tmp_path / "conf/10-ringipam.conflist").read_text())
    return read


def test_a_network_without_a_subnet_connects_containers_and_claims_no_address(install: Install, tmp_path: Path) -> None:
    install("--name", "blue")

    conflist = conflist_of(tmp_path)
    assert (conflist["cniVersion"], conflist["name"]) == ("1.0.0", "blue")
    assert conflist["plugins"] == [{"type": "bridge", "bridge": "ringipam0", "ipam": {"type": "ringipam"}}]


def test_a_network_with_a_subnet_has_its_host_as_gateway(install: Install, tmp_path: Path) -> None:
    install("--subnet", "10.32.5.0/24")

    bridge, ports = conflist_of(tmp_path)["plugins"]
    assert bridge["ipam"] == {"type": "ringipam", "subnet": "10.32.5.0/24"}
    assert bridge["isGateway"] is bridge["isDefaultGateway"] is bridge["ipMasq"] is True
    assert ports == {"type": "portmap", "capabilities": {"portMappings": True}}


def test_two_subnets_give_each_container_an_address_of_both(install: Install, tmp_path: Path) -> None:
    install("--subnet", "10.32.5.0/24", "--subnet", "fd00:5::/64")

    ipam = conflist_of(tmp_path)["plugins"][0]["ipam"]
    assert ipam == {"type": "ringipam", "ranges": [[{"subnet": "10.32.5.0/24"}], [{"subnet": "fd00:5::/64"}]]}


def test_without_options_the_defaults_of_the_daemon_are_built_in(
    install: Install, tmp_path: Path, compiled: Path, language: str
) -> None:
    install("--socket", "/run/ringipam/ringipam.sock")

    told = json.loads(install("--json", "--socket", "/run/ringipam/ringipam.sock").out)
    assert (told["socket"], told["cni_dir"]) == ("/run/ringipam/ringipam.sock", "/var/lib/ringipam/cni")
    built = (tmp_path / "bin/ringipam").read_bytes()
    if language == "C":
        assert built == compiled.read_bytes(), "the program as it is built has them too"
    else:
        assert b"SOCKET = b'/run/ringipam/ringipam.sock'" in built
        assert b"DIRECTORY = b'/var/lib/ringipam/cni'" in built


@pytest.mark.parametrize(("socket_size", "directory_size"), [(107, 255), (60, 100)])
def test_the_paths_of_the_installation_are_built_into_its_copy(
    install: Install, language: str, tmp_path: Path, socket_size: int, directory_size: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as name:
        place = Path(name) / ("'\\é\n" + "x" * (socket_size - len(name) - 6))
        cni_dir = Path(name) / "é" / ("y" * (directory_size - len(name) - 4))
        assert (len(os.fsencode(place)), len(os.fsencode(cni_dir))) == (socket_size, directory_size)

        assert install("--socket", str(place), "--cni-dir", str(cni_dir)).status == 0

        program = Installed(tmp_path / "bin/ringipam", place, cni_dir, language)
        with daemon(place, says(answer(200, b"{}"))):
            assert program.call("ADD").status == 0
        assert program.call("DEL").status == 0
        assert program.tombstones() == [b"CNI_COMMAND=DEL\0\0" + CONFIG]


def test_the_socket_of_the_environment_is_built_in(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("RINGIPAM_SOCKET", str(tmp_path / "s"))

    install()

    program = Installed(tmp_path / "bin/ringipam", tmp_path / "s", tmp_path, language)
    assert f" at {tmp_path / 's'}: " in program.call("ADD").error["msg"]


def test_installing_again_changes_nothing(install: Install, tmp_path: Path) -> None:
    install()
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}

    done = install()

    assert (done.status, done.out.count(b" is there already")) == (0, 2)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_another_release_of_the_program_is_replaced(install: Install, tmp_path: Path) -> None:
    install("--socket", "/run/other")

    done = install("--socket", "/run/ringipam/ringipam.sock")

    assert b"wrote " in done.out
    assert b"/run/other" not in (tmp_path / "bin/ringipam").read_bytes()


def test_a_program_is_replaced_while_it_runs(install: Install, tmp_path: Path, language: str) -> None:
    install("--socket", str(tmp_path / "s"))
    program = Installed(tmp_path / "bin/ringipam", tmp_path / "s", tmp_path / "cni", language)
    asked, replaced = threading.Event(), threading.Event()

    def waits(connection: socket.socket) -> None:
        asked.set()
        replaced.wait()
        connection.sendall(answer(200, b"{}"))

    with daemon(tmp_path / "s", waits):
        running = program.start("ADD")
        assert running.stdin is not None
        running.stdin.close()
        running.stdin = None
        asked.wait()
        assert install("--socket", str(tmp_path / "t")).status == 0
        replaced.set()
        assert finish(running, b"").status == 0

    assert f" at {tmp_path / 't'}: " in program.call("ADD").error["msg"]


def test_a_lost_mode_is_mended(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "bin/ringipam").chmod(0o644)

    install()

    assert (tmp_path / "bin/ringipam").stat().st_mode & 0o7777 == 0o755


def test_what_is_tried_only_is_not_done(install: Install, language: str, tmp_path: Path) -> None:
    done = install("--dry-run")

    assert done.out.decode().split("\n")[0] == f"would write {tmp_path}/bin/ringipam, a program in {language}"
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_somebody_wrote_stays_unless_forced(install: Install, tmp_path: Path) -> None:
    conflist = tmp_path / "conf/10-ringipam.conflist"
    conflist.parent.mkdir()
    conflist.write_text("{}")

    done = install()

    assert done.status == 0
    assert done.err.decode() == (
        f"ringipam: {conflist} is left as it is, as somebody has changed it: --force replaces it\n"
    )
    assert conflist.read_text() == "{}"
    assert (tmp_path / "bin/ringipam").exists()
    install("--force")
    assert b'"ringipam"' in conflist.read_bytes()


@pytest.mark.parametrize("there", ["a program", "a link to one", "a broken link"])
def test_a_program_of_others_stays_unless_forced(install: Install, tmp_path: Path, there: str) -> None:
    other, path = tmp_path / "other", tmp_path / "bin/ringipam"
    path.parent.mkdir()
    if there != "a broken link":
        other.write_text("#!/bin/sh\nexec ringipam-command-line\n")
    if there == "a program":
        other.rename(path)
    else:
        path.symlink_to(other)

    done = install()

    assert (done.status, done.out) == (1, b"")
    assert done.err.decode() == f"ringipam: {path} is there, and no CNI program of ringipam's: --force replaces it\n"
    assert path.is_symlink() == (there != "a program")
    assert not (tmp_path / "conf").exists()
    assert install("--force").status == 0
    assert not path.is_symlink()
    if there == "a link to one":
        assert other.read_text().startswith("#!/bin/sh"), "the link was replaced, not what it leads to"


def test_a_host_that_writes_its_own_networks_gets_the_program_only(install: Install, tmp_path: Path) -> None:
    done = install("--no-conflist", "--json")

    assert json.loads(done.out)["conflist"] is None
    assert sorted(files(tmp_path)) == ["bin/ringipam"]


def test_json_says_what_was_done(install: Install, language: str, tmp_path: Path) -> None:
    install("--no-conflist", "--socket", "/run/s")

    done = install("--json", "--dry-run", "--socket", "/run/s", "--cni-dir", "/var/x")

    assert json.loads(done.out) == {
        "dry_run": True,
        "program": {"path": f"{tmp_path}/bin/ringipam", "done": "written", "language": language},
        "conflist": {"path": f"{tmp_path}/conf/10-ringipam.conflist", "done": "written"},
        "socket": "/run/s",
        "cni_dir": "/var/x",
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--socket", "s"], "--socket is an absolute path, as a runtime starts the program anywhere, not s"),
        (["--socket", "http://localhost:1"], "--socket is an absolute path, as a runtime starts the program anywhere"),
        (["--socket", "/" + "x" * 107], "--socket is a path of at most 107 bytes, not /xxx"),
        (["--socket", "/x\0"], "--socket is no path, as it holds a zero byte: '/x\\x00'"),
        (["--cni-dir", "cni"], "--cni-dir is an absolute path"),
        (["--cni-dir", "/" + "é" * 128], "--cni-dir is a path of at most 255 bytes"),
        (["--name=-x"], "--name begins with a letter or digit; dots, dashes and underscores may follow: '-x'"),
        (["--name", "a/b"], "--name begins with a letter or digit"),
        (["--name", "x\n"], "--name begins with a letter or digit"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    install: Install, tmp_path: Path, options: list[str], complaint: str
) -> None:
    done = install(*options)

    assert (done.status, done.out) == (1, b"")
    assert done.err.decode().startswith(f"ringipam: {complaint}")
    assert done.err.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("subnet", ["x", "10.32.0.1/12", "10.32.0.0/33"])
def test_what_is_no_subnet_is_wrong_usage(install: Install, tmp_path: Path, subnet: str) -> None:
    done = install("--subnet", subnet)

    assert (done.status, done.out, done.err.count(b"\n")) == (2, b"", 1)
    assert done.err.startswith(b"ringipam: argument --subnet: ")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_said(install: Install, tmp_path: Path) -> None:
    (tmp_path / "bin").write_text("a file")

    done = install()

    assert done.status == 1
    assert done.err.decode() == (
        f"ringipam: cannot write {tmp_path}/bin/ringipam: File exists; run this as root, or name another directory\n"
    )
    assert sorted(files(tmp_path)) == ["bin"]


def test_what_stands_in_the_way_is_said_and_no_scrap_is_left(install: Install, tmp_path: Path) -> None:
    (tmp_path / "bin/ringipam/x").mkdir(parents=True)

    refused, forced = install(), install("--force")

    assert (refused.status, forced.status) == (1, 1)
    assert forced.err.decode().startswith(f"ringipam: cannot read {tmp_path}/bin/ringipam: Is a directory")
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["ringipam"]


def test_a_program_of_another_release_is_not_patched_blindly(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x7fELF @RINGIPAM-SOCKET@ @RINGIPAM-SOCKET@".ljust(4096))
    monkeypatch.setattr(installation, "COMPILED", odd)

    done = install()

    assert done.err.decode() == f"ringipam: {odd} is not the program of this release: install ringipam anew\n"
    assert list(tmp_path.iterdir()) == [odd]


@pytest.mark.parametrize("interpreter", ["/opt/my python/python3", "/" + "x" * 250])
def test_an_interpreter_that_no_script_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installation, "COMPILED", tmp_path / "none")
    monkeypatch.setattr(sys, "executable", interpreter)

    assert main(["cni", "install", "--bin-dir", str(tmp_path / "bin"), "--no-conflist"]) == 1

    assert capsys.readouterr().err.startswith(f"ringipam: a script cannot name {interpreter} as its interpreter")
    assert list(tmp_path.iterdir()) == []
