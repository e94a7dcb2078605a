"""A real Docker and a real Podman of a test's own: other directories, no network, an image of busybox alone."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

WAIT_S = 60.0
CONTAINERS_CONF = """\
[network]
network_backend = "cni"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
"""


class RealEngine(ABC):
    """`start` and `kill` it as often as you like; its containers stay in `directory`."""

    needs: tuple[str, ...]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "engine.sock"
        self.containers: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _client(self) -> list[str]: ...

    @property
    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        with (self.directory / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=self._environment)
        until(self._answers, f"{self._command()[0]} answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "engine.log").read_text()[-2000:]
        return self.socket.is_socket() and self._run("ps").returncode == 0

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(WAIT_S)

    def load(self) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(shutil.which("busybox") or "", "bin/busybox")
            for name in ("sleep", "false"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        done = self._run("import", "-", "bb", given=archive.getvalue())
        assert done.returncode == 0, done.stderr

    def create(self, *command: str, options: tuple[str, ...] = ()) -> str:
        container = self("create", "--net", "none", *options, "bb", *(command or ("sleep", "1000")))
        self.containers.append(container)
        return container

    def __call__(self, *arguments: str) -> str:
        done = self._run(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.decode().strip()

    def _run(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [*self._client(), *arguments]
        return subprocess.run(
            command, input=given, capture_output=True, check=False, timeout=WAIT_S, env=self._environment
        )

    def end(self) -> None:
        """Remove every container, then stop."""
        if self._process is None:
            return
        if self._process.poll() is not None:
            self.start()
        for container in self.containers:
            self._run("rm", "-f", container)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Docker(RealEngine):
    needs = ("dockerd", "docker")

    def _command(self) -> list[str]:
        at, namespace = self.directory, f"watched-{os.getpid()}"
        return [
            *("dockerd", "--iptables=false", "--bridge=none", "-H", f"unix://{self.socket}"),
            *("--data-root", f"{at}/data", "--exec-root", f"{at}/exec", "--pidfile", f"{at}/pid"),
            *("--containerd-namespace", namespace, "--containerd-plugins-namespace", f"{namespace}-plugins"),
        ]

    def _client(self) -> list[str]:
        return ["docker", "-H", f"unix://{self.socket}"]

    def start(self) -> None:
        # Of a daemon that was killed, and of its containerd: it would wait for that one.
        for stale in ("pid", "exec/containerd/containerd.pid"):
            (self.directory / stale).unlink(missing_ok=True)
        super().start()

    def end(self) -> None:
        super().end()
        # A daemon mounts its directory over itself, and one that was killed leaves that behind.
        umount = ["umount", str(self.directory / "data")]
        while subprocess.run(umount, capture_output=True, check=False).returncode == 0:
            pass


class Podman(RealEngine):
    needs = ("podman", "runc")

    def _command(self) -> list[str]:
        return [*self._client(), "system", "service", "--time", "0", f"unix://{self.socket}"]

    def _client(self) -> list[str]:
        at = self.directory
        return [
            *("podman", "--root", f"{at}/root", "--runroot", f"{at}/run", "--tmpdir", f"{at}/tmp"),
            *("--storage-driver", "vfs", "--runtime", "runc", "--events-backend", "file"),
        ]

    @property
    def _environment(self) -> dict[str, str]:
        configuration = self.directory / "containers.conf"
        configuration.write_text(CONTAINERS_CONF)
        return {**os.environ, "CONTAINERS_CONF": str(configuration)}


def until(happened, what: str) -> None:  # type: ignore[no-untyped-def]
    """Wait for `happened()`; the limit is for what never happens."""
    end = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < end, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.1)
