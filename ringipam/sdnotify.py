"""Tells the service manager how the daemon is (sd_notify(3)). Knows nothing of nodes; silent where nobody asks."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger("ringipam")


def notify(*assignments: str) -> None:
    """Send `NAME=VALUE` lines in one datagram, if there is a service manager."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.setblocking(False)  # a manager that reads nothing must not hold up the event loop
            manager.sendto("\n".join(assignments).encode(), address)
    except OSError as error:
        logger.warning("cannot notify the service manager at %s: %s", path, error.strerror)


def is_wanted() -> bool:
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_s() -> float | None:
    """Within how many seconds `WATCHDOG=1` is expected each time; None if this process is not watched."""
    try:
        interval_s = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
        watched = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return interval_s if interval_s > 0 and watched == os.getpid() else None
