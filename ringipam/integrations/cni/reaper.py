"""Releases what no runtime will ever release: after a reboot, and after a container that went without a DEL.

Why this never takes an address from a container that runs. Only leases are looked at that an ADD of this host made, and
of which it noted the boot, and the network namespace if it could identify it for sure. Then

(a) a lease of an earlier boot: no process outlives its kernel, so a container that runs now got its network in this
    boot, by an ADD, which writes the present boot into the lease. Until `after_s` the runtimes have time for that, so
    that restarted containers keep their addresses; later they get others.
(b) a lease of this boot: a container runs in the namespace that its ADD was given. A namespace is there as long as a
    thread is in it, or a path is mounted on it, or somebody has it open; a running container is threads. What is
    released has no thread in the namespace, in all of /proc, and its path leads nowhere or to another namespace, in two
    looks some time apart, so that a runtime that moves or recreates something has done so. That a freed namespace's
    number is used again makes the namespace look alive, never dead. Where /proc does not show every thread (another
    user's, hidepid), nothing is released; and an ADD notes a namespace only if the process that executed the plugin is
    seen from here, as a daemon in a process namespace of its own would see no containers at all, and if the path leads
    to the same from there, as the number of a process is another one in another namespace. For the same reason it
    notes from where that was seen: a daemon that was started anew elsewhere, in a container, say, does not judge.

Between decision and release an ADD may come again: the release is made in the container's turn, of the very lease and
only if its labels are those that were judged, after one more look.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import trio

from ringipam.core.events import LeaseList, Leases, Release
from ringipam.errors import NotFoundError, RingIpamError
from ringipam.integrations.cni.labels import BOOT, NETNS, NETNS_ID, SEEN_FROM, is_ours
from ringipam.integrations.cni.netns import Machine
from ringipam.integrations.cni.turns import Turns
from ringipam.lease import Lease
from ringipam.server.routes import Asker

LOOK_S = 30.0
SLICE = 500
"""Leases that are looked through before others have their turn."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Suspect:
    labels: Mapping[str, str]
    since_s: float


class Reaper:
    """`after_s`: how long runtimes have after a start; `look_s`: how far apart two looks are."""

    def __init__(
        self, asker: Asker, turns: Turns, machine: Machine, boot: str, after_s: float, look_s: float = LOOK_S
    ) -> None:
        self._asker = asker
        self._turns = turns
        self._machine = machine
        self._boot = boot
        self._processes = machine.processes()
        self._began_s = trio.current_time()
        self._after_s = after_s
        self._look_s = look_s
        self._suspects: dict[str, _Suspect] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await trio.sleep(self._look_s)
            try:
                await self.look()
            except RingIpamError:
                pass  # the disk, or the daemon ends: what is to be released still is at the next look
            except Exception:
                _log.exception("looking for containers that are gone failed")

    async def look(self) -> list[Lease]:
        """Look once; what was released. Raises RingIpamError if the node does not answer."""
        now_s = trio.current_time()
        old, present = await self._sorted()
        gone = await trio.to_thread.run_sync(self._without_namespace, present) if present else []
        due = [lease for lease in gone if self._was_gone(lease, now_s - self._look_s)]
        self._suspects = {lease.lease: self._suspect(lease, now_s) for lease in gone}
        freed = []
        if now_s >= self._began_s + self._after_s:
            for lease in old:
                freed += await self._release(lease, "its host has rebooted, and no runtime wants it again")
        for lease in due:
            freed += await self._release(lease, "its network namespace is gone, without a DEL")
        return freed

    async def _sorted(self) -> tuple[list[Lease], list[Lease]]:
        """The leases of earlier boots, and those of this one whose namespace can be judged."""
        old, present = [], []
        answer = await self._asker.ask(Leases())
        assert isinstance(answer, LeaseList)
        for number, lease in enumerate(answer.leases):
            if number % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
            boot = lease.labels.get(BOOT)
            if not (self._boot and boot and is_ours(lease)):
                continue
            if boot != self._boot:
                old.append(lease)
            elif self._sees(lease):
                present.append(lease)
        return old, present

    def _sees(self, lease: Lease) -> bool:
        """Whether the namespace is known, and the processes that this daemon sees are those that were seen then."""
        told = lease.labels
        return bool(
            told.get(NETNS_ID) and told.get(NETNS) and self._processes and told.get(SEEN_FROM) == self._processes
        )

    def _suspect(self, lease: Lease, now_s: float) -> _Suspect:
        """Suspected from now on, or since an earlier look if nothing was said of the lease since."""
        before = self._suspects.get(lease.lease)
        return before if before is not None and before.labels == lease.labels else _Suspect(lease.labels, now_s)

    def _was_gone(self, lease: Lease, at_s: float) -> bool:
        """Whether an earlier look, no later than `at_s`, found the same."""
        before = self._suspects.get(lease.lease)
        return before is not None and before.labels == lease.labels and before.since_s <= at_s

    def _without_namespace(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those whose namespace is not at its path and has no thread. Blocks; /proc is read only where it matters."""
        elsewhere = self._machine.leads_elsewhere
        suspects = [lease for lease in leases if elsewhere(lease.labels[NETNS], lease.labels[NETNS_ID])]
        if not suspects:
            return []
        in_use = self._machine.in_use()
        return [] if in_use is None else [lease for lease in suspects if lease.labels[NETNS_ID] not in in_use]

    async def _release(self, lease: Lease, why: str) -> list[Lease]:
        """The lease, if it is released; nothing if anybody has said anything of it since."""
        async with self._turns.of(lease.id):
            if not await self._is_as_judged(lease):
                return []
            try:
                answer = await self._asker.ask(Release(lease.id, lease=lease.lease))
            except NotFoundError:
                return []
        assert isinstance(answer, LeaseList)
        _log.warning("released %s of the container %s: %s", lease.address, lease.id, why)
        return list(answer.leases)

    async def _is_as_judged(self, lease: Lease) -> bool:
        answer = await self._asker.ask(Leases(lease.id))
        assert isinstance(answer, LeaseList)
        if not any(held.lease == lease.lease and held.labels == lease.labels for held in answer.leases):
            return False
        if lease.labels[BOOT] != self._boot:
            return True
        return bool(await trio.to_thread.run_sync(self._without_namespace, [lease]))
