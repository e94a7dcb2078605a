"""Podman and containerd on a machine, as their users run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from lab import RINGIPAM, until
from libcni import Attachment, Runtime
from machine import PLUGINS, Machine, Running

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "ip", "ping", "sleep", "cat", "echo")

CONTAINERS_CONF = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"

[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""

STORAGE_CONF = """
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""

ROOTFS = "/var/tmp/bb"
PAUSE = "localhost/pause:1"

# The native snapshotter, since a machine's disk is an overlay already.
CONTAINERD_CONFIG = f"""
version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""


def conflist(name: str = "ring", version: str = "1.0.0", ipam: dict[str, Any] | None = None) -> dict[str, Any]:
    """The network of the documentation: this machine's bridge, addresses from ringipam."""
    return {
        "cniVersion": version,
        "name": name,
        "plugins": [{"type": "bridge", "bridge": "br0", "ipam": ipam or {"type": "ringipam"}}],
    }


def install(machine: Machine, *networks: dict[str, Any]) -> None:
    """The standard plugins, ours beside them, and these networks."""
    install_standard_plugins(machine)
    install_ours(machine, "--no-conflist")
    for network in networks:
        machine.write(f"/etc/cni/net.d/10-{network['name']}.conflist", json.dumps(network))


def install_ours(machine: Machine, *options: str) -> str:
    paths = ("--socket", str(machine.socket), "--cni-dir", str(machine.data / "cni"))
    return machine.run(*RINGIPAM, "cni", "install", *paths, *options)


def install_standard_plugins(machine: Machine) -> None:
    machine.run("sh", "-c", f"ln -sf {PLUGINS}/* /opt/cni/bin/")


def collect_garbage(machine: Machine, network: str, valid: list[str]) -> None:
    """The verb GC, as a runtime sends it that knows these containers and no other.

    Said to the plugin itself, as the packaged ones speak older versions.
    """
    plugin = {"type": "ringipam", "ipam": {"type": "ringipam"}}
    runtime = Runtime(machine, {"cniVersion": "1.1.0", "name": network, "plugins": [plugin]})
    runtime.collect_garbage([Attachment(container) for container in valid])


def rootfs_tar() -> bytes:
    """A root file system that can say its address and ping."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("proc", "sys", "dev", "etc", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
    return made.getvalue()


def pause_image() -> bytes:
    """An image of one layer in the form of `docker save`, whose process does nothing."""
    layer = rootfs_tar()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "1000000"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in (
            ("layer.tar", layer),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    return made.getvalue()


@dataclass
class Podman:
    machine: Machine
    image: str = "bb"

    def prepare(self) -> None:
        self.machine.write("/etc/containers/containers.conf", CONTAINERS_CONF)
        self.machine.write("/etc/containers/storage.conf", STORAGE_CONF)
        archive = self.machine.directory / "rootfs.tar"
        archive.write_bytes(rootfs_tar())
        self("import", str(archive), self.image)

    def __call__(self, *arguments: str, check: bool = True) -> str:
        return self.machine.run("podman", *arguments, check=check).strip()

    def fails(self, *arguments: str) -> tuple[int, str]:
        """Exit status and standard error of a command that should not succeed."""
        command = (*self.machine.inside, "podman", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    def options(self, name: str, network: str = "ring") -> tuple[str, ...]:
        known = ("--name", name, "--network", network, "--cgroup-parent", self.machine.cgroup)
        return (*known, "--cap-add", "NET_RAW")  # busybox pings over a raw socket

    def run(self, name: str, *options: str, network: str = "ring") -> str:
        """Start a container that lives on; its address, as it sees it."""
        self("run", "-d", *self.options(name, network), *options, self.image, "sleep", "1000000")
        return self.address(name)

    def address(self, name: str) -> str:
        return _address(self("exec", name, "ip", "-o", "-4", "addr", "show", "eth0"))

    def pings(self, name: str, address: str) -> bool:
        """Sees the other within the time that a bridge needs to forward."""
        return bool(until(f"{name} reaches {address}", lambda: self._ping(name, address)))

    def _ping(self, name: str, address: str) -> bool:
        return "1 packets received" in self("exec", name, "ping", "-c1", "-W1", address, check=False)

    def id(self, name: str) -> str:
        return self("inspect", "--format", "{{.Id}}", name)

    def conmon(self, name: str) -> int:
        """The process id of the container's monitor, inside the machine."""
        return int(self("inspect", "--format", "{{.State.ConmonPid}}", name))


@dataclass
class Containerd:
    machine: Machine
    server: Running | None = None
    tasks: dict[str, Running] = field(default_factory=dict)

    def prepare(self) -> None:
        archive = self.machine.directory / "rootfs.tar"
        archive.write_bytes(rootfs_tar())
        self.machine.run("mkdir", "-p", ROOTFS)
        self.machine.run("tar", "-C", ROOTFS, "-xf", str(archive))

        self.machine.write("/etc/containerd/config.toml", CONTAINERD_CONFIG)

    def import_pause(self) -> None:
        """The image of pod sandboxes."""
        archive = self.machine.directory / "pause.tar"
        archive.write_bytes(pause_image())
        self("--namespace", "k8s.io", "images", "import", "--snapshotter", "native", str(archive))

    def launch(self) -> None:
        self.server = self.machine.start("containerd", log="log.containerd")
        until("containerd answers", lambda: "Server" in self("version", check=False))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.server is not None
        self.server.stop(how)
        self.server = None

    def __call__(self, *arguments: str, check: bool = True) -> str:
        return self.machine.run("ctr", *arguments, check=check).strip()

    def options(self, name: str) -> tuple[str, ...]:
        return ("--cni", "--cgroup", f"{self.machine.cgroup}/{name}", "--rootfs", ROOTFS, name)

    def run(self, name: str) -> str:
        """Start a container in the background, as `ctr run --detach` does; its address."""
        self("run", "--detach", *self.options(name), "/bin/sleep", "1000000")
        return self.address(name)

    def attend(self, name: str) -> str:
        """Start a container and stay with it, as `ctr run --rm` does: when it ends, its network is taken down."""
        log = f"log.{name}"
        self.tasks[name] = self.machine.start("ctr", "run", "--rm", *self.options(name), "/bin/sleep", "10000", log=log)
        return str(until(f"{name} runs", lambda: self.address_if_up(name)))

    def address(self, name: str) -> str:
        return str(until(f"{name} has an address", lambda: self.address_if_up(name)))

    def address_if_up(self, name: str) -> str:
        """Its address, or "" while it does not run."""
        serial = os.urandom(4).hex()
        shown = ("/bin/ip", "-o", "-4", "addr", "show", "eth0")
        return _address(self("tasks", "exec", "--exec-id", serial, name, *shown, check=False))

    def pings(self, name: str, address: str) -> bool:
        return bool(until(f"{name} reaches {address}", lambda: self._ping(name, address)))

    def _ping(self, name: str, address: str) -> bool:
        serial = os.urandom(4).hex()
        told = self("tasks", "exec", "--exec-id", serial, name, "/bin/ping", "-c1", "-W1", address, check=False)
        return "1 packets received" in told

    def end(self, name: str) -> None:
        """Kill a container's process; whoever attends to it clears up."""
        self("tasks", "kill", "--signal", "9", name)
        if name in self.tasks:
            self.tasks.pop(name).entered.wait(timeout=20)

    def clear(self) -> None:
        """Kill and forget every container."""
        for name in self("containers", "ls", "--quiet").split():
            self("tasks", "rm", "--force", name, check=False)
            self("containers", "rm", name, check=False)
        self.tasks.clear()


def _address(shown: str) -> str:
    """The address in the output of `ip -o addr`, or "" when there is none."""
    words = shown.split()
    return words[words.index("inet") + 1] if "inet" in words else ""
