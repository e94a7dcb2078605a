"""Asking again for the same id and subnet gives the same lease for as long as it is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Allocate, Leased, Release
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request, World


class SameAnswerAgain(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[tuple[str, str, str], str] = {}

    def asked(self, request: Request) -> None:
        if isinstance(request.verb, Release):
            for key in [key for key in self._told if key[:2] == (request.host, request.verb.id)]:
                del self._told[key]

    def answered(self, request: Request) -> None:
        if not isinstance(request.verb, Allocate) or not isinstance(request.answer, Leased):
            return
        if self.world.releasing(request.host, request.verb.id):
            return
        key = (request.host, request.verb.id, str(request.verb.subnet))
        lease = request.answer.lease
        before = self._told.setdefault(key, lease.lease)
        if before != lease.lease:
            self.fail(f"{request.host} gave {request.verb.id} a second lease ({lease.address}) in the same subnet")
