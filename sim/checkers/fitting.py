"""A lease is what was asked for: that id, that subnet, exactly the address of a claim; never an excluded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Allocate, ClaimAddress, Leased
from ringipam.lease import network
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request


class AnswersFitTheQuestion(Checker):
    def answered(self, request: Request) -> None:
        if not isinstance(request.answer, Leased):
            return
        lease, verb = request.answer.lease, request.verb
        if isinstance(verb, Allocate | ClaimAddress) and lease.id != verb.id:
            self.fail(f"{request.host} gave {verb.id} the lease of {lease.id}")
        if isinstance(verb, ClaimAddress) and (lease.address.version, int(lease.address)) != (
            verb.family,
            verb.address,
        ):
            self.fail(f"{request.host} gave {lease.address} to {verb.id}, who claimed another address")
        if isinstance(verb, Allocate):
            subnet, address = verb.subnet or self.world.universe, int(lease.address)
            excluded = self.world.hosts[request.host].settings.excluded
            claimed = lease.class_ == "static"  # asking again for what was claimed is answered with that
            kept = address not in subnet.issuable or any(address in some for some in excluded)
            if lease.subnet != network(subnet) or address not in subnet.range or (kept and not claimed):
                self.fail(f"{request.host} gave {lease.address} of {lease.subnet} to {verb.id}, who asked for {subnet}")
