"""Settings of the whole suite: what is skipped where, and what may never be skipped in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("suite")

NO_SKIPS = bool(os.environ.get("RINGIPAM_NO_SKIPS"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker of several begins with one when the others have finished."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    missing = _missing()
    for item in items:
        if item.get_closest_marker("root") and missing:
            item.add_marker(pytest.mark.skip(reason=f"needs {missing}"))


def _missing() -> str:
    if os.geteuid() != 0:
        return "root"
    return ", ".join(program for program in ("ip", "ping") if shutil.which(program) is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything was installed on purpose, a skipped test is a failed one."""
    report = yield
    if NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and RINGIPAM_NO_SKIPS forbids it: {report.longrepr}"
    return report
