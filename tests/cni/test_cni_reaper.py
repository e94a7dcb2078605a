"""What no runtime will release is released, after a reboot and where a namespace is gone, and nothing that may run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from calling import Host, a_host, conf, machine_of

from ringipam.core.events import Answer, Leases, Release, Verb
from ringipam.errors import StoreError
from ringipam.integrations.cni.netns import Machine
from ringipam.integrations.cni.service import open_cni

TWO = {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.3.0/24"}]]}

# ── after a reboot ────────────────────────────────────────────────────────────────────────────────


async def test_after_a_reboot_what_no_runtime_adds_again_is_released_and_the_rest_kept(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        for container in ("c1", "c2"):
            await cni("ADD", conf(ipam=TWO), container=container)
        by_hand = await cni.node.allocate("by-hand")
        before = await cni.addresses()

    async with a_host(tmp_path, boot="boot-2") as cni:
        again = await cni("ADD", conf(ipam=TWO), container="c1")
        freed = await cni.reaper().look()

        assert [ip["address"].partition("/")[0] in before for ip in again.json["ips"]] == [True, True]
        assert [lease.id for lease in freed] == ["c2", "c2"]
        assert sorted({lease.id for lease in await cni.leases()}) == ["by-hand", "c1"]
        assert by_hand in await cni.leases()


async def test_runtimes_have_time_to_add_again(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path, boot="boot-2") as cni:
        assert await cni.reaper(after_s=300.0).look() == []
        assert len(await cni.leases()) == 1


async def test_a_restart_of_the_daemon_is_no_reboot(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path) as cni:
        assert await cni.reaper().look() == []


async def test_where_the_boot_cannot_be_told_nothing_is_released(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path, boot="") as cni:
        await cni("ADD", container="c2")
        assert await cni.reaper().look() == []
    async with a_host(tmp_path, boot="boot-1") as cni:
        assert await cni.reaper().look() == []
        assert len(await cni.leases()) == 2


class AddsBefore:
    """A node on which the attachment is added again after the reaper decided, before it releases."""

    def __init__(self, host: Host, again: object) -> None:
        self._host = host
        self._again = again
        self.released = 0

    async def ask(self, verb: Verb) -> Answer:
        if isinstance(verb, Leases) and verb.id is None:
            answer = await self._host.node.ask(verb)
            await self._host("ADD", netns=str(self._again))
            return answer
        self.released += isinstance(verb, Release)
        return await self._host.node.ask(verb)

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


async def test_an_add_between_decision_and_release_keeps_the_lease(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path, boot="boot-2") as cni:
        reaper = cni.reaper()
        reaper._asker = node = AddsBefore(cni, "/nowhere")

        assert await reaper.look() == []
        assert node.released == 0
        assert len(await cni.leases()) == 1


# ── a namespace that is gone ──────────────────────────────────────────────────────────────────────


@dataclass
class Netns:
    """A network namespace, mounted as `ip netns` does it."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def make(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def process(self) -> subprocess.Popen[bytes]:
        """A container, as far as the kernel is concerned; it lives until it is killed."""
        return started("ip", "netns", "exec", self.name)


def started(*within: str) -> subprocess.Popen[bytes]:
    """A process that is in its namespace when this returns."""
    process = subprocess.Popen([*within, "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        said.readline()
    return process


def children(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture
def netns() -> Iterator[Netns]:
    found = Netns(f"ringipam-{os.getpid()}")
    found.make()
    yield found
    if os.path.exists(found.path):
        found.remove()


@pytest.mark.root
async def test_a_lease_notes_the_namespace_it_was_made_for(cni: Host, netns: Netns) -> None:
    await cni("ADD", netns=netns.path)

    [lease] = await cni.leases()
    status = os.stat(netns.path)
    assert lease.labels["ringipam.netns"] == netns.path
    assert lease.labels["ringipam.netns-id"] == f"{status.st_dev}:{status.st_ino}"


@pytest.mark.root
async def test_an_attachment_whose_namespace_is_gone_is_released_at_the_second_look(cni: Host, netns: Netns) -> None:
    await cni("ADD", conf(ipam=TWO), netns=netns.path)
    reaper = cni.reaper(after_s=300.0, look_s=0.0)
    assert await reaper.look() == []

    netns.remove()
    first, second = await reaper.look(), await reaper.look()

    assert (first, len(second)) == ([], 2)
    assert await cni.leases() == []


@pytest.mark.root
async def test_two_looks_that_are_too_near_release_nothing(cni: Host, netns: Netns) -> None:
    await cni("ADD", netns=netns.path)
    netns.remove()
    reaper = cni.reaper(look_s=30.0)

    assert [await reaper.look() for _ in range(5)] == [[]] * 5


@pytest.mark.root
async def test_a_process_in_the_namespace_keeps_the_lease_though_its_path_is_gone(cni: Host, netns: Netns) -> None:
    process = netns.process()
    try:
        await cni("ADD", netns=netns.path)
        netns.remove()
        reaper = cni.reaper()

        assert [await reaper.look() for _ in range(3)] == [[]] * 3
    finally:
        process.kill()
        process.wait()
    await reaper.look()
    await reaper.look()
    assert await cni.leases() == []


@pytest.mark.root
async def test_the_namespace_of_a_process_that_ended_is_gone_too(cni: Host, netns: Netns) -> None:
    process = netns.process()
    await cni("ADD", netns=f"/proc/{process.pid}/ns/net")
    reaper = cni.reaper()
    assert await reaper.look() == []

    process.kill()
    process.wait()
    await reaper.look()

    assert [lease.id for lease in await reaper.look()] == ["c1"]  # no thread is in it, though it is mounted elsewhere


@pytest.mark.root
async def test_another_namespace_at_the_same_path_is_not_the_containers(cni: Host, netns: Netns) -> None:
    await cni("ADD", netns=netns.path)
    before = (await cni.leases())[0].labels["ringipam.netns-id"]
    other = Netns(f"{netns.name}-2")
    netns.remove()
    other.make()  # so that the number is not the same again
    netns.make()
    try:
        status = os.stat(netns.path)
        reaper = cni.reaper()
        await reaper.look()
        freed = await reaper.look()
        assert len(freed) == (f"{status.st_dev}:{status.st_ino}" != before)
    finally:
        other.remove()


@pytest.mark.root
async def test_a_new_namespace_for_the_attachment_keeps_the_lease_and_begins_anew(cni: Host, netns: Netns) -> None:
    await cni("ADD", netns=netns.path)
    netns.remove()
    reaper = cni.reaper()
    await reaper.look()

    netns.make()
    await cni("ADD", netns=netns.path)

    assert await reaper.look() == []
    assert await reaper.look() == []
    netns.remove()
    assert await reaper.look() == []


@pytest.mark.root
async def test_an_add_between_look_and_release_keeps_the_lease_whose_namespace_was_gone(
    cni: Host, netns: Netns
) -> None:
    await cni("ADD", netns=netns.path)
    netns.remove()
    reaper = cni.reaper()
    await reaper.look()
    process = started("unshare", "-n")
    try:
        reaper._asker = node = AddsBefore(cni, f"/proc/{process.pid}/ns/net")

        assert await reaper.look() == []
        assert node.released == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.root
async def test_where_not_every_thread_can_be_seen_nothing_is_released(
    cni: Host, netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cni("ADD", netns=netns.path)
    netns.remove()
    reaper = cni.reaper()
    readlink = os.readlink

    def forbidden(path: str | Path) -> str:
        if str(path).endswith(f"/{os.getpid()}/ns/net"):
            raise PermissionError(13, "Permission denied", str(path))
        return readlink(path)

    monkeypatch.setattr(os, "readlink", forbidden)
    assert [await reaper.look() for _ in range(3)] == [[]] * 3


async def test_what_could_not_be_identified_is_never_released(cni: Host, tmp_path: Path) -> None:
    file = tmp_path / "ns"
    file.touch()
    for number, path in enumerate(("/nowhere", str(file), "/proc/self/ns/net", "/proc/thread-self/ns/net", "relative")):
        await cni("ADD", container=f"c{number}", netns=path)
    file.unlink()
    reaper = cni.reaper()

    assert [await reaper.look() for _ in range(3)] == [[]] * 3
    assert all("ringipam.netns-id" not in lease.labels for lease in await cni.leases())


@pytest.mark.root
async def test_a_caller_that_is_not_seen_from_here_has_no_namespace_that_could_be_judged(
    cni: Host, netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringipam.integrations.cni.plugin.caller_process", lambda: 0)

    await cni("ADD", netns=netns.path)

    [lease] = await cni.leases()
    assert "ringipam.netns-id" not in lease.labels


@pytest.mark.root
@pytest.mark.parametrize("way", ["by the number of a process", "by a mount"])
async def test_a_path_that_leads_elsewhere_for_the_caller_is_not_judged_by_what_is_there_for_the_daemon(
    cni: Host, netns: Netns, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    hide = 'mount -t tmpfs none /run/netns; exec "$@"'
    other, caller = netns.process(), started("unshare", "-pmf", "--mount-proc", "sh", "-c", hide, "sh")
    [inner] = children(caller)
    monkeypatch.setattr("ringipam.integrations.cni.plugin.caller_process", lambda: inner)
    try:
        path = netns.path if way == "by a mount" else f"/proc/{other.pid}/ns/net"
        assert (await cni("ADD", netns=path)).done

        [lease] = await cni.leases()
        assert "ringipam.netns-id" not in lease.labels
    finally:
        for process in (other, caller):
            process.kill()
            process.wait()


@pytest.mark.root
async def test_a_daemon_that_starts_anew_where_it_sees_other_processes_releases_nothing(
    tmp_path: Path, netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = netns.process()
    try:
        async with a_host(tmp_path) as cni:
            await cni("ADD", netns=netns.path)
        netns.remove()  # as in a container without that mount
        elsewhere = started("unshare", "-pf", "--mount-proc")  # as in one without `hostPID`: /proc shows itself alone
        try:
            [inner] = children(elsewhere)
            proc = Path(f"/proc/{inner}/root/proc")
            (link := tmp_path / "proc").mkdir()
            (link / "self").symlink_to(proc / "1")
            (link / "1").symlink_to(proc / "1")
            monkeypatch.setattr("calling.machine_of", lambda _, boot: machine_of(tmp_path, boot, link))
            async with a_host(tmp_path) as cni:
                reaper = cni.reaper()

                assert cni.machine.in_use() is not None
                assert [await reaper.look() for _ in range(3)] == [[]] * 3
                assert len(await cni.leases()) == 1
        finally:
            elsewhere.kill()
            elsewhere.wait()
    finally:
        process.kill()
        process.wait()


# ── this machine ──────────────────────────────────────────────────────────────────────────────────


def test_a_machine_that_tells_nothing_is_asked_in_vain(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path / "boot_id")

    assert (machine.boot(), machine.own(), machine.identify("/proc/1/ns/net", 1)) == ("", "", "")
    assert machine.in_use() is None


def test_a_hidden_first_process_means_that_not_all_are_seen(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(f"/proc/{os.getpid()}")
    assert Machine(tmp_path).in_use() is None

    (tmp_path / "1").mkdir()
    assert Machine(tmp_path).in_use() == set()


@pytest.mark.root
def test_the_namespaces_in_use_are_those_of_all_threads() -> None:
    machine = Machine()

    found = machine.in_use()

    assert found is not None
    assert machine.own() in found


async def test_the_daemon_looks_by_itself(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path, boot="boot-2") as cni:
        config = replace(cni.node.config, reap_after_s=0.0)
        async with open_cni(config, cni.node, cni.machine, look_s=0.01):
            with trio.fail_after(20):
                while await cni.leases():
                    await trio.sleep(0.01)


class Refusing:
    """A node that says no as often as it is told to, then is itself."""

    def __init__(self, host: Host, *refusals: Exception) -> None:
        self._node = host.node
        self._refusals = list(refusals)

    async def ask(self, verb: Verb) -> Answer:
        if self._refusals:
            await trio.lowlevel.checkpoint()
            raise self._refusals.pop()
        return await self._node.ask(verb)

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


async def test_looking_goes_on_after_an_error_and_a_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
    async with a_host(tmp_path, boot="boot-2") as cni:
        reaper = cni.reaper(look_s=0.01)
        reaper._asker = Refusing(cni, KeyError("a defect"), StoreError("the disk is full"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reaper.run)
            with trio.fail_after(20):
                while await cni.leases():
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_thousands_of_leases_are_looked_through(cni: Host) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(1_200):
            nursery.start_soon(cni.node.allocate, f"by-hand-{number}")

    assert await cni.reaper().look() == []
