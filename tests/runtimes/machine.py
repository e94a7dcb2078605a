"""A whole host for container runtimes: besides its network, mounts, processes, a disk and a /run of its own.

Runtimes have paths that nobody can choose (/opt/cni/bin, /etc/cni/net.d, /run/netns, /var/lib/cni). On a machine
those are its own: /etc, /opt and /var are this system's with the machine's writes on top, kept on its disk; /run is
empty after every boot. Ending its first process ends every process in it, as a power cut does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Host, Lab, run, until

PLUGINS = Path("/usr/lib/cni")

# The daemon, which looks for containers that are gone twice a second instead of twice a minute: set before it is read.
IMPATIENT = """
import sys
from ringipam.integrations.cni import reaper
reaper.LOOK_S = 0.5
from ringipam.cli import main
sys.exit(main(sys.argv[1:]))
"""

# Says its process id as the outside counts, then makes the machine's mounts and waits for children that nobody
# else waits for: the shell reaps every orphan while it waits.
FIRST_PROCESS = """
set -e
read -r pid rest </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
for d in etc opt var; do
    mkdir -p "$1/disk/$d" "$1/work/$d"
    mount -t overlay overlay -o "lowerdir=/$d,upperdir=$1/disk/$d,workdir=$1/work/$d" "/$d"
done
mkdir -p /run/netns /run/lock
[ -e "$1/disk/installed" ] || rm -rf /etc/cni /opt/cni
touch "$1/disk/installed"
mkdir -p /opt/cni/bin /etc/cni/net.d
mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id
mount --make-rshared /
echo "$pid"
sleep infinity &
wait $!
"""


@dataclass
class Machine(Host):
    """A host that has everything a container runtime touches; `boot` and `power_off` besides what hosts do."""

    power: subprocess.Popen[str] | None = None
    first_pid: int = 0
    entered: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def inside(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.first_pid), "--mount", "--pid", "--net", f"--wdns={Path.cwd()}", "--")

    @property
    def disk(self) -> Path:
        """What the machine wrote to /etc, /opt and /var."""
        return self.directory / "disk"

    def command(self, *options: str) -> list[str]:
        ordinary = super().command(*options)
        at = ordinary.index("-m")
        return [*ordinary[:at], "-c", IMPATIENT, *ordinary[at + 2 :]]

    def answers(self) -> bool:
        """As for any host, but asked without a command, which would take longer than all else here."""
        if self.daemon is not None and self.daemon.poll() is not None:
            raise AssertionError(f"{self.name} exited {self.daemon.returncode}: {self.log}")
        try:
            return bool(self.view("status"))
        except OSError:
            return False

    def leases(self) -> list[dict[str, Any]]:
        leases: list[dict[str, Any]] = self.view("leases")["leases"]
        return leases

    def boot(self) -> None:
        (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        command = [
            *("nsenter", f"--net=/run/netns/{self.namespace}"),
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", FIRST_PROCESS, "init", str(self.directory)),
        ]
        with (self.directory / "log.boot").open("a") as log:
            self.power = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.power.stdout is not None
        said = self.power.stdout.readline().strip()
        assert said, (self.directory / "log.boot").read_text()
        self.first_pid = int(said)

    def power_off(self) -> None:
        """Every process of the machine is killed, and all that was in memory is gone."""
        if self.power is None:
            return
        os.kill(self.first_pid, signal.SIGKILL)
        self.power.wait(timeout=20)
        assert self.power.stdout is not None
        self.power.stdout.close()
        self.power = None
        processes: list[subprocess.Popen[Any]] = [*self.entered, *([self.daemon] if self.daemon else [])]
        for process in processes:
            process.wait(timeout=20)
        self.entered, self.daemon = [], None
        self.socket.unlink(missing_ok=True)
        self._remove_cgroups()

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def forget(self, path: str) -> None:
        """Lose what a machine that is off wrote under this path."""
        shutil.rmtree(self.disk / path)

    @property
    def cgroup(self) -> str:
        """The control group of everything that runtimes start here."""
        return f"/{self.namespace}"

    def _remove_cgroups(self) -> None:
        """The empty control groups that killed containers leave behind."""
        roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
        for top in (root / self.namespace for root in roots):
            for directory, _, _ in os.walk(top, topdown=False):
                _remove_cgroup(directory)

    # ── at work ──────────────────────────────────────────────────────────────────────────────────

    def run(self, *command: str, check: bool = True, input_text: str | None = None) -> str:
        return run(*self.inside, *command, check=check, input_text=input_text)

    def start(self, *command: str, log: str = "log.other") -> Running:
        """A process of the machine that goes on."""
        with (self.directory / log).open("a") as out:
            process = subprocess.Popen([*self.inside, *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.entered.append(process)
        return Running(process)

    def root(self, path: str) -> Path:
        """A path of the machine as the outside sees it."""
        return Path(f"/proc/{self.first_pid}/root{path}")

    def pids_of(self, program: str) -> list[int]:
        """The machine's processes that run this program, as it counts them itself."""
        found = []
        for entry in self.root("/proc").glob("[0-9]*/comm"):
            with suppress(OSError):  # gone meanwhile
                if entry.read_text().strip() == program[:15]:
                    found.append(int(entry.parent.name))
        return found

    def write(self, path: str, text: str) -> None:
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("sh", "-c", 'cat > "$1"', "sh", path, input_text=text)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon, which is the child of the command that entered the machine; its exit status."""
        assert self.daemon is not None
        status = Running(self.daemon).stop(how)
        self.daemon = None
        return status


class Site(Lab):
    """Machines h1, h2, … on one switch; they are made on entry, and yet to be switched on."""

    def __init__(self, directory: Path, machines: int, iprange: str) -> None:
        super().__init__(directory, machines, iprange, Machine)

    @property
    def machines(self) -> list[Machine]:
        return [host for host in self.hosts if isinstance(host, Machine)]


@dataclass
class Running:
    """A process in a machine, started from outside by a command that waits for it."""

    entered: subprocess.Popen[str] | subprocess.Popen[bytes]

    def pid(self) -> int:
        """The process's id as the outside counts."""
        children = Path(f"/proc/{self.entered.pid}/task/{self.entered.pid}/children")
        return int(until("it runs in the machine", lambda: children.read_text().split())[0])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.entered.poll() is None:
            os.kill(self.pid(), how)
        return self.entered.wait(timeout=20)


def _remove_cgroup(directory: str) -> None:
    """The kernel refuses for a moment after the last process of a group was killed."""
    for _ in range(100):
        try:
            os.rmdir(directory)
        except OSError:
            time.sleep(0.02)
        else:
            return


def missing(*programs: str) -> str:
    """Which of these programs, or plugins given as `cni:NAME`, this system lacks."""
    found = {name: _found(name) for name in programs}
    return ", ".join(name.removeprefix("cni:") for name, there in found.items() if not there)


def _found(name: str) -> bool:
    plugin = name.removeprefix("cni:")
    return (PLUGINS / plugin).exists() if plugin != name else shutil.which(name) is not None
