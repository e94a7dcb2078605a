"""Rows that allocate and release: by callers, by leases held, by family, in space in pieces, and by operation."""

from __future__ import annotations

from benchmarks.contender import Contender
from benchmarks.filling import Filled, fragmented, fresh
from benchmarks.floor import BareExchange, BareSync
from benchmarks.rivals.weave import WeaveStandIn
from benchmarks.setting import Setting, asked

OPERATIONS = (("allocate", "release"), ("claim", "release"), ("lookup",), ("churn", "release"))


def by_callers(setting: Setting) -> list[Contender]:
    """Every surface and every rival with nothing leased, beside the floor."""
    callers = setting.scale.callers
    few = (1, setting.scale.crowd)
    daemon = setting.daemon(fresh(0))
    client = setting.client(daemon)
    return [
        *floor(setting),
        kept(setting, WeaveStandIn(setting.place(), 0, "weave stand-in, 1 caller")),
        *asked("in process", setting.in_process(fresh(0)), callers, None),
        *asked("HTTP", setting.http(daemon), callers, daemon.pid),
        *asked("Client", client, few[:1], daemon.pid),
        *asked("AsyncClient", client, few[1:], daemon.pid),
        *setting.etcd(few),
    ]


def by_leases(setting: Setting) -> list[Contender]:
    """The same work with more and more leases held."""
    alone, crowd, most = 1, setting.scale.crowd, setting.scale.callers[-1]
    found = floor(setting)
    for leases in setting.scale.sizes:
        daemon = setting.daemon(fresh(leases))
        held = f"{leases:,} leases, "
        if leases <= setting.scale.table_max:
            found.append(kept(setting, WeaveStandIn(setting.place(), leases, f"{held}weave stand-in, 1 caller")))
        found += asked(f"{held}in process", setting.in_process(fresh(leases)), (alone, most), None)
        found += asked(f"{held}HTTP", setting.http(daemon), (alone, crowd), daemon.pid)
    return found


def by_family(setting: Setting) -> list[Contender]:
    found = floor(setting)
    for family in (4, 6):
        found += both_surfaces(setting, f"IPv{family}", fresh(setting.scale.held, family))
    return found


def by_space(setting: Setting) -> list[Contender]:
    """As many leases, side by side, and with one free address between any two."""
    pieces = fragmented(setting.scale.fragments)
    found = floor(setting)
    found += both_surfaces(setting, f"{pieces.leases:,} leases side by side", fresh(pieces.leases))
    found += both_surfaces(setting, f"{pieces.leases:,} leases, every second address", pieces)
    return found


def by_operation(setting: Setting) -> list[Contender]:
    """Each verb on its own, and containers that start and stop at random; a release at the end of each turn."""
    filled = fresh(setting.scale.held)
    daemon = setting.daemon(filled)
    surfaces = (("in process", setting.in_process(filled), None), ("HTTP", setting.http(daemon), daemon.pid))
    found = floor(setting)
    for name, worker, server in surfaces:
        for verbs in OPERATIONS:
            found += asked(f"{verbs[0]}, {name}", worker, (1,), server, verbs)
    return found


def floor(setting: Setting) -> list[Contender]:
    place = setting.place()
    place.mkdir()
    return [kept(setting, BareSync(place)), kept(setting, BareExchange())]


def both_surfaces(setting: Setting, what: str, filled: Filled) -> list[Contender]:
    daemon = setting.daemon(filled)
    return [
        *asked(f"{what}, in process", setting.in_process(filled), (1,), None),
        *asked(f"{what}, HTTP", setting.http(daemon), (1,), daemon.pid),
    ]


def kept(setting: Setting, contender: Contender) -> Contender:
    setting.stack.callback(contender.close)
    return contender
