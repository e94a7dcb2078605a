"""A DEL that was left while the daemon was down is carried out, before any ADD that came after it, and once."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from calling import Host, a_host, body, conf

from ringipam.core.events import Answer, Release, Verb
from ringipam.errors import StoreError
from ringipam.integrations.cni import tombstones
from ringipam.integrations.cni.service import open_cni


def leave(
    directory: Path, name: str = "del-1", *, container: str = "c1", command: str = "DEL", netns: str = ""
) -> Path:
    """As the program does it: under a hidden name, then renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    hidden = directory / f".{name}"
    env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": netns}
    hidden.write_bytes(body(env, conf()))
    hidden.rename(directory / name)
    return directory / name


async def until_gone(path: Path) -> None:
    with trio.fail_after(20):
        while path.exists():
            await trio.sleep(0.01)


async def test_what_was_left_while_the_daemon_was_down_is_released_at_its_start(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        await cni("ADD")
        await cni("ADD", container="c2")
        config = cni.node.config
    left = [leave(config.cni_directory, "del-1"), leave(config.cni_directory, "del-2", container="c3")]

    async with a_host(tmp_path) as cni, open_cni(config, cni.node):
        for path in left:
            await until_gone(path)

        assert [lease.id for lease in await cni.leases()] == ["c2"]


async def test_an_add_gets_an_address_that_no_earlier_del_takes_away(cni: Host) -> None:
    for number in range(20):
        await cni("ADD")
        path = leave(cni.directory, f"del-{number}")

        said = await cni("ADD")
        await cni.plugin.tombstones.clear()

        assert not path.exists()
        assert said.address.partition("/")[0] in await cni.addresses()


async def test_many_are_carried_out_together_before_the_next_add(cni: Host) -> None:
    for number in range(100):
        await cni("ADD", container=f"c{number}")
        leave(cni.directory, f"del-{number}", container=f"c{number}")

    await cni("ADD", container="new")

    assert [lease.id for lease in await cni.leases()] == ["new"]
    assert os.listdir(cni.directory) == []


async def test_what_is_not_finished_or_not_ours_is_not_touched(cni: Host) -> None:
    await cni("ADD")
    for name in (".del-1", "note", "broken-del-7"):
        leave(cni.directory, name)

    await cni.plugin.tombstones.clear()

    assert sorted(os.listdir(cni.directory)) == [".del-1", "broken-del-7", "note"]
    assert len(await cni.leases()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"garbage", b"x" * 200_000, "an ADD", "a directory", "a link", "a pipe"]
)
async def test_one_that_is_broken_is_put_away_and_told_of_once(
    cni: Host, caplog: pytest.LogCaptureFixture, content: bytes | str
) -> None:
    path = leave(cni.directory, command="ADD")
    if content != "an ADD":
        path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "a directory":
        path.mkdir()
    elif content == "a link":
        path.symlink_to("/etc/hostname")
    elif content == "a pipe":
        os.mkfifo(path)

    for _ in range(3):
        assert (await cni("ADD")).done

    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "broken-del-1" in told[0].getMessage()
    assert os.listdir(cni.directory) == ["broken-del-1"]
    assert len(await cni.leases()) == 1


async def test_one_that_cannot_be_read_for_want_of_descriptors_waits_until_there_are_some(
    cni: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cni("ADD")
    leave(cni.directory)

    with monkeypatch.context() as scarce:
        scarce.setattr(tombstones, "_read", raising(OSError(errno.EMFILE, "Too many open files")))
        refused = await cni("ADD", container="c2")

    assert refused.number == 11
    assert "Too many open files" in refused.message
    await cni.plugin.tombstones.clear()
    assert await cni.leases() == []
    assert os.listdir(cni.directory) == []


def raising(error: OSError) -> Callable[[Path], bytes]:
    def read(_: Path) -> bytes:
        raise error

    return read


@pytest.mark.root
async def test_one_that_turns_up_late_takes_nothing_from_the_container_that_was_added_again_since(
    tmp_path: Path,
) -> None:
    processes = [subprocess.Popen(["unshare", "-n", "sleep", "600"]) for _ in range(2)]
    before, since = (f"/proc/{process.pid}/ns/net" for process in processes)
    left = tmp_path / "where-the-daemon-did-not-look"
    try:
        with trio.fail_after(20):
            while len({os.stat(path).st_ino for path in ("/proc/self/ns/net", before, since)}) < 3:
                await trio.sleep(0.01)
        async with a_host(tmp_path) as cni:
            await cni("ADD", netns=before)
            leave(left, netns=before)
            await cni("ADD", netns=since)

        async with a_host(tmp_path, cni_dir=left) as cni:
            await cni.plugin.tombstones.clear()
            assert [lease.id for lease in await cni.leases()] == ["c1"]
            assert os.listdir(left) == []

            for netns in (since, ""):
                await cni("ADD", netns=since)
                leave(left, netns=netns)
                await cni.plugin.tombstones.clear()
                assert await cni.leases() == []
    finally:
        for process in processes:
            process.kill()
            process.wait()


class NoRelease:
    """A node that releases nothing, as its disk is full, until `full` is false."""

    def __init__(self, host: Host) -> None:
        self._node = host.node
        self.full = True

    async def ask(self, verb: Verb) -> Answer:
        if isinstance(verb, Release) and self.full:
            await trio.lowlevel.checkpoint()
            raise StoreError("the disk is full")
        return await self._node.ask(verb)

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


async def test_one_is_kept_until_the_release_is_durable_and_no_add_goes_past_it(cni: Host) -> None:
    await cni("ADD")
    path = leave(cni.directory)
    cni.plugin._asker = node = NoRelease(cni)

    refused = await cni("ADD")

    assert refused.number == 11
    assert "the disk is full" in refused.message
    assert (await cni("STATUS", conf("1.1.0"))).number == 50
    assert path.exists()
    node.full = False
    assert (await cni("ADD", container="c2")).done
    assert not path.exists()
    assert [lease.id for lease in await cni.leases()] == ["c2"]


async def test_a_directory_that_cannot_be_read_stands_in_the_way_of_an_add(cni: Host) -> None:
    cni.directory.parent.mkdir(exist_ok=True)
    cni.directory.write_text("no directory")

    said = await cni("ADD")

    assert said.number == 5
    assert await cni.leases() == []


async def test_a_defect_does_not_loop(cni: Host, caplog: pytest.LogCaptureFixture) -> None:
    leave(cni.directory)

    async def breaks(sent: bytes) -> None:
        raise KeyError(sent)

    cni.plugin.tombstones._carry_out = breaks
    await cni.plugin.tombstones.clear()
    await cni.plugin.tombstones.clear()

    assert os.listdir(cni.directory) == ["broken-del-1"]
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.parametrize("content", ["a DEL", "garbage"])
async def test_one_that_cannot_be_taken_away_stands_in_the_way_until_it_can(
    cni: Host, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = leave(cni.directory)
    if content == "garbage":
        path.write_text(content)

    def forbidden(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink" if content == "a DEL" else "rename", forbidden)
        said = [await cni("ADD"), await cni("ADD")]

    assert [one.number for one in said] == [5, 5]
    assert str(path) in said[0].message
    assert await cni.leases() == []
    assert (await cni("ADD")).done
    assert not path.exists()


async def test_what_stands_in_the_way_is_told_of_once_while_it_lasts(
    cni: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cni.directory.write_text("no directory")
    monkeypatch.setattr("ringipam.integrations.cni.tombstones.LOOK_S", 0.0)

    with trio.move_on_after(0.2):
        await cni.plugin.tombstones.run()

    assert len([record for record in caplog.records if "cannot read the releases" in record.getMessage()]) == 1


async def test_a_directory_that_cannot_be_made_is_told_of_and_the_daemon_serves(
    cni: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = replace(cni.node.config, cni_dir=tmp_path / "file" / "cni")

    async with open_cni(config, cni.node) as routes:
        assert [route.path for route in routes] == ["/v1/cni"]

    assert "cannot make" in caplog.text
