"""The program in each of its kinds, installed as `ringipam cni install` does it; every test of it runs against each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from execing import Program

from ringipam.integrations.cni.program import installation

ROOT = Path(__file__).parent.parent.parent


LANGUAGES = ["C", "C with a library", "Python"]
"""The program as it is built for most machines, for the others, and where no compiler is."""


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """hatch_build.py."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, build: ModuleType) -> Path:
    """The program in C, by the very function that builds it into a wheel."""
    path = tmp_path_factory.mktemp("compiled") / "ringipam"
    if problem := build.compile_program(ROOT / build.SOURCE, path):
        pytest.skip(f"needs a C compiler: {problem}")
    return path


@pytest.fixture(scope="session")
def with_library(tmp_path_factory: pytest.TempPathFactory, build: ModuleType, compiled: Path) -> Path:
    """As it is built for machines that kernel.c is not for."""
    path = tmp_path_factory.mktemp("with_library") / "ringipam"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "LINKED", build.LINKED[1:])
        assert build.compile_program(ROOT / build.SOURCE, path) == ""
    return path


Make = Callable[[str], Program]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Path, with_library: Path) -> Make:
    """The program of one kind, installed with its paths in a directory of this test built in."""
    sources = dict(zip(LANGUAGES, (compiled, with_library, tmp_path / "none"), strict=True))

    def make(language: str) -> Program:
        monkeypatch.setattr(installation, "COMPILED", sources[language])
        place = language.replace(" ", "-")
        bin_dir, socket, cni_dir = tmp_path / f"bin-{place}", tmp_path / "s", tmp_path / f"cni-{place}"
        planned = installation.plan(bin_dir, None, socket=socket, cni_dir=cni_dir, name="net")
        installation.carry_out(planned)
        assert planned.language == language.split()[0]
        return Program(planned.program.path, socket, cni_dir, language)

    return make


@pytest.fixture
def programs(make: Make) -> list[Program]:
    return [make(language) for language in LANGUAGES]


@pytest.fixture(params=LANGUAGES)
def program(request: pytest.FixtureRequest, make: Make) -> Program:
    return make(request.param)
