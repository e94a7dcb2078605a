"""A served book for each test of the HTTP surface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asking import UNIVERSE, Book
from speaking import Speaker

from ringipam.server.surface import open_surface


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def http(book: Book, tmp_path: Path) -> AsyncIterator[Speaker]:
    async with open_surface(book, tmp_path / "s", None, UNIVERSE, "1.2.3"):
        yield Speaker(tmp_path / "s")
