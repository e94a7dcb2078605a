"""The doors of the API: the unix socket, with the mode and group it is given, and TCP."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ringipam.config import parse_endpoint
from ringipam.errors import RingIpamError, StoreError

BACKLOG = 256


@contextmanager
def unix_listener(
    path: Path, mode: int = 0o600, group: int | None = None, option: str = "--socket"
) -> Iterator[socket.socket]:
    """A listening socket at `path`; removed on exit if it is still this one.

    A directory that is made for it lets through whom `mode` lets in. What a dead daemon left behind is replaced.
    Raises StoreError if a daemon answers there, or if the path cannot be used; `option` is where it came from.
    """
    try:
        _make_directory(path.parent, mode, group)
        _remove_stale(path, option)
        sock = _bind(path, mode, group)
    except OSError as error:
        raise StoreError(f"cannot listen at {path}: {error.strerror or error}") from None
    mine = path.stat().st_ino
    try:
        with sock:
            yield sock
    finally:
        with suppress(FileNotFoundError):
            if path.stat().st_ino == mine:
                path.unlink()


def _make_directory(path: Path, mode: int, group: int | None) -> None:
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(0o700 | (0o010 if mode & 0o070 else 0) | (0o001 if mode & 0o007 else 0))


def _bind(path: Path, mode: int, group: int | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Before bind, so that there is no moment in which others could open it (unix(7), NOTES).
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(str(path))
        try:
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(mode)  # what bind gives is less by the umask
        except OSError:
            path.unlink()
            raise
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path, option: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StoreError(f"cannot listen at {path}: something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass  # something listens but is too busy to accept
    raise StoreError(f"a daemon already answers at {path}; give this one another {option}")


def tcp_listener(endpoint: str) -> socket.socket:
    """A socket listening on `HOST:PORT`; raises RingIpamError."""
    host, port = parse_endpoint(endpoint, None)
    if host == "localhost":
        host = "127.0.0.1"  # every client tries it, and ::1 is not everywhere
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
        raise RingIpamError(
            f"cannot listen on {endpoint}: {getattr(error, 'strerror', None) or 'no such name'}"
        ) from None
    except OSError as error:
        raise RingIpamError(f"cannot listen on {endpoint}: {os.strerror(error.errno or 0)}") from None
    listener.setblocking(False)
    return listener
