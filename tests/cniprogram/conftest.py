"""Both programs, installed as `ringipam cni install` does it: every test of the program runs against each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from calling import Program

from ringipam.integrations.cni.program import installation

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in C, by the very function that builds it into a wheel."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    path = tmp_path_factory.mktemp("compiled") / "ringipam"
    if problem := build.compile_program(ROOT / build.SOURCE, path):
        pytest.skip(f"needs a C compiler: {problem}")
    return path


def install(language: str, directory: Path, monkeypatch: pytest.MonkeyPatch, compiled: Path) -> Program:
    """The program of one language, with its paths in `directory` built in."""
    monkeypatch.setattr(installation, "COMPILED", compiled if language == "C" else directory / "none")
    bin_dir, socket, cni_dir = directory / f"bin-{language}", directory / "s", directory / f"cni-{language}"
    planned = installation.plan(bin_dir, None, socket=socket, cni_dir=cni_dir, name="net")
    installation.carry_out(planned)
    assert planned.language == language
    return Program(planned.program.path, socket, cni_dir, language)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Path) -> list[Program]:
    return [install(language, tmp_path, monkeypatch, compiled) for language in ("C", "Python")]


@pytest.fixture(params=["C", "Python"])
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Path) -> Program:
    return install(request.param, tmp_path, monkeypatch, compiled)
