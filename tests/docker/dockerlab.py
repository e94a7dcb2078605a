"""Hosts with a real Docker engine and a real ringipam daemon each, side by side on one machine.

A host is a network, a mount and a process namespace: its own /run, where both daemons have their usual sockets. What is
made is under a prefix of its own and removed again; ending a host's first process ends everything in it, as a power
cut does, and what is on its disk stays.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_serial = itertools.count()

QUICK = """
import ringipam.integrations.docker.keeper as keeper
keeper.LOOK_S, keeper.RETRY_S, keeper.SOON_S, keeper.GRACE_S = 0.5, 0.2, 0.1, 5.0
"""
"""Looks at Docker that take seconds, not minutes."""
MORTAL = """
import os, signal
from ringipam.integrations.docker.driver import Driver
def mortal(call):
    async def die(*arguments):
        if {done}:
            await call(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    return die
Driver.{call} = mortal(Driver.{call})
"""
"""A daemon that dies on a call, before or after it has done what is asked."""
SLOW = """
import pathlib, trio
from ringipam.integrations.docker.driver import Driver
def slow(call):
    async def wait(*arguments):
        if {done}:
            await call(*arguments)
        pathlib.Path({mark!r}).touch()
        await trio.sleep_forever()
    return wait
Driver.{call} = slow(Driver.{call})
"""
"""A daemon that leaves a mark at a call, and never answers it."""
MAIN = """
from ringipam.cli import main
raise SystemExit(main())
"""
PLUGIN = "/run/docker/plugins/ringipam.sock"
USUAL = "/run/ringipam/ringipam.sock"
IMAGE = "bb"
PROGRAMS = ("dockerd", "docker", "busybox", "nsenter", "unshare", "ip")


def missing() -> str:
    """What these hosts need and this machine lacks, in words; empty if there is all of it."""
    if os.geteuid() != 0:
        return "root"
    return ", ".join(program for program in PROGRAMS if shutil.which(program) is None)


class CommandError(AssertionError):
    """A command failed; the text is what it said on standard error."""


def run(*command: str, input_bytes: bytes | None = None) -> str:
    done = subprocess.run(command, input=input_bytes, capture_output=True, check=False, timeout=120)
    if done.returncode:
        raise CommandError(done.stderr.decode().strip() or f"{command} exited {done.returncode}")
    return done.stdout.decode()


def until(what: str, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Wait for a truthy answer; fails with `what` when it does not come."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=90)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def speak(path: str, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of the answer of who listens at `path`."""
    with contextlib.closing(Unix(path)) as connection:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


class Host:
    """One of a lab's hosts: `boot` and `cut_power`, `start_docker` and `start_ringipam`, and what to do with both."""

    def __init__(self, lab: DockerLab, number: int) -> None:
        self.lab = lab
        self.name = f"h{number}"
        self.number = number
        self.namespace = f"{lab.prefix}-{self.name}"
        self.directory = lab.directory / self.name
        self.directory.mkdir()
        self.options: tuple[str, ...] = ()
        """More options of the ringipam daemon."""
        self._first: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._docker: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None
        self._usual = False

    # ── power ────────────────────────────────────────────────────────────────────────────────────

    def boot(self) -> None:
        """A new /run and /etc/docker, and no process but one."""
        # a first process that reaps orphans: an engine waits for the end of a containerd that is a zombie
        mounts = "mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker && mount -t tmpfs tmpfs /run"
        script = mounts + " && touch /run/booted; while :; do sleep 3600 & wait $!; done"
        flags = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
        self._first = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", *flags, "sh", "-c", script]
        )
        first = self._first
        self._pid = until("a process of its own", lambda: _children(first.pid))[0]
        until("its own /run", Path(f"/proc/{self._pid}/root/run/booted").exists)

    def cut_power(self) -> None:
        """Everything ends at once; the data directories stay."""
        if self.daemon is not None:
            self.kill_ringipam()
        if self._first is not None:
            self._first.kill()
            self._first.wait(20)
            self._first = None
        if self._docker is not None:
            self._docker.wait(20)
            self._docker = None
        for link in ("dk0", "dk1", "dk2"):
            with contextlib.suppress(CommandError):
                run("ip", "-n", self.namespace, "link", "del", link)

    def _enter(self, *command: str, processes: bool) -> list[str]:
        return ["nsenter", "-t", str(self._pid), "-m", "-n", *(["-p"] if processes else []), "--", *command]

    def enter(self, *command: str) -> str:
        return run(*self._enter(*command, processes=False))

    # ── Docker ───────────────────────────────────────────────────────────────────────────────────

    @property
    def docker_socket(self) -> Path:
        return self.directory / "d"

    def start_docker(self, *options: str) -> None:
        """Start the engine and wait until it answers."""
        command = self._enter(
            *("dockerd", "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"),
            *("-H", "unix:///var/run/docker.sock", "-H", f"unix://{self.docker_socket}"),
            *("--data-root", str(self.directory / "docker"), "--exec-root", "/run/docker-exec"),
            *("--pidfile", "/run/docker.pid", "--cgroup-parent", f"/{self.namespace}", *options),
            processes=True,
        )
        with (self.directory / "docker.log").open("ab") as log:
            self._docker = subprocess.Popen(command, stdout=log, stderr=log)
        until(f"dockerd answers: {self.directory}/docker.log", self._docker_answers, 120)

    def _docker_answers(self) -> bool:
        assert self._docker is not None
        assert self._docker.poll() is None, (self.directory / "docker.log").read_text()[-3000:]
        with contextlib.suppress(OSError):
            return speak(str(self.docker_socket), "GET", "/info")[0] == 200
        return False

    def end_docker(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGKILL leaves its containers running."""
        assert self._docker is not None
        for pid in _children(self._docker.pid):
            os.kill(pid, how)
        self._docker.wait(60)
        self._docker = None
        with contextlib.suppress(CommandError):
            self.enter("rm", "-f", "/run/docker.pid")  # of a killed one: its number may be another process's by now

    def docker(self, *arguments: str) -> str:
        return run("docker", "-H", f"unix://{self.docker_socket}", *arguments).strip()

    def import_image(self) -> None:
        root = self.lab.directory / "root"
        if not root.exists():
            (root / "bin").mkdir(parents=True)
            shutil.copy(str(shutil.which("busybox")), root / "bin/busybox")
            for applet in ("sh", "sleep", "ping", "ip"):
                (root / "bin" / applet).symlink_to("busybox")
        image = subprocess.run(["tar", "-C", str(root), "-c", "."], capture_output=True, check=True).stdout
        run("docker", "-H", f"unix://{self.docker_socket}", "import", "-", IMAGE, input_bytes=image)

    def network(self, name: str, *options: str) -> str:
        """Make a network with this IPAM driver; its id."""
        return self.docker("network", "create", "--ipam-driver", "ringipam", *options, name)

    def container(self, name: str, network: str, *options: str) -> str:
        """Start a container; its IPv4 address."""
        quick = ("--stop-signal", "KILL")  # a first process ignores TERM, and Docker waits for it
        self.docker("run", "-d", *quick, "--network", network, "--name", name, *options, IMAGE, "sleep", "3600")
        return self.address(name, network)

    def address(self, name: str, network: str, family: int = 4) -> str:
        networks = json.loads(self.docker("inspect", name))[0]["NetworkSettings"]["Networks"]
        return str(networks[network]["IPAddress" if family == 4 else "GlobalIPv6Address"])

    def join(self, bridge: str) -> None:
        """Put this host's second cable into a bridge of its Docker."""
        self.enter("ip", "link", "set", "eth1", "master", bridge)
        self.enter("ip", "link", "set", "eth1", "up")

    # ── ringipam ─────────────────────────────────────────────────────────────────────────────────

    @property
    def socket(self) -> Path:
        return Path(f"/proc/{self._pid}/root{USUAL}") if self._usual else self.directory / "s"

    @property
    def log(self) -> str:
        return (self.directory / "ringipam.log").read_text()

    def start_ringipam(self, *, wait: bool = True, plugin: str | None = PLUGIN, more: str = "") -> None:
        """With `--docker-plugin` unless `plugin` is None: then with the usual `--socket`, as the daemon of the host."""
        peers = [f"192.168.78.{host.number}" for host in self.lab.hosts if host is not self]
        where = ("--listen", f"192.168.78.{self.number}:6783", "--insecure") if peers else ("--listen", "127.0.0.1:0")
        told = () if plugin is None else ("--docker-plugin", plugin)
        self._usual = plugin is None
        socket_path = Path(USUAL) if self._usual else self.socket
        self.daemon = self._launch("ringipam", socket_path, *where, *told, *peers, more=more)
        if wait:
            until(f"ringipam answers: {self.log}", self.answers)

    def _launch(self, name: str, socket_path: Path, *options: str, more: str = "") -> subprocess.Popen[bytes]:
        command = self._enter(
            *(sys.executable, "-c", QUICK + more + MAIN, "launch"),
            *("--iprange", self.lab.iprange, "--name", self.name, *self.options),
            *("--data-dir", str(self.directory / name), "--cni-dir", str(self.directory / f"{name}-cni")),
            *("--socket", str(socket_path), *options),
            processes=False,
        )
        # entering a mount namespace changes the directory, from which the package is imported otherwise
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def other_ringipam(self, *options: str) -> subprocess.Popen[bytes]:
        """A second daemon on this host; the caller ends it."""
        return self._launch("other", self.directory / "o", "--listen", "127.0.0.1:0", *options)

    @property
    def other_log(self) -> str:
        return (self.directory / "other.log").read_text()

    def answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log
        with contextlib.suppress(OSError):
            return speak(str(self.socket), "GET", "/v1/status")[0] == 200
        return False

    def kill_ringipam(self) -> None:
        self._end_ringipam(signal.SIGKILL)

    def stop_ringipam(self) -> None:
        self._end_ringipam(signal.SIGTERM)

    def _end_ringipam(self, how: signal.Signals) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(how)
        self.daemon.wait(30)
        self.daemon = None

    def plugin(self, call: str, **fields: object) -> dict[str, Any]:
        """What Docker would be answered."""
        path = f"/proc/{self._pid}/root{PLUGIN}"
        status, answer = speak(path, "POST", f"/{call}", json.dumps(fields).encode())
        assert status == 200, answer
        return dict(answer)

    def leases(self, **labels: str) -> list[dict[str, Any]]:
        """Those made for Docker here, with these labels (`role="gateway"`)."""
        status, answer = speak(str(self.socket), "GET", "/v1/leases")
        assert status == 200, answer
        wanted = {"ringipam.via": "docker", **{f"ringipam.{key}": value for key, value in labels.items()}}
        return [lease for lease in answer["leases"] if wanted.items() <= lease["labels"].items()]

    def endpoints(self) -> set[str]:
        """The addresses of containers, as far as leases tell."""
        return {lease["address"] for lease in self.leases(role="endpoint")}

    def lose_an_answer(self, subnet: str) -> str:
        """An address is given to Docker, which never learns of it."""
        fields = {"AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": None, "V6": ":" in subnet}
        pool = self.plugin("IpamDriver.RequestPool", **fields)["PoolID"]
        answer = self.plugin("IpamDriver.RequestAddress", PoolID=pool, Address="", Options=None)
        return str(answer["Address"]).partition("/")[0]

    def wait_for_looks(self, subnet: str = "10.47.255.0/24") -> None:
        """Returns when whatever Docker did not know before this call has been freed."""
        lost = self.lose_an_answer(subnet)
        until(f"{lost} is freed: {self.log}", lambda: lost not in self.endpoints())

    def remove(self) -> None:
        self.cut_power()
        until("its control groups are gone", self._without_control_groups)

    def _without_control_groups(self) -> bool:
        """Those of containers that are still ending cannot be removed yet."""
        paths = [*Path("/sys/fs/cgroup").glob(f"*/{self.namespace}"), *Path("/sys/fs/cgroup").glob(self.namespace)]
        for path in paths:
            for directory, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        return not any(path.exists() for path in paths)


class DockerLab:
    """So many hosts, booted on entry; two switches: one for the daemons, one for the containers."""

    def __init__(self, hosts: int, iprange: str = "10.32.0.0/12") -> None:
        self.prefix = f"rd{os.getpid()}x{next(_serial)}"
        self.iprange = iprange
        self.directory = Path(tempfile.mkdtemp(prefix="rd", dir="/tmp"))  # short: paths of sockets are limited
        self.hosts = [Host(self, number) for number in range(1, hosts + 1)]

    def __enter__(self) -> DockerLab:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def _build(self) -> None:
        switch = f"{self.prefix}-sw"
        run("ip", "netns", "add", switch)
        for bridge in ("br0", "br1"):
            run("ip", "-n", switch, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            run("ip", "-n", switch, "link", "set", bridge, "up")
        for host in self.hosts:
            run("ip", "netns", "add", host.namespace)
            run("ip", "-n", host.namespace, "link", "set", "lo", "up")
            for cable in (0, 1):
                peer = f"p{host.number}x{cable}"
                link = ("link", "add", f"eth{cable}", "type", "veth", "peer", "name", peer, "netns", switch)
                run("ip", "-n", host.namespace, *link)
                run("ip", "-n", switch, "link", "set", peer, "master", f"br{cable}", "up")
            run("ip", "-n", host.namespace, "addr", "add", f"192.168.78.{host.number}/24", "dev", "eth0")
            run("ip", "-n", host.namespace, "link", "set", "eth0", "up")
        for host in self.hosts:
            host.boot()

    def start(self, *docker_options: str) -> Sequence[Host]:
        """Both daemons on every host."""
        for host in self.hosts:
            host.start_ringipam(wait=False)
            host.start_docker(*docker_options)
            host.import_image()
        for host in self.hosts:
            until(f"ringipam answers: {host.log}", host.answers)
        return self.hosts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for host in self.hosts:
            host.remove()
            with contextlib.suppress(CommandError):
                run("ip", "netns", "del", host.namespace)
        with contextlib.suppress(CommandError):
            run("ip", "netns", "del", f"{self.prefix}-sw")
        shutil.rmtree(self.directory, ignore_errors=True)
