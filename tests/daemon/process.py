"""One real daemon as a child process on loopback, for tests that kill it, fill its disk and damage its data."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ringipam import Client, DaemonUnreachableError

PROGRAM = (sys.executable, "-m", "ringipam")


@dataclass
class Daemon:
    """`start` and `kill` it as often as you like; its data stay in `directory`."""

    directory: Path
    iprange: str = "10.32.0.0/12"
    options: tuple[str, ...] = ("--listen", "127.0.0.1:0")
    process: subprocess.Popen[str] | None = None
    name: str = "h1"
    program: tuple[str, ...] = PROGRAM

    @property
    def socket(self) -> Path:
        return self.directory / "s"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def command(self) -> list[str]:
        where = ("--data-dir", str(self.data), "--socket", str(self.socket))
        return [*self.program, "launch", "--iprange", self.iprange, "--name", self.name, *where, *self.options]

    def start(self) -> Client:
        """Launch and wait for the first answer; the caller closes the client."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, text=True)
        client = Client(self.socket)
        end = time.monotonic() + 30
        while True:
            try:
                client.status()
                return client
            except DaemonUnreachableError:
                assert self.process.poll() is None, self.log
                assert time.monotonic() < end, f"no answer within 30 s: {self.log}"
                time.sleep(0.01)

    def refuses_to_start(self) -> str:
        """Launch what cannot start; the one line it says."""
        done = subprocess.run(self.command(), capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 1, (done.returncode, done.stderr)
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ringipam: ")]
        assert len(complaints) == 1, done.stderr
        assert "Traceback" not in done.stderr
        return complaints[0]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)
