"""What must hold of the CNI plugin for any body of a call: a result or one line, and no lease that nobody was told of.

Behind it a real peer with a ring of its own, as for the HTTP API.
"""

from __future__ import annotations

import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import http_target
import trio
from config_target import _memory
from http_target import Served

from ringipam.core.events import LeaseList, Leases
from ringipam.integrations.cni import plugin as plugin_module
from ringipam.integrations.cni import tombstones
from ringipam.integrations.cni.netns import Machine
from ringipam.integrations.cni.plugin import Plugin
from ringipam.integrations.cni.service import route
from ringipam.integrations.cni.turns import Turns
from ringipam.server.api import Api
from ringipam.server.http import Request, Response

SUBNET = "10.32.0.0/26"
TOLD = {"cniVersion", "ips", "ip4", "ip6", "routes", "dns", "supportedVersions"}
ERROR = {"cniVersion", "code", "msg"}
MACHINE = Machine()
SILENT = logging.Logger("nowhere", logging.CRITICAL + 1)


def check(data: bytes) -> None:
    """Call the plugin of a node that holds a lease of c1 with `data`."""
    with patch.object(plugin_module, "caller_process", os.getpid), patch.object(tombstones, "_log", SILENT):
        trio.run(_check, data)


async def _check(data: bytes) -> None:
    served = Served()
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        plugin = Plugin(served, Turns(), Path(name), MACHINE, "boot")
        api = Api(served, served.solo.settings.universe, "0", [route(plugin)])
        first = await api.handle(_request(_body(ENV, CONF)))
        assert first.status == 200, first
        before, leases = served.durable(), await _numbers(served)
        answer = await api.handle(_request(data))
        _check_answer(answer)
        command = _command(data)
        if command != b"ADD" and (answer.status != 200 or command in (b"CHECK", b"STATUS", b"VERSION")):
            assert served.durable() == before, "changed something"
        if command == b"ADD" and answer.status != 200:
            assert await _numbers(served) == leases, "a lease of an ADD that failed"
        elif command == b"ADD":
            held = {str(lease.address) for lease in (await _leases(served)).leases}
            for address in _addresses(json.loads(answer.body)):
                assert address.partition("/")[0] in held, (address, held)
        await _leave(plugin, Path(name), data)
        await _remove_all(plugin, served)


async def _leave(plugin: Plugin, directory: Path, data: bytes) -> None:
    """As a tombstone it is carried out or put away, once."""
    (directory / "del-1").write_bytes(data)
    await plugin.tombstones.clear()
    kept = [path.name for path in directory.iterdir()]
    assert kept in ([], ["broken-del-1"]), kept
    if _command(data) != b"DEL":
        assert kept, "something else than a DEL was carried out"


def _request(body: bytes) -> Request:
    return Request("POST", "/v1/cni", "", {}, body, True)


def _command(data: bytes) -> bytes:
    """That of the environment; of several the last one counts."""
    head = b"" if data.startswith(b"\0") else data.partition(b"\0\0")[0]
    found = [pair[12:] for pair in head.split(b"\0") if pair.startswith(b"CNI_COMMAND=")]
    return found[-1] if found else b""


async def _leases(served: Served) -> LeaseList:
    answer = await served.ask(Leases())
    assert isinstance(answer, LeaseList)
    return answer


async def _numbers(served: Served) -> list[str]:
    return sorted(lease.lease for lease in (await _leases(served)).leases)


def _addresses(result: dict[str, Any]) -> list[str]:
    old = [result[key]["ip"] for key in ("ip4", "ip6") if key in result]
    return old + [ip["address"] for ip in result.get("ips", [])]


def _check_answer(answer: Response) -> None:
    assert answer.status in (200, 400), answer
    if answer.status == 200 and not answer.body:
        return
    shown = json.loads(answer.body)
    assert answer.body.count(b"\n") == 1, answer
    if answer.status == 200:
        assert shown.keys() <= TOLD, answer
        return
    assert shown.keys() <= ERROR, answer
    assert shown["code"] in (1, 3, 4, 5, 6, 7, 8, 11, 50, 51, 100), answer
    assert shown["msg"], answer
    assert shown["msg"].isprintable(), answer
    assert len(shown["msg"]) <= 500, answer


async def _remove_all(plugin: Plugin, served: Served) -> None:
    """A DEL of every attachment there is leaves nothing that CNI made."""
    for lease in (await _leases(served)).leases:
        if lease.labels.get("ringipam.via") != "cni":
            continue
        conf = {"cniVersion": "1.1.0", "name": lease.labels["ringipam.network"], "ipam": 7}
        env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": lease.id, "CNI_IFNAME": lease.labels["ringipam.interface"]}
        answer = await Api(served, served.solo.settings.universe, "0", [route(plugin)]).handle(
            _request(_body(env, conf))
        )
        assert (answer.status, answer.body) == (200, b""), answer
    left = [lease for lease in (await _leases(served)).leases if lease.labels.get("ringipam.via") == "cni"]
    assert not left, left


# ── calls that are nearly right ───────────────────────────────────────────────────────────────────

ENV: dict[str, Any] = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/nowhere/ns",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "",
    "CNI_PATH": "/opt/cni/bin",
}
CONF: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "ipam": {"type": "ringipam", "ranges": [[{"subnet": SUBNET}]]},
}
FULL: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "net",
    "ipam": {
        "ranges": [
            [{"subnet": SUBNET, "rangeStart": "10.32.0.9", "rangeEnd": "10.32.0.20", "gateway": "10.32.0.10"}],
            [{"subnet": "10.32.0.64/28"}, {"subnet": "10.32.0.128/28"}],
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.10", "mtu": 1400}],
        "resolvConf": "/etc/hosts",
    },
    "runtimeConfig": {"ips": ["10.32.0.12/26"], "ipRanges": [[{"subnet": "10.32.0.192/28"}]]},
    "args": {"cni": {"ips": ["10.32.0.13"]}},
    "prevResult": {"ips": [{"address": "10.32.0.2/26"}]},
    "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
    "disableGC": False,
}
TEXTS = (
    *http_target.TEXTS,
    *("1.1.0", "0.1.0", "9.9.9", "net", "eth0", "lo", "..", "a" * 16, "10.32.0.0/31", "10.32.0.5/26", "fd00::/64"),
    *("IP=10.32.0.5", "IP=10.32.0.5,10.32.0.66;IgnoreUnknown=1", "A=B", "IP", "K8S_POD_NAME=a\nb;IgnoreUnknown=true"),
    *("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "add", "/proc/self/ns/net", "/proc/1/ns/net", "/etc/hosts"),
)
VALUES: tuple[Any, ...] = (*TEXTS, *http_target.NESTED, None, True, False, 0, 1, -1, 1e308, 1 << 40)


def seeds() -> Iterator[bytes]:
    """Every verb, with little and with everything, in several versions."""
    for command in ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"):
        for version in ("0.2.0", "0.4.0", "1.1.0"):
            for conf in (CONF, FULL):
                yield _body({**ENV, "CNI_COMMAND": command}, {**conf, "cniVersion": version})


def mutate(data: bytes, seed: int) -> bytes:
    """A call with one to three things wrong with it."""
    rng = random.Random(seed)
    env = {**ENV, "CNI_COMMAND": rng.choice(("ADD", "ADD", "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"))}
    env["CNI_CONTAINERID"] = rng.choice(("c1", "c9"))
    conf = deepcopy(rng.choice((CONF, FULL)))
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.2:
            env[rng.choice(sorted(env))] = rng.choice(TEXTS)
        else:
            _spoil(conf, rng)
    sent = _body(env, conf)
    if rng.random() < 0.1:
        at = rng.randrange(len(sent))
        sent = sent[:at] + rng.randbytes(rng.randrange(4)) + sent[at + rng.randrange(4) :]
    return sent


def _spoil(conf: Any, rng: random.Random) -> None:
    """Replace, drop or add something, somewhere."""
    place = conf
    while True:
        keys: list[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        change = rng.random()
        if change < 0.7:
            place[key] = deepcopy(rng.choice(VALUES))
        elif change < 0.85 and isinstance(place, dict):
            del place[key]
        elif isinstance(place, list):
            place.append(deepcopy(rng.choice((place[key], rng.choice(VALUES)))))
        return


def _body(env: dict[str, Any], conf: Any) -> bytes:
    pairs = (f"{name}={value}".encode(errors="surrogatepass") + b"\0" for name, value in env.items())
    return b"".join(pairs) + b"\0" + json.dumps(conf).encode()
