"""What a container engine says of its containers: Docker's Engine API, and Podman's compatible one.

Reads strictly: from a list that is not understood in full, nothing can be concluded.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ringipam.integrations.apiclient import ApiClient, ApiError, RefusedError

CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
STOPPED = frozenset({"exited", "stopped", "dead"})
"""The states of a container that has run and does not run. In all others it will run, runs, or is about to again."""
EVENTS = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D"


class Turn(Enum):
    """What became of a container."""

    PRESENT = "present"
    STOPPED = "stopped"
    GONE = "gone"


TURNS = {
    "create": Turn.PRESENT,
    "start": Turn.PRESENT,
    "die": Turn.STOPPED,
    "died": Turn.STOPPED,
    "destroy": Turn.GONE,
    "remove": Turn.GONE,
}
"""By the engine's word for it. Docker says `destroy` where Podman says `remove`; its own API says `died`."""


@dataclass(frozen=True, slots=True)
class Happened:
    container: str
    """Its full id."""
    turn: Turn


class Engine:
    """The engine that answers at the unix socket `path`. Everything raises ApiError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._api = ApiClient(path)

    async def root(self) -> str:
        """The directory in which the engine keeps its containers: another one holds other containers.

        Not its ID: Podman makes up a new one for each answer.
        """
        match _parse(await self._api.get("/info")):
            case {"DockerRootDir": str(root)} if root:
                return root
        raise _misunderstood("what it says of itself")

    async def containers(self) -> dict[str, str]:
        """The states of all containers there are, by id."""
        listed = _parse(await self._api.get("/containers/json?all=1"))
        if not isinstance(listed, list):
            raise _misunderstood("its list of containers")
        found = {}
        for each in listed:
            match each:
                case {"Id": str(container), "State": str(state)} if CONTAINER_ID.fullmatch(container):
                    found[container] = state
                case _:
                    raise _misunderstood("its list of containers")
        return found

    async def state(self, container: str) -> str | None:
        """The state of one container; None if there is none of this id."""
        try:
            body = await self._api.get(f"/containers/{container}/json")
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        match _parse(body):
            case {"Id": str(found), "State": {"Status": str(state)}} if found == container:
                return state
        raise _misunderstood("what it says of a container")

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Events as they come, each to be read by `happened`, from when the request was sent on."""
        async with self._api.stream(EVENTS) as lines:
            yield lines


def happened(line: bytes) -> Happened | None:
    """What an event says; None if it says nothing of whether a container is there. Raises ApiError for what is none."""
    event = _parse(line)
    match event:
        case {"Type": "container", "Action": str(action), "Actor": {"ID": str(container)}}:
            turn = TURNS.get(action)
            if turn is not None and CONTAINER_ID.fullmatch(container):
                return Happened(container, turn)
        case dict():
            pass
        case _:
            raise _misunderstood("an event")
    return None


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _misunderstood("its answer") from None


def _misunderstood(what: str) -> ApiError:
    return ApiError(f"{what} is not what Docker or Podman says")
