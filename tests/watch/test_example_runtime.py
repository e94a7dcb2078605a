"""The runtime of docs/integrating.md does what that page says, with real namespaces and a real daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched_engines import until

from ringipam import Client

sys.path.insert(0, str(Path(__file__).parent.parent / "daemon"))

from process import Daemon

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = DOCS / "examples/nsrun.py"
IMPATIENT = f"""
source = open({str(EXAMPLE)!r}).read().replace("OLDER_THAN_S = 60.0", "OLDER_THAN_S = 0.0")
exec(compile(source, "nsrun.py", "exec"))
"""
"""The example, with every lease old enough to be looked at."""

pytestmark = pytest.mark.root


class Machine:
    """A network and a /run/netns of its own, in which the example runs."""

    def __init__(self, socket: Path, log: Path) -> None:
        self._keeper = subprocess.Popen(["unshare", "-nm", "--propagation", "private", "sleep", "600"])
        self._enter = ["nsenter", "-t", str(self._keeper.pid), "-n", "-m"]
        self._environment = {**os.environ, "RINGIPAM_SOCKET": str(socket), "PYTHONPATH": os.getcwd()}
        self._runtimes: list[subprocess.Popen[bytes]] = []
        self._log = log
        until(lambda: Path(f"/proc/{self._keeper.pid}/comm").read_text() == "sleep\n", "the machine is there")
        self("sh", "-c", "mkdir -p /run/netns; mount -t tmpfs none /run/netns")

    def __call__(self, *command: str) -> str:
        return subprocess.run([*self._enter, *command], capture_output=True, text=True, check=False).stdout

    def nsrun(self, *arguments: str, impatient: bool = False) -> subprocess.Popen[bytes]:
        program = ("-c", IMPATIENT) if impatient else (str(EXAMPLE),)
        command = [*self._enter, sys.executable, *program, *arguments]
        with self._log.open("ab") as log:
            runtime = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._runtimes.append(runtime)
        return runtime

    @property
    def log(self) -> str:
        return self._log.read_text()

    def up(self, name: str) -> list[int]:
        """The processes of a container."""
        return [int(pid) for pid in self("ip", "netns", "pids", f"nsrun-{name}").split()]

    def end(self) -> None:
        for name in self("ls", "/run/netns").split():
            for pid in self.up(name.removeprefix("nsrun-")):
                os.kill(pid, 9)
        for runtime in self._runtimes:
            runtime.wait(60)
        self._keeper.kill()
        self._keeper.wait(20)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    daemon = Daemon(tmp_path / "h1", options=("--listen", "127.0.0.1:0", "--watch", "none"))
    with daemon.start() as client:
        yield client
    daemon.kill()


@pytest.fixture
def machine(client: Client, tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "busybox"))):
        pytest.skip("needs root, iproute2, util-linux and busybox")
    machine = Machine(tmp_path / "h1/s", tmp_path / "log")
    yield machine
    machine.end()


def holders(client: Client) -> set[str]:
    return {lease.id for lease in client.leases()}


def test_containers_reach_each_other_and_give_their_addresses_back_when_they_end(
    machine: Machine, client: Client
) -> None:
    web = machine.nsrun("web", "sleep", "600")
    until(lambda: machine.up("web"), "web runs")
    [lease] = client.lookup("web")

    status = machine.nsrun("ping", "busybox", "ping", "-c", "1", "-w", "20", str(lease.address)).wait(60)
    after_ping = holders(client)
    os.kill(machine.up("web")[0], 9)
    web.wait(60)

    assert status == 0, machine.log
    assert lease.labels == {"runtime": "nsrun"}
    assert after_ping == {"web"}
    assert holders(client) == set()


def test_what_a_killed_runtime_left_is_kept_while_it_runs_and_given_back_after(
    machine: Machine, client: Client
) -> None:
    client.allocate("somebody-elses")
    for name in ("web", "db"):
        runtime = machine.nsrun(name, "sleep", "600")
        until(lambda name=name: machine.up(name), f"{name} runs")
        runtime.kill()
        runtime.wait(60)
    os.kill(machine.up("db")[0], 9)
    until(lambda: not machine.up("db"), "db is dead")

    patient = machine.nsrun("next", "true").wait(60)
    young = holders(client)
    impatient = machine.nsrun("next", "true", impatient=True).wait(60)
    old = holders(client)

    assert (patient, impatient) == (0, 0), machine.log
    assert young == {"somebody-elses", "web", "db"}
    assert old == {"somebody-elses", "web"}


def test_a_process_that_a_container_leaves_behind_has_no_address_when_that_is_given_back(
    machine: Machine, client: Client, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    command = f"sleep 600 & echo $! > {left}"

    status = machine.nsrun("web", "sh", "-c", command).wait(60)

    assert status == 0, machine.log
    pid = int(left.read_text())
    try:
        assert holders(client) == set()
        links = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-o", "link"], capture_output=True, check=True)
        assert b"eth0" not in links.stdout
    finally:
        os.kill(pid, 9)


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (DOCS / "integrating.md").read_text()

    assert f"```python\n{EXAMPLE.read_text()}```" in page
    assert not re.findall(r"\]\((?!http)([^)#]+\.md)", page) or all(
        (DOCS / target).exists() for target in re.findall(r"\]\((?!http)([^)#]+\.md)", page)
    )
