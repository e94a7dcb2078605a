"""Who may use the API over TCP: whoever has the token, or a certificate of the API's own authority."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from ringipam.config import Config, is_loopback, parse_endpoint
from ringipam.errors import RequestError
from ringipam.server.connection import Handler
from ringipam.server.http import TEXT, Request, Response

TOKEN_LENGTH_MIN = 16
TOKENS_MAX = 4


@dataclass(frozen=True, slots=True)
class Access:
    context: ssl.SSLContext | None
    """What connections are secured with; it demands a certificate where --http-ca is given."""
    tokens: tuple[bytes, ...]
    """Any of them will do; none: no token is asked for."""


def files(config: Config) -> list[Path]:
    """What `read_access` reads and an operator may change."""
    named = (config.http_token_file, config.http_cert, config.http_key, config.http_ca)
    return [path for path in named if path is not None]


def read_access(config: Config) -> Access:
    """What `config` asks of clients over TCP; raises RequestError if that cannot be used."""
    tokens = () if config.http_token_file is None else _tokens(config.http_token_file)
    return Access(_context(config), tokens)


def notice(config: Config) -> list[str]:
    """What an operator should know of the door that `config` opens."""
    if config.http is None or config.http_cert is not None or is_loopback(parse_endpoint(config.http, None)[0]):
        return []
    return [f"--http {config.http}: tokens and answers cross the network unencrypted: give --http-cert and --http-key"]


def with_token(handler: Handler, access: Callable[[], Access]) -> Handler:
    """`handler` for requests that carry a token, where one is asked for; 401 for all others."""

    async def guarded(request: Request) -> Response:
        tokens = access().tokens
        if tokens and not _carries(request, tokens):
            body = b"this daemon asks for a token: Authorization: Bearer TOKEN\n"
            return Response(HTTPStatus.UNAUTHORIZED, body, TEXT)
        return await handler(request)

    return guarded


def _carries(request: Request, tokens: tuple[bytes, ...]) -> bool:
    scheme, _, said = request.headers.get(b"authorization", b"").partition(b" ")
    # All are compared, in a time that does not tell where the difference is.
    matches = [hmac.compare_digest(said.strip(), token) for token in tokens]
    return scheme.lower() == b"bearer" and any(matches)


def _tokens(path: Path) -> tuple[bytes, ...]:
    option = "--http-token-file"
    try:
        mode = path.stat().st_mode
        lines = path.read_text("ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise RequestError(f"cannot read {option} {path}: {why}") from None
    if mode & 0o077:
        raise RequestError(f"{option} {path} is open to others than its owner (mode {mode & 0o777:04o}): chmod 600 it")
    tokens = tuple(line.strip().encode() for line in lines if line.strip())
    if not tokens or len(tokens) > TOKENS_MAX or any(len(token) < TOKEN_LENGTH_MIN for token in tokens):
        raise RequestError(
            f"{option} {path} holds 1 to {TOKENS_MAX} tokens of at least {TOKEN_LENGTH_MIN} characters, one a line"
        )
    return tokens


def _context(config: Config) -> ssl.SSLContext | None:
    if config.http_cert is None or config.http_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # unasked bytes on an idle connection look like its end
    for path, option in ((config.http_cert, "--http-cert"), (config.http_key, "--http-key")):
        _readable(path, option)
    try:
        # Without the callback a key that is itself under a password would ask for it on the terminal.
        context.load_cert_chain(config.http_cert, config.http_key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        why = (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
        raise RequestError(
            f"cannot use --http-cert {config.http_cert} with --http-key {config.http_key}: {why}"
        ) from None
    if config.http_ca is not None:
        _readable(config.http_ca, "--http-ca")
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.http_ca)
        except (ssl.SSLError, ValueError, OSError):
            raise RequestError(f"--http-ca {config.http_ca} holds no certificate in PEM form") from None
    return context


def _readable(path: Path, option: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {option} {path}: {error.strerror}") from None
