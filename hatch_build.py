"""Compiles the CNI program into the wheel, where there is a compiler; a wheel without it is for every machine.

`CC`, `CFLAGS` and `LDFLAGS` are taken as make takes them; `CC=false` builds without.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "ringipam/integrations/cni/program/ringipam.c"
PROGRAM = "ringipam/integrations/cni/program/ringipam"
COMPILE_S_MAX = 120


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
    """`program` from `source`, statically linked if the tools can; what is wrong, and then there is no `program`."""
    program.unlink(missing_ok=True)  # an older one is worse than none
    compiler = shlex.split(os.environ.get("CC") or "cc")
    flags = shlex.split(os.environ.get("CFLAGS", "")) + shlex.split(os.environ.get("LDFLAGS", ""))
    fresh = program.with_name(f".{program.name}-{os.getpid()}")  # may be running under its name, of an editable one
    problem = ""
    for linking in (["-static"], []):
        command = [*compiler, "-std=c99", "-Os", *flags, *linking, "-s", "-o", str(fresh), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_S_MAX)
        except subprocess.CalledProcessError as error:
            problem = " ".join(f"{shlex.join(compiler)} fails: {error.stderr}".split())[:500]
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        else:
            fresh.chmod(0o755)
            fresh.replace(program)
            return ""
    fresh.unlink(missing_ok=True)
    return problem


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
