"""A disk that is full, that becomes read-only, and that loses power: what was told is not lost (S14).

The disks are real file systems, in memory or on a loop device. Power is lost by ext4's own shutdown, which from one
moment to the next writes nothing more, its journal neither: what was not synced is gone.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from process import Daemon

from ringipam import Client, DaemonUnreachableError, Lease, StoreError

EXT4_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h."""
WITHOUT_FLUSHING_THE_LOG = struct.pack("I", 2)
POWER_CUTS = 8

pytestmark = pytest.mark.root


def run(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


@contextmanager
def mounted(kind: str, at: Path) -> Iterator[Path]:
    """A small disk; with `loop`, a file of the same name beside it is its medium."""
    at.mkdir()
    if kind == "loop":
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("needs mkfs.ext4")
        run("truncate", "-s", "24M", at.with_suffix(".img"))
        run("mkfs.ext4", "-q", at.with_suffix(".img"))
    mount(kind, at)
    try:
        yield at
    finally:
        run("umount", "--lazy", at)  # a daemon that a failed test left is ended later


def mount(kind: str, at: Path) -> None:
    if kind == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", at)
    else:
        run("mount", "-o", "loop", at.with_suffix(".img"), at)


def unmount(at: Path) -> None:
    """Returns when the kernel has let go of a disk on a loop device.

    It has not while another mount namespace, which somebody made meanwhile, has a copy of the mount.
    """
    device = Path("/sys/fs/ext4") / Path(source_of(at)).name
    run("umount", at)
    end = time.monotonic() + 60
    while device.exists():
        assert time.monotonic() < end, f"{device.name} is still mounted elsewhere"
        time.sleep(0.05)


def source_of(at: Path) -> str:
    return run("findmnt", "-n", "-o", "SOURCE", at).strip()


@pytest.mark.parametrize("kind", ["tmpfs", "loop"])
def test_a_full_disk_refuses_new_work_keeps_what_is_and_recovers_when_there_is_room(
    daemon: Daemon, tmp_path: Path, kind: str
) -> None:
    with mounted(kind, tmp_path / "data") as disk:
        client = daemon.start()
        kept = client.allocate("kept")
        filler = disk / "filler"
        _fill(filler)

        confirmed = [kept, *_allocate_until_refused(client)]
        assert client.lookup("kept") == [kept]
        assert sorted(client.leases(), key=by_number) == sorted(confirmed, key=by_number)
        status = client.status()
        assert (status["state"], status["serving"], status["leases"]) == ("refusing", False, len(confirmed))
        assert "the disk is full" in str(status["reason"])
        with pytest.raises(StoreError, match="the disk is full"):
            client.release("kept")
        assert client.history("10.32.0.9")["address"] == "10.32.0.9"

        filler.unlink()
        lease = _allocate_until_it_works(client)
        assert client.lookup("after") == [lease]
        assert {found.lease for found in client.leases()} == {found.lease for found in [*confirmed, lease]}
        client.close()
        assert daemon.stop() == 0


def test_a_disk_that_becomes_read_only_is_said_to_be_and_keeps_what_was_told(daemon: Daemon, tmp_path: Path) -> None:
    with mounted("loop", tmp_path / "data") as disk:
        client = daemon.start()
        kept = sorted((client.allocate(f"c{number}") for number in range(20)), key=by_number)

        _break_file_system(disk)
        with pytest.raises(StoreError, match=r"read-only|input/output error"):
            client.allocate("refused")
        assert sorted(client.leases(), key=by_number) == kept
        assert "ringipam.db" in str(client.status()["reason"])
        client.close()
        daemon.kill()

        unmount(disk)
        mount("loop", disk)
        client = daemon.start()
        assert sorted(client.leases(), key=by_number) == kept
        assert client.allocate("c20").address not in {lease.address for lease in kept}
        client.close()
        assert daemon.stop() == 0


def _break_file_system(disk: Path) -> None:
    """Have ext4 meet an error, after which it is read-only."""
    run("mount", "-o", "remount,errors=remount-ro", disk)
    Path(f"/sys/fs/ext4/{Path(source_of(disk)).name}/trigger_fs_error").write_text("1")


@pytest.mark.slow
def test_no_acknowledged_lease_is_lost_when_the_power_is(daemon: Daemon, tmp_path: Path) -> None:
    """W6: a lease that was told is on the disk, also if nothing is written any more from that moment on."""
    chance = random.Random(2026)
    told: list[Lease] = []
    with mounted("loop", tmp_path / "data") as disk:
        for cut in range(POWER_CUTS):
            client = daemon.start()
            found = {lease.lease: lease for lease in client.leases()}
            assert [lease for lease in told if found.get(lease.lease) != lease] == [], f"lost by cut {cut}"
            assert len({lease.address for lease in found.values()}) == len(found)
            told = list(found.values())
            (disk / f"unsynced{cut}").write_bytes(b"x" * 10_000)

            under_way = threading.Thread(target=_allocate_while_it_lives, args=(client, cut, told))
            under_way.start()
            time.sleep(chance.uniform(0.05, 0.6))
            _halt(daemon)
            _lose_power(disk)
            daemon.kill()
            under_way.join(timeout=30)
            assert not under_way.is_alive()
            client.close()
            unmount(disk)
            mount("loop", disk)
            assert not _survived(disk / f"unsynced{cut}"), "the power was not lost"

        client = daemon.start()
        assert {lease.lease for lease in told} <= {lease.lease for lease in client.leases()}
        client.close()
        assert daemon.stop() == 0


def _halt(daemon: Daemon) -> None:
    """As a machine does nothing more without power.

    Else a sync under way could come back as done although ext4's shutdown has kept its data off the disk (it says
    nothing of extents that it failed to convert), and be acknowledged by a machine that is no more.
    """
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{daemon.process.pid}/task")
    for _ in range(1000):
        if all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()):
            return
        time.sleep(0.01)
    pytest.fail("the daemon did not stop")


def _lose_power(disk: Path) -> None:
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, EXT4_SHUTDOWN, WITHOUT_FLUSHING_THE_LOG)
    finally:
        os.close(descriptor)


def _survived(file: Path) -> bool:
    return file.exists() and file.read_bytes() == b"x" * 10_000


def _allocate_while_it_lives(client: Client, cut: int, told: list[Lease]) -> None:
    with suppress(StoreError, DaemonUnreachableError):
        for number in range(100_000):
            told.append(client.allocate(f"p{cut}-{number}"))


def by_number(lease: Lease) -> str:
    return lease.lease


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _allocate_until_refused(client: Client) -> Iterator[Lease]:
    with suppress(StoreError):
        for number in range(10_000):
            yield client.allocate(f"c{number}")


def _allocate_until_it_works(client: Client) -> Lease:
    for _ in range(200):
        try:
            return client.allocate("after")
        except StoreError:
            time.sleep(0.1)
    raise AssertionError("the node did not recover within 20 s")
