"""Shared by all tests: with --strict-skips a skipped test is a failed run."""

from __future__ import annotations

import hypothesis
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail when a test skips for want of something this machine should have",
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--strict-skips") or reporter is None:
        return
    skipped = [
        r
        for r in reporter.stats.get("skipped", [])
        # Published measurements lie outside the project; their tests say so when they skip.
        if "measured data" not in str(r.longrepr)
    ]
    if skipped and exitstatus == 0:
        names = ", ".join(sorted({r.nodeid for r in skipped}))
        reporter.write_line(f"--strict-skips: skipped here: {names}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# A deadline is a timed assertion, and machines are busy.
hypothesis.settings.register_profile("pdconsole", deadline=None)
hypothesis.settings.load_profile("pdconsole")
