"""What must hold of `ringipam launch` for any options and any file: it would run, or says one line and changes nothing.

An input is the TOML file, then the arguments, parted by zero bytes.
"""

from __future__ import annotations

import io
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

from ringipam.cli import main
from ringipam.config import Config, parse_endpoint, parse_init
from ringipam.core.durable import Stored
from ringipam.runtime.hostroutes import overlaps
from ringipam.runtime.identity import first_facts, settings

FILE = "config.toml"
SETTINGS = tuple(field.name for field in fields(Config))


def check(data: bytes) -> None:
    """Launch with `data`, as far as the point where the first file would be touched."""
    toml, *arguments = data.split(b"\0")
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        directory = Path(name)
        (directory / FILE).write_bytes(toml)
        argv = ["launch", *(argument.decode(errors="surrogateescape") for argument in arguments)]
        if toml:
            argv[1:1] = ["--config", str(directory / FILE)]
        out, err = io.StringIO(), io.StringIO()
        with patch("ringipam.daemon.run", _would_run), redirect_stdout(out), redirect_stderr(err):
            status = main(argv)
        assert [path.name for path in directory.iterdir()] == [FILE], "something was created"
    _check_outcome(status, err.getvalue(), helped=any(part[:2] in (b"-h", b"--") for part in arguments))


def _check_outcome(status: int, said: str, *, helped: bool) -> None:
    assert status in (0, 1, 2), status
    if status:
        assert said.startswith("ringipam: "), said
        assert said.endswith("\n"), said
        assert len(said.splitlines()) == 1, said
    else:
        assert not said or helped, said


def _would_run(config: Config) -> int:
    """All that is derived of a configuration before a socket or a directory is opened."""
    parse_endpoint(config.listen_on)
    parse_init(config.init, config.peers)
    facts = Stored()
    for change in first_facts(config, Stored(), lambda bits: 1):
        facts.apply(change)
    settings(config, facts, ("127.0.0.1", 6783))
    overlaps(config)
    for path in (config.data_dir, config.socket, config.password_file):
        assert path is None or "\0" not in str(path), path
    return 0


def _memory() -> str | None:
    """Where files cost nothing, if there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# ── configurations that are nearly right ──────────────────────────────────────────────────────────

TEXTS = (
    *("10.32.0.0/12", "10.32.0.0/24", "10.32.0.1/24", "fd00::/64", "10.32.4.0/24", "10.32.0.9", "::1", "10.0.0.0/33"),
    *("127.0.0.1:0", "0.0.0.0:6783", "[::1]:80", "localhost:1", "h:99999", ":1", "h", "a..b:1", "h:٣", "x" * 300),
    *("consensus=3", "consensus=0", "consensus=²", "seed=a,b", "seed=a,a", "seed=", "observer", "alone", "alone=1"),
    *("", " ", "a b", "é", "a\nb", "\udcff", "1e400", "1" * 5_000, "10.0.0.0/" + "1" * 5_000),
    "consensus=" + "1" * 5_000,
)
TOML = (
    *("true", "false", "1", "30.0", "nan", "-inf", "1e400", "0x" + "f" * 5_000, "1" * 5_000, "1979-05-27", "[]", "{}"),
    *('["a"]', "[1]", '["10.32.0.9", "10.32.4.0/24"]', "[" * 2_000, "{a=" * 2_000, '"\\u0000"', '"a\\nb"', "'''", "="),
)


def seeds() -> Iterator[bytes]:
    """Each setting, in the file and as an option."""
    for name in SETTINGS:
        yield f'iprange = "10.32.0.0/12"\n{name} = "10.32.0.9"'.encode()
        yield f"\0--iprange\x0010.32.0.0/12\0--{name.replace('_', '-')}\0alone".encode()
    yield b"\0--iprange\x0010.32.0.0/12\0--insecure\0host2\0host3:1"


def mutate(data: bytes, seed: int) -> bytes:
    """A file and options, mostly plausible."""
    rng = random.Random(seed)
    lines = [_line(name, rng) for name in rng.sample(SETTINGS, rng.randrange(5))]
    if rng.random() < 0.7:
        lines.append('iprange = "10.32.0.0/12"')
    arguments = [part for name in rng.sample(SETTINGS, rng.randrange(4)) for part in _option(name, rng)]
    arguments += rng.sample(TEXTS, rng.choice((0, 0, 1, 2)))
    parts = ["\n".join(lines) if rng.random() < 0.7 else "", *arguments]
    made = "\0".join(parts).encode(errors="surrogateescape")
    if rng.random() < 0.2:
        at = rng.randrange(len(made) + 1)
        made = made[:at] + rng.randbytes(rng.randrange(4)) + made[at + rng.randrange(4) :]
    return made if rng.random() < 0.8 else made + data


def _line(name: str, rng: random.Random) -> str:
    value = rng.choice(TOML) if rng.random() < 0.5 else '"' + rng.choice(TEXTS).replace("\n", "\\n") + '"'
    return f"{rng.choice((name, name.replace('_', '-')))} = {value}"


def _option(name: str, rng: random.Random) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if rng.random() < 0.1:
        return [f"{flag}={rng.choice(TEXTS)}"]
    return [flag, *rng.sample(TEXTS, rng.choice((0, 1, 1, 1, 2)))]
