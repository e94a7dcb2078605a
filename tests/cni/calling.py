"""A node with the CNI route on its socket, and calls as the program that runtimes execute makes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ringipam import Config, DualStack, Node, open_dual_stack, open_node
from ringipam.client.answers import AnswerParser
from ringipam.integrations.cni.netns import PROC, Machine
from ringipam.integrations.cni.plugin import Plugin
from ringipam.integrations.cni.reaper import Reaper
from ringipam.integrations.cni.service import route
from ringipam.integrations.cni.turns import Turns
from ringipam.lease import Lease
from ringipam.server.surface import open_surface

UNIVERSE = "10.0.0.0/8"
SUBNET = "10.1.2.0/24"


@dataclass(frozen=True)
class Said:
    """What the program prints, and whether it exits with 0."""

    status: int
    text: str

    @property
    def done(self) -> bool:
        return self.status == 200

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def number(self) -> int:
        """Of the error; fails if it is not one clear line in the form of CNI."""
        assert not self.done, self.text
        assert self.json.keys() <= {"cniVersion", "code", "msg"}
        assert self.json["msg"]
        assert self.json["msg"].isprintable()
        number: int = self.json["code"]
        return number

    @property
    def message(self) -> str:
        message: str = self.json["msg"]
        return message

    @property
    def address(self) -> str:
        """The first one of a result since 0.3.0."""
        assert self.done, self.text
        address: str = self.json["ips"][0]["address"]
        return address


def body(env: Mapping[str, str | bytes], stdin: bytes | object) -> bytes:
    pairs = (
        b"%b=%b\0" % (name.encode(), value.encode() if isinstance(value, str) else value) for name, value in env.items()
    )
    return b"".join(pairs) + b"\0" + (stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode())


def conf(version: str | None = "1.0.0", name: str = "net", *, ipam: Any = None, **more: Any) -> dict[str, Any]:
    """A network configuration; by default its addresses come from `SUBNET`."""
    given: dict[str, Any] = {"cniVersion": version} if version else {}
    keys = {"subnet": SUBNET} if ipam is None else ipam
    if isinstance(keys, dict):
        keys = {"type": "ringipam", **keys}
    return {**given, "name": name, "type": "bridge", "ipam": keys, **more}


@dataclass
class Host:
    """A node and its plugin; `directory` is where tombstones go."""

    node: Node | DualStack
    socket: Path
    directory: Path
    plugin: Plugin
    turns: Turns
    machine: Machine
    boot: str
    env: dict[str, str] = field(default_factory=dict)

    async def __call__(
        self,
        command: str,
        stdin: object = None,
        container: str = "c1",
        netns: str = "/nowhere/ns",
        interface: str = "eth0",
        args: str = "",
        **more: str | bytes,
    ) -> Said:
        env: dict[str, str | bytes] = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": interface,
            "CNI_ARGS": args,
            "CNI_PATH": "/opt/cni/bin",
            **more,
        }
        return await self.post(body(env, conf() if stdin is None else stdin))

    async def post(self, sent: bytes) -> Said:
        async with await trio.open_unix_socket(self.socket) as stream:
            await stream.send_all(b"POST /v1/cni HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
            answers = AnswerParser()
            while not answers.complete:
                answers.feed(await stream.receive_some())
            status, content = answers.take()
            return Said(status, content.decode())

    async def leases(self) -> list[Lease]:
        return await self.node.leases()

    async def addresses(self) -> list[str]:
        return sorted(str(lease.address) for lease in await self.leases())

    def reaper(self, after_s: float = 0.0, look_s: float = 0.0) -> Reaper:
        return Reaper(self.node, self.turns, self.machine, self.boot, after_s, look_s)


def machine_of(directory: Path, boot: str, proc: Path = PROC) -> Machine:
    """This machine, in a boot of that name, as it is seen through `proc`."""
    path = directory / "boot_id"
    path.write_text(f"{boot}\n")
    return Machine(proc, path)


@asynccontextmanager
async def a_host(directory: Path, boot: str = "boot-1", **more: Any) -> AsyncIterator[Host]:
    """A ring of one; its data stay in `directory`, so that it can be opened again, in another boot too."""
    settings = {"name": "host1", "listen": "127.0.0.1:0", "data_dir": directory / "data", "quarantine_s": 0.0, **more}
    settings.setdefault("socket", settings["data_dir"] / "socket")  # at the usual one it would be this host's daemon
    config = Config(settings.pop("iprange", UNIVERSE), **settings)
    machine, turns = machine_of(directory, boot), Turns()
    async with open_dual_stack(config) if config.iprange6 else open_node(config) as node:
        plugin = Plugin(node, turns, config.cni_directory, machine, boot)
        surface = open_surface(node, directory / "s", None, config.default_subnet, "0", more=[route(plugin)])
        async with surface:
            yield Host(node, directory / "s", config.cni_directory, plugin, turns, machine, boot)
