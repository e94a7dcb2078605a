"""The doors of the API: the unix socket, which only its owner may open, and loopback TCP."""

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
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path`, mode 0600; removed on exit if it is still this one.

    What a dead daemon left behind is replaced. Raises StoreError if a daemon answers there, or if the path
    cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        sock = _bind(path)
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


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Before bind, so that there is no moment in which others could open it (unix(7), NOTES).
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(str(path))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
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
    raise StoreError(f"a daemon already answers at {path}; give this one another --socket")


def tcp_listener(endpoint: str) -> socket.socket:
    """A socket listening on a loopback `HOST:PORT`; raises RingIpamError."""
    host, port = parse_endpoint(endpoint, None)
    if host == "localhost":
        host = "127.0.0.1"  # every client tries it, and ::1 is not everywhere
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise RingIpamError(f"cannot listen on {endpoint}: {os.strerror(error.errno or 0)}") from None
    listener.setblocking(False)
    return listener
