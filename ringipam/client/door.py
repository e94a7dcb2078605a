"""Where a daemon is reached, and what is shown there to be let in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ringipam.config import SOCKET_VARIABLE, default_socket
from ringipam.errors import RequestError

if TYPE_CHECKING:
    import ssl

TOKEN_VARIABLE = "RINGIPAM_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class Door:
    name: str
    """As the user gave it."""
    path: Path | None
    """Of a unix socket; None: TCP."""
    host: str = ""
    port: int = 0
    context: ssl.SSLContext | None = None
    token: str | None = None


def door(
    socket: str | Path | None,
    token_file: str | Path | None = None,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
) -> Door:
    """The door at `socket`, a path or `http[s]://HOST:PORT`; the default is where `ringipam launch` puts it.

    `token_file` (or RINGIPAM_TOKEN_FILE) holds the token, `ca` certifies the daemon (the system's authorities, if
    None), `cert` and `key` the caller. Raises RequestError.
    """
    name = str(socket or os.environ.get(SOCKET_VARIABLE) or default_socket())
    if not name.startswith(("http://", "https://")):
        return Door(name, Path(name))
    host, port = _endpoint(name)
    context = _context(ca, cert, key) if name.startswith("https:") else None
    return Door(name, None, host, port, context, _token(token_file or os.environ.get(TOKEN_VARIABLE)))


def _endpoint(name: str) -> tuple[str, int]:
    try:
        url = urlsplit(name)
        if url.hostname and url.port and not (url.path.strip("/") or url.query or url.username):
            return url.hostname, url.port
    except ValueError:
        pass
    raise RequestError(f"a daemon is reached at a socket's path or at http[s]://HOST:PORT, not {name!r}")


def _token(path: str | Path | None) -> str | None:
    """The first line of the file."""
    if path is None:
        return None
    try:
        lines = Path(path).read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"cannot read the token file {path}: {getattr(error, 'strerror', None) or 'no text'}"
        ) from None
    if not lines:
        raise RequestError(f"the token file {path} is empty")
    return lines[0]


def _context(ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> ssl.SSLContext:
    import ssl  # only few need it, and it takes longer than most calls

    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"cannot use the certificates of {ca or cert} with {key or 'no key'}: {why}") from None
    return context
