"""The unix socket: for its owner only, replaced when its daemon is dead, never taken from a living one."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ringipam.errors import RingIpamError, StoreError
from ringipam.server.listener import tcp_listener, unix_listener


def test_only_the_owner_may_open_the_socket_and_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s"

    with unix_listener(path):
        assert stat.filemode(path.stat().st_mode) == "srw-------"
        assert stat.filemode(path.parent.stat().st_mode) == "drwx------"


@pytest.mark.parametrize(
    ("mode", "shown", "directory"), [(0o660, "srw-rw----", "drwx--x---"), (0o666, "srw-rw-rw-", "drwx--x--x")]
)
def test_the_socket_has_the_mode_it_is_given_whatever_the_umask(
    tmp_path: Path, mode: int, shown: str, directory: str
) -> None:
    path = tmp_path / "run" / "s"
    before = os.umask(0o077)
    try:
        with unix_listener(path, mode):
            assert stat.filemode(path.stat().st_mode) == shown
            assert stat.filemode(path.parent.stat().st_mode) == directory
    finally:
        os.umask(before)


@pytest.mark.root
def test_the_group_of_the_socket_may_open_it_and_others_may_not(tmp_path: Path) -> None:
    path = Path(tempfile.mkdtemp(dir="/tmp")) / "run" / "s"  # below tmp_path nobody else may look
    path.parent.parent.chmod(0o755)
    try:
        with unix_listener(path, 0o660, 12345):
            assert (path.stat().st_gid, path.parent.stat().st_gid) == (12345, 12345)
            assert opens(path, group=12345)
            assert not opens(path, group=12346)
    finally:
        shutil.rmtree(path.parent.parent)


def opens(path: Path, group: int) -> bool:
    """Whether a user of no name in `group` can connect."""
    become = f"import os, socket; os.setgroups([]); os.setgid({group}); os.setuid(54321)"
    connect = f"socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", f"{become}; {connect}"], capture_output=True, check=False)
    assert done.returncode == 0 or b"PermissionError" in done.stderr
    return done.returncode == 0


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with unix_listener(tmp_path / "s"):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    with unix_listener(tmp_path / "s"):
        pass

    assert not (tmp_path / "s").exists()


def test_what_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    with unix_listener(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_daemon_keeps_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with unix_listener(path):
        with pytest.raises(StoreError, match=f"a daemon already answers at {path}"), unix_listener(path):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_in_the_way_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    with pytest.raises(StoreError, match="something else"), unix_listener(tmp_path / "s"):
        pass
    assert (tmp_path / "s").read_text() == "precious"


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with unix_listener(path):
        path.rename(tmp_path / "kept, so that its inode is not used again")
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(path))

    assert path.exists()
    successor.close()


def test_a_path_that_cannot_be_a_socket_is_an_error_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 200), Path("/proc/nowhere/s")):
        with pytest.raises(StoreError, match="cannot listen at") as caught, unix_listener(path):
            pass
        assert "\n" not in str(caught.value)


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with tcp_listener("127.0.0.1:0") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RingIpamError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            tcp_listener(f"127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["host.invalid", "x" * 70, "fe80::1%none"])
def test_a_name_that_leads_nowhere_is_one_line(host: str) -> None:
    with pytest.raises(RingIpamError, match="cannot listen on") as told:
        tcp_listener(f"[{host}]:1" if ":" in host else f"{host}:1")
    assert "\n" not in told.value.message
