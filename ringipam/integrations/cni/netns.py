"""What this machine says of network namespaces: which one a path leads to, which are in use, and which boot this is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
QUICK = ("/proc/", "/run/", "/var/run/")
"""Where a path can be looked at without a wait for some disk or network."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The places to look at; tests have others. A namespace is named by "dev:inode", as `stat` says it."""

    proc: Path = PROC
    boot_id: Path = BOOT_ID

    def boot(self) -> str:
        """What is different after every start of the kernel; "" if this machine does not tell."""
        try:
            return self.boot_id.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def own(self) -> str:
        """The namespace of this process; "" if it cannot be told."""
        return _stat(str(self.proc / "self/ns/net"))

    def processes(self) -> str:
        """The process namespace of this process, which is all that its /proc shows; "" if it cannot be told."""
        return _stat(str(self.proc / "self/ns/pid"))

    def identify(self, path: str, caller: int) -> str:
        """The namespace that `path` leads to, "" if it leads to none, or to one that this process cannot judge of.

        The path is one of the process `caller`, which may have other mounts, and numbers of processes of its own; so it
        has to lead to the same from there and from here. `/proc/self` would be this process and not the caller. A file
        that is not of the kernel's file system of namespaces is what a bind mount of one would hide, did mounts come
        through to this process.
        """
        path = os.path.normpath(path)
        if not path.startswith("/") or path.startswith((f"{self.proc}/self/", f"{self.proc}/thread-self/")):
            return ""
        found, own = _stat(path), self.own()
        if not own or found.partition(":")[0] != own.partition(":")[0]:
            return ""
        directory, name = os.path.split(path)  # its links are followed here: from there they would lead back here
        return found if _stat(f"{self.proc}/{caller}/root{os.path.realpath(directory)}/{name}") == found else ""

    def leads_elsewhere(self, path: str, namespace: str) -> bool:
        """Whether nothing is at `path` any more, or another namespace. Anything that cannot be told is False."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except ProcessLookupError:  # of /proc, when the process ends while one looks
            return True
        except (OSError, ValueError):
            return False
        return _name(status) != namespace

    def in_use(self) -> set[str] | None:
        """The namespaces that have a thread in them, of all threads there are; None if not all can be seen.

        One thread that must not be looked at is enough for None: it may be the container's. Process 1 alone is not
        missed: it was there before this process, so no ADD was asked here for it. That it is listed at all shows that
        other users' processes are not hidden (proc(5), hidepid).
        """
        device = self.own().partition(":")[0]
        found: set[str] = set()
        if not device or not (self.proc / "1").is_dir():
            return None
        for process, task in self._tasks():
            try:
                link = os.readlink(f"{task}/ns/net")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended, or is about to: a thread that ends has no namespaces any more
            except OSError:
                if process == "1":
                    continue
                return None
            found.add(f"{device}:{link.partition('[')[2].rstrip(']')}")
        return found

    def _tasks(self) -> Iterator[tuple[str, str]]:
        """Every thread: the number of its process, and its directory."""
        for process in os.listdir(self.proc):
            if not process.isdecimal():
                continue
            place = f"{self.proc}/{process}/task"
            try:
                threads = os.listdir(place)
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield from ((process, f"{place}/{thread}") for thread in threads)


def is_quick(path: str) -> bool:
    return os.path.normpath(path).startswith(QUICK)


def _stat(path: str) -> str:
    try:
        return _name(os.stat(path))
    except (OSError, ValueError):
        return ""


def _name(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"
