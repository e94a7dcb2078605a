"""The plugin protocol: which path is which call, and how Docker is answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from ringipam.errors import RingIpamError
from ringipam.integrations.docker import messages
from ringipam.integrations.docker.driver import Driver
from ringipam.integrations.docker.pools import GLOBAL, LOCAL
from ringipam.server.http import Request, Response

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"

Answer = Mapping[str, object]

_log = logging.getLogger(__name__)


class Plugin:
    """Answers every request, whatever it is; `handle` raises nothing but cancellation."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._calls: dict[str, Callable[[bytes], Awaitable[Answer]]] = {
            "/Plugin.Activate": _activate,
            "/IpamDriver.GetCapabilities": _capabilities,
            "/IpamDriver.GetDefaultAddressSpaces": _spaces,
            "/IpamDriver.RequestPool": self._request_pool,
            "/IpamDriver.ReleasePool": self._release_pool,
            "/IpamDriver.RequestAddress": self._request_address,
            "/IpamDriver.ReleaseAddress": self._release_address,
        }

    async def handle(self, request: Request) -> Response:
        call = self._calls.get(request.path)
        if call is None:
            return _refuse(HTTPStatus.NOT_FOUND, f"nothing is at {request.path[:80]}")
        if request.method != "POST":
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not served here, only POST", "POST")
        try:
            return _render(HTTPStatus.OK, await call(request.body))
        except RingIpamError as error:
            # Docker shows the text of a 200 with Error as it is, and more around everything else
            return _refuse(HTTPStatus.OK, error.message)
        except Exception:
            _log.exception("%s failed", request.path)
            return _refuse(HTTPStatus.OK, "a defect of ringipam; the daemon's log has the details")

    async def _request_pool(self, body: bytes) -> Answer:
        pool = await self._driver.request_pool(messages.read_pool_request(body))
        return {"PoolID": str(pool), "Pool": str(pool.subnet), "Data": {}}

    async def _release_pool(self, body: bytes) -> Answer:
        await self._driver.release_pool(messages.read_pool_return(body))
        return {}

    async def _request_address(self, body: bytes) -> Answer:
        return {"Address": await self._driver.request_address(messages.read_address_request(body)), "Data": {}}

    async def _release_address(self, body: bytes) -> Answer:
        await self._driver.release_address(messages.read_address_return(body))
        return {}


async def _activate(body: bytes) -> Answer:
    return {"Implements": ["IpamDriver"]}


async def _capabilities(body: bytes) -> Answer:
    """Docker repeats no request when it starts: what it was given is on this host's disk."""
    return {"RequiresMACAddress": False, "RequiresRequestReplay": False}


async def _spaces(body: bytes) -> Answer:
    return {"LocalDefaultAddressSpace": LOCAL, "GlobalDefaultAddressSpace": GLOBAL}


def _render(status: int, answer: Answer, allow: str = "") -> Response:
    return Response(status, json.dumps(answer).encode(), CONTENT_TYPE, allow)


def _refuse(status: int, message: str, allow: str = "") -> Response:
    """In both forms that Docker knows: it reads `Error` of a 200, and `Err` of any other status."""
    line = " ".join(message.split())
    return _render(status, {"Error": line, "Err": line}, allow)
