"""A daemon's plugin, in this process, and Docker's side of the conversation in its very words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ringipam import Config, Node, open_node
from ringipam.integrations.docker.service import open_docker
from ringipam.lease import Lease


async def exchange(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, str, Any]:
    """Status, content type and JSON of an answer."""
    head = f"{method} {target} HTTP/1.1\r\nHost: \r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n"
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        answer = b"".join([part async for part in stream])
    head_bytes, _, text = answer.partition(b"\r\n\r\n")
    lines = head_bytes.decode().split("\r\n")
    types = [line.partition(": ")[2] for line in lines if line.startswith("Content-Type")]
    is_json = types[0] != "text/plain; charset=utf-8"
    return int(lines[0].split()[1]), types[0], json.loads(text) if is_json else text.decode()


@dataclass
class Docker:
    """What Docker does with the plugin at `path`; a refusal comes back as its text."""

    path: Path
    node: Node

    async def call(self, name: str, body: bytes | Mapping[str, object]) -> dict[str, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = await exchange(self.path, "POST", f"/IpamDriver.{name}", raw)
        assert status == 200
        return dict(answer)

    async def pool(self, pool: str = "", subpool: str = "", v6: bool = False, **options: str) -> dict[str, Any]:
        fields = {"AddressSpace": "local", "Pool": pool, "SubPool": subpool, "Options": options or None, "V6": v6}
        return await self.call("RequestPool", fields)

    async def pool_id(self, pool: str = "", subpool: str = "", v6: bool = False) -> str:
        return str((await self.pool(pool, subpool, v6))["PoolID"])

    async def address(self, pool_id: str, address: str = "") -> str:
        """The address or, if there is none, why."""
        return _said(await self.call("RequestAddress", {"PoolID": pool_id, "Address": address, "Options": None}))

    async def gateway(self, pool_id: str, address: str = "") -> str:
        options = {"RequestAddressType": "com.docker.network.gateway"}
        return _said(await self.call("RequestAddress", {"PoolID": pool_id, "Address": address, "Options": options}))

    async def give_back(self, pool_id: str, address: str) -> dict[str, Any]:
        return await self.call("ReleaseAddress", {"PoolID": pool_id, "Address": address.partition("/")[0]})

    async def give_back_pool(self, pool_id: str) -> dict[str, Any]:
        return await self.call("ReleasePool", {"PoolID": pool_id})

    async def leases(self, role: str = "") -> list[Lease]:
        return [lease for lease in await self.node.leases() if role in ("", lease.labels.get("ringipam.role"))]


def _said(answer: dict[str, Any]) -> str:
    return str(answer["Error"] if "Error" in answer else answer["Address"])


def config(directory: Path, iprange: str = "10.32.0.0/12", **more: Any) -> Config:
    settings = {"name": "host1", "listen": "127.0.0.1:0", "docker_api": "none", **more}
    return Config(iprange, data_dir=directory / "data", docker_plugin=directory / "ringipam.sock", **settings)


@asynccontextmanager
async def plugin(directory: Path, iprange: str = "10.32.0.0/12", **more: Any) -> AsyncIterator[Docker]:
    """A daemon with its data in `directory`; opened again there it is the same one, restarted."""
    directory.mkdir(exist_ok=True)
    told = config(directory, iprange, **more)
    async with open_node(told) as node, open_docker(node, told, [told.universe]):
        yield Docker(directory / "ringipam.sock", node)
