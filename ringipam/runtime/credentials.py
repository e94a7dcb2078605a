"""What this node proves itself with to other hosts, now; what an operator should know of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from ringipam.config import Config
from ringipam.errors import RequestError
from ringipam.runtime import tls
from ringipam.runtime.outside import InThread
from ringipam.runtime.rotation import LOOK_S, Rotated

EXPIRY_WARNING = timedelta(days=30)
"""Before its end a certificate is warned of; one of a short life in the last third of it."""

logger = logging.getLogger("ringipam")


class Credentials:
    """The credentials that `config` names, read anew when their files change."""

    def __init__(self, config: Config, wall_s: Callable[[], float]) -> None:
        """Blocks for about 0.1 s a password. Raises RequestError or StoreError, as `tls.contexts` does."""
        self._config = config
        self._wall_s = wall_s
        self._doubt: str | None = None
        self._validities: list[tls.Validity] = []
        self._rotated = Rotated("the credentials", tls.files(config), self._read)
        self._told: list[str] = []

    @property
    def pair(self) -> tls.Contexts | None:
        """For new connections; None if the node runs without credentials."""
        return self._rotated.current

    def warnings(self) -> list[str]:
        """For `status`, true at this moment."""
        found = [self._rotated.problem] if self._rotated.problem else []
        if self._doubt:
            found.append(f"no peer will accept this node's certificate: {self._doubt}")
        now = datetime.fromtimestamp(self._wall_s(), UTC)
        found += [text for validity in self._validities if (text := _expiry(validity, now))]
        if self._config.password_file is not None:
            found += open_to_others(self._config.password_file, "--password-file")
        if self._config.key is not None:
            found += open_to_others(self._config.key, "--key")
        return found

    async def watch(self, in_thread: InThread) -> None:
        """Until cancelled: take up what changes, and log each warning when it comes up."""
        while self.pair is not None:
            warnings = self.warnings()
            for text in warnings:
                if text not in self._told and text != self._rotated.problem:
                    logger.warning("%s", text)
            self._told = warnings
            await trio.sleep(LOOK_S)
            await self._rotated.look(in_thread)

    def _read(self, replacing: bool) -> tls.Contexts | None:
        pair = tls.contexts(self._config)
        doubt = tls.doubt(pair) if pair is not None else None
        if replacing and doubt:
            raise RequestError(f"no peer would accept this node's certificate: {doubt}")
        self._validities = tls.validities(self._config)
        self._doubt = doubt
        return pair


def open_to_others(path: Path, option: str) -> list[str]:
    """A warning if every user of this host can read or replace the secret at `path`."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    return [f"{option} {path} is open to every user of this host: chmod 600 it"] if mode & 0o007 else []


def _expiry(validity: tls.Validity, now: datetime) -> str | None:
    what, begin, end = validity
    if now >= end:
        return f"{what} has expired at {end:%Y-%m-%d %H:%M}Z: no new connection succeeds with it"
    if end - now <= min(EXPIRY_WARNING, (end - begin) / 3):
        return f"{what} expires at {end:%Y-%m-%d %H:%M}Z: replace the file, no restart is needed"
    return None
