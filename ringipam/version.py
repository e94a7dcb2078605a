"""Which release this is."""

from __future__ import annotations


def release() -> str:
    """The version of the installed package; reading it takes longer than most commands, so only when asked."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ringipam")
    except PackageNotFoundError:
        return "0+checkout"
