"""What `import ringipam` gives, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ringipam


@pytest.mark.parametrize("name", ringipam.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ringipam, name).__name__ == name
    assert name in dir(ringipam)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ring'"):
        _ = ringipam.Ring  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["import ringipam", "from ringipam import Config", "import ringipam.core.peer"])
def test_what_needs_no_runtime_does_not_import_it(statement: str) -> None:
    heavy = "trio ssl sqlite3 cryptography asyncio pyroute2"
    program = f"{statement}; import sys; print(*(name for name in '{heavy}'.split() if name in sys.modules))"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == ""
