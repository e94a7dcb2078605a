"""What is built: wheels with the program in C where a compiler is, without it elsewhere, and sources with all of it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLACE = "ringipam/integrations/cni/program"
MACHINES = ("x86_64", "aarch64")
"""That kernel.c is for."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What a build reads, where nothing else is and nothing is left behind in the working tree."""
    directory = tmp_path / "source"
    directory.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (directory / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "ringipam").rglob("*"):
        if path.suffix in (".py", ".c", ".typed", ".service"):
            copy = directory / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return directory


def build(source: Path, target: str, **env: str) -> Path:
    """The one file that this build makes; `target` as hatchling names it."""
    out = source.parent / f"out-{target.replace(':', '-')}"
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=source, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [made] = out.iterdir()
    return made


@pytest.mark.usefixtures("compiled")
def test_a_wheel_has_the_program_for_machines_like_this_one(source: Path) -> None:
    wheel = build(source, "wheel:standard")

    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as content:
        assert {f"{PLACE}/ringipam", f"{PLACE}/forwarder.py", f"{PLACE}/ringipam.c"} < set(content.namelist())
        assert content.read(f"{PLACE}/ringipam").startswith(b"\x7fELF")
        metadata = next(content.read(name) for name in content.namelist() if name.endswith("/WHEEL"))
    assert b"Root-Is-Purelib: false" in metadata
    assert not (source / PLACE / "ringipam").exists(), "nothing is left in the source"


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler -x"])
def test_without_a_compiler_a_wheel_is_for_every_machine(source: Path, compiler: str) -> None:
    stale = source / PLACE / "ringipam"
    stale.write_bytes(b"of an earlier build")
    (source / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())

    wheel = build(source, "wheel:standard", CC=compiler)

    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        assert f"{PLACE}/forwarder.py" in content.namelist()
        assert f"{PLACE}/ringipam" not in content.namelist()


@pytest.mark.usefixtures("compiled")
def test_an_editable_installation_has_the_program_beside_its_source(source: Path) -> None:
    build(source, "wheel:editable")

    done = subprocess.run([source / PLACE / "ringipam"], env={}, capture_output=True, check=False)
    assert (done.returncode, b"ringipam" in done.stderr) == (0, True)


def test_an_editable_installation_without_a_compiler_has_no_older_program(source: Path) -> None:
    (source / PLACE / "ringipam").write_bytes(b"of an earlier build")

    build(source, "wheel:editable", CC="false")

    assert not (source / PLACE / "ringipam").exists()


def test_sources_are_complete(source: Path) -> None:
    archive = build(source, "sdist")

    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {"hatch_build.py", f"{PLACE}/ringipam.c", f"{PLACE}/kernel.c", f"{PLACE}/forwarder.py"} < names


@pytest.mark.usefixtures("compiled")
def test_what_pip_unpacks_is_installed_ready_to_run(source: Path, tmp_path: Path) -> None:
    wheel = build(source, "wheel:standard")
    site, bin_dir = tmp_path / "site", tmp_path / "bin"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)

    command = [sys.executable, "-m", "ringipam", "cni", "install", "--bin-dir", str(bin_dir), "--no-conflist"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=env)

    installed = bin_dir / "ringipam"
    assert installed.read_bytes().startswith(b"\x7fELF")
    assert subprocess.run([installed], env={}, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["ringipam.c", "kernel.c"])
@pytest.mark.usefixtures("compiled")
def test_the_c_is_free_of_what_compilers_warn_of(tmp_path: Path, name: str) -> None:
    if name == "kernel.c" and platform.machine() not in MACHINES:
        return
    warnings = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    command = ["cc", *warnings, "-ffreestanding", "-Os", "-c", "-o", str(tmp_path / "o"), str(ROOT / PLACE / name)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_is_small_and_needs_no_library(compiled: Path, with_library: Path) -> None:
    alone = platform.machine() in MACHINES

    assert compiled.stat().st_size < (100_000 if alone else 2_000_000)
    assert with_library.stat().st_size < 2_000_000
    assert b"ld-linux" not in compiled.read_bytes(), "it is linked statically"


@pytest.mark.usefixtures("compiled")
def test_hardening_that_packagers_ask_for_breaks_nothing(source: Path) -> None:
    flags = "-O2 -g -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2 -fcf-protection=none"
    build(source, "wheel:editable", CFLAGS=flags, LDFLAGS="-Wl,-z,relro -Wl,-z,now")

    program = source / PLACE / "ringipam"
    env = {"CNI_COMMAND": "VERSION", "RINGIPAM_SOCKET": str(source / "s")}
    done = subprocess.run([program], env=env, input=b"{}", capture_output=True, check=False)
    assert (done.returncode, done.stdout[:23]) == (0, b'{"cniVersion":"1.1.0","')
