"""Puts the CNI program, and a network that uses it, where a container runtime looks for them."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ringipam.address import parse_subnet
from ringipam.errors import RequestError
from ringipam.store.directory import sync_directory

HERE = Path(__file__).parent
COMPILED = HERE / "ringipam"
"""From ringipam.c, by hatch_build.py; not there if no compiler was."""
FORWARDER = HERE / "forwarder.py"

TYPE = "ringipam"
"""The program's name: runtimes find it by the `type` of a plugin."""
CONFLIST = "10-ringipam.conflist"

SHEBANG_SIZE_MAX = 255
"""Linux reads so much of a script's first line (fs/binfmt_script.c)."""
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""Of a network (CNI SPEC, "Configuration format")."""
BRIDGE = "ringipam0"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a path stands in the program: behind its mark, in so many bytes, of which the last is zero."""

    mark: bytes
    size: int


SOCKET_FIELD = Field(b"@RINGIPAM-SOCKET@", 108)
DIRECTORY_FIELD = Field(b"@RINGIPAM-CNIDIR@", 256)


@dataclass(frozen=True, slots=True)
class File:
    """One file as it shall be, and what putting it there comes to."""

    path: Path
    content: bytes
    mode: int
    done: str = "written"
    """Or `same`: it is so already; or `left`: another one is there and stays."""


@dataclass(frozen=True, slots=True)
class Installation:
    program: File
    language: str
    """`C` or `Python`."""
    conflist: File | None


def plan(
    bin_dir: Path,
    conf_dir: Path | None,
    *,
    socket: Path,
    cni_dir: Path,
    name: str,
    subnets: Sequence[str] = (),
    force: bool = False,
) -> Installation:
    """What an installation would do; nothing is written. Raises RequestError.

    The runtime finds the program in `bin_dir`, and in `conf_dir`, if that is given, the network `name` with `subnets`
    (see `network`). The program asks the daemon at `socket`, and keeps releases that it could not tell it in `cni_dir`.
    A program or a network of others in the same place is left alone, unless `force` says otherwise.
    """
    _check_path("--socket", socket, SOCKET_FIELD.size - 1)
    _check_path("--cni-dir", cni_dir, DIRECTORY_FIELD.size - 1)
    if not NAME.fullmatch(name):
        raise RequestError(f"--name begins with a letter or digit; dots, dashes and underscores may follow: {name!r}")
    content, language = _program(socket, cni_dir)
    program = _planned(File(bin_dir / TYPE, content, 0o755))
    if program.done == "written" and not force and not _is_replaceable(program.path):
        raise RequestError(f"{program.path} is there, and no CNI program of ringipam's: --force replaces it")
    conflist = None
    if conf_dir is not None:
        conflist = _planned(File(conf_dir / CONFLIST, network(name, subnets), 0o644))
        if conflist.done == "written" and not force and os.path.lexists(conflist.path):
            conflist = replace(conflist, done="left")
    return Installation(program, language, conflist)


def carry_out(installation: Installation) -> None:
    """Put the files in place, each whole or not at all, and on the disk when this returns. Raises RequestError.

    The program comes first: with a network that names a program which is not there, no container starts.
    """
    for file in (installation.program, installation.conflist):
        if file is not None and file.done == "written":
            _put(file)


def network(name: str, subnets: Sequence[str]) -> bytes:
    """A conflist: containers on a bridge of their host, with addresses from ringipam. Raises RequestError.

    With `subnets` the bridge has the first address of each, which ringipam then gives to no container: containers reach
    the world through their host, and ports can be published. Without, the bridge has no address, since no one is known
    that is free on every host: containers reach each other, and whatever else is plugged into the bridge.
    """
    ranges = [{"subnet": str(parse_subnet(subnet))} for subnet in subnets]
    ipam: dict[str, object] = {"type": TYPE, **(ranges[0] if len(ranges) == 1 else {})}
    if len(ranges) > 1:
        ipam["ranges"] = [[one] for one in ranges]  # an address from each
    bridge: dict[str, object] = {"type": "bridge", "bridge": BRIDGE, "ipam": ipam}
    plugins = [bridge]
    if ranges:
        bridge |= {"isGateway": True, "isDefaultGateway": True, "ipMasq": True}
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
    return (json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins}, indent=2) + "\n").encode()


def _check_path(option: str, path: Path, size_max: int) -> None:
    if not path.is_absolute():
        raise RequestError(f"{option} is an absolute path, as a runtime starts the program anywhere, not {path}")
    if "\0" in str(path):
        raise RequestError(f"{option} is no path, as it holds a zero byte: {str(path)!r}")
    if len(os.fsencode(path)) > size_max:
        raise RequestError(f"{option} is a path of at most {size_max} bytes, not {path}")


def _program(socket: Path, cni_dir: Path) -> tuple[bytes, str]:
    """The program with these paths built in, and the language it is in."""
    paths = ((SOCKET_FIELD, os.fsencode(socket)), (DIRECTORY_FIELD, os.fsencode(cni_dir)))
    if COMPILED.exists():
        program = COMPILED.read_bytes()
        for field, path in paths:
            program = _patched(program, field, path)
        return program, "C"
    script = FORWARDER.read_bytes()
    for (field, path), variable in zip(paths, (b"SOCKET", b"DIRECTORY"), strict=True):
        script = _rewritten(script, field, variable, path)
    return _shebang() + script, "Python"


def _patched(program: bytes, field: Field, path: bytes) -> bytes:
    before, mark, behind = program.partition(field.mark)
    if not mark or field.mark in behind or len(behind) < field.size:
        raise RequestError(f"{COMPILED} is not the program of this release: install ringipam anew")
    return before + mark + path.ljust(field.size, b"\0") + behind[field.size :]


def _rewritten(script: bytes, field: Field, variable: bytes, path: bytes) -> bytes:
    pattern = re.compile(rb"^%b = .*  # %b$" % (variable, field.mark), re.MULTILINE)
    line = b"%b = %b  # %b" % (variable, repr(path).encode("ascii"), field.mark)
    rewritten, found = pattern.subn(lambda _: line, script)
    if found != 1:
        raise RequestError(f"{FORWARDER} is not the program of this release: install ringipam anew")
    return rewritten


def _shebang() -> bytes:
    """The interpreter itself, not that of a virtual environment, which would have to stay where it is."""
    interpreter = os.fsencode(os.path.realpath(sys.executable))
    shebang = b"#!%b -IS\n" % interpreter
    if len(shebang) > SHEBANG_SIZE_MAX or re.search(rb"\s", interpreter):
        raise RequestError(
            f"a script cannot name {sys.executable} as its interpreter, as that is too long or has a blank:"
            " install ringipam where a C compiler is, or with another Python"
        )
    return shebang


def _planned(file: File) -> File:
    """`file`, or that it is there already."""
    try:
        with file.path.open("rb") as there:
            executable = file.mode & 0o111 & ~os.fstat(there.fileno()).st_mode == 0
            same = executable and not file.path.is_symlink() and there.read() == file.content
    except (FileNotFoundError, NotADirectoryError):  # the latter is told when the directory is to be made
        same = False
    except OSError as error:
        raise RequestError(f"cannot read {file.path}: {error.strerror}") from None
    return replace(file, done="same") if same else file


def _is_replaceable(path: Path) -> bool:
    """Whether nothing is at `path`, or a CNI program of ringipam's: not its command line, or another's program."""
    try:
        there = path.read_bytes()
    except OSError:
        return not os.path.lexists(path)
    return all(field.mark in there for field in (SOCKET_FIELD, DIRECTORY_FIELD))


def _put(file: File) -> None:
    """By renaming: whoever executes the old one goes on doing so, and nobody meets a file that is written to."""
    directory = file.path.parent
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=directory, prefix=".ringipam-")
        try:
            with os.fdopen(descriptor, "wb") as fresh:
                fresh.write(file.content)
                fresh.flush()
                os.fchmod(descriptor, file.mode)
                os.fsync(descriptor)
            os.replace(name, file.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        sync_directory(directory)
    except OSError as error:
        raise RequestError(
            f"cannot write {file.path}: {error.strerror}; run this as root, or name another directory"
        ) from None
