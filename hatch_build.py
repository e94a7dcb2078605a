"""Compiles the CNI program into the wheel, where there is a compiler; a wheel without it is for every machine.

`CC`, `CFLAGS` and `LDFLAGS` are taken as make takes them; `CC=false` builds without.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "ringipam/integrations/cni/program/ringipam.c"
PROGRAM = "ringipam/integrations/cni/program/ringipam"
COMPILE_S_MAX = 120

ALONE = (
    *("kernel.c", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns"),
    *("-fno-pie", "-no-pie", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-fno-asynchronous-unwind-tables"),
)
"""Without a C library, and without what compilers take for granted that one would prepare."""
LINKED = (ALONE, ("-static",), ())
"""Ways to make the program, the best first: one of the later two takes its place on machines that it is not for."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Puts the program into a wheel, or, for an editable installation, beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        editable = version == "editable"
        self._directory = None if editable else tempfile.TemporaryDirectory(prefix="ringipam-")
        program = Path(self.root, PROGRAM) if self._directory is None else Path(self._directory.name, "ringipam")
        problem = compile_program(Path(self.root, SOURCE), program)
        if problem:
            self.app.display_warning(f"built without the CNI program in C, the one in Python is there: {problem}")
        elif not editable:
            build_data["force_include"][str(program)] = PROGRAM
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._directory is not None:
            self._directory.cleanup()


def compile_program(source: Path, program: Path) -> str:
    """`program` from `source`, as small as the tools can; what is wrong, and then there is no `program`."""
    program.unlink(missing_ok=True)  # an older one is worse than none
    fresh = program.with_name(f".{program.name}-{os.getpid()}")
    problem = ""
    for linked in LINKED:
        problem = _compile(source, fresh, linked) or _try_out(fresh)
        if not problem:
            fresh.chmod(0o755)
            fresh.replace(program)
            break
    fresh.unlink(missing_ok=True)
    return problem


def _compile(source: Path, program: Path, linked: Sequence[str]) -> str:
    """What is wrong, if anything."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    flags = shlex.split(os.environ.get("CFLAGS", "")) + shlex.split(os.environ.get("LDFLAGS", ""))
    sources = [str(source.with_name(name)) for name in linked if name.endswith(".c")]
    options = [option for option in linked if not option.endswith(".c")]
    command = [*compiler, "-std=c99", "-Os", *flags, *options, "-s", "-o", str(program), str(source), *sources]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_S_MAX)
    except subprocess.CalledProcessError as error:
        return " ".join(f"{shlex.join(compiler)} fails: {error.stderr}".split())[:500]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def _try_out(program: Path) -> str:
    """What is wrong, if anything, with how it keeps a release that nobody answers: most of what it can do."""
    with tempfile.TemporaryDirectory(prefix="ringipam-") as name:
        env = {"CNI_COMMAND": "DEL", "RINGIPAM_SOCKET": f"{name}/s", "RINGIPAM_CNI_DIR": f"{name}/cni"}
        try:
            subprocess.run([program], env=env, input=b"{}", check=True, capture_output=True, timeout=COMPILE_S_MAX)
            kept = [path.read_bytes() for path in Path(name, "cni").iterdir()]
        except (OSError, subprocess.SubprocessError) as error:
            return f"what was compiled does not run: {error}"
    return "" if kept == [b"CNI_COMMAND=DEL\0\0{}"] else "what was compiled does not work"


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
