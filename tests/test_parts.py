"""Each part imports on its own, in a fresh interpreter, and drags in only what it may."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("asyncssh", "pydantic", "pandas", "numpy", "pyarrow", "plotext", "rich", "textual")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "part",
    [
        "model.state",
        "model.quality",
        "profiles",
        "journal",
        "agent",
        "remote.client",
        "serving.deployment",
        "measure.point",
        "results",
        "sim.worker",
        "sim.embedded",
        "runner.daemon",
        "ui.follow",
    ],
)
def test_a_part_imports_alone(part: str) -> None:
    assert f"pdconsole.{part}" in loaded_by(f"import pdconsole.{part}")


@pytest.mark.parametrize(
    ("statement", "never"),
    [
        ("import pdconsole.cli", (*HEAVY, "msgspec", "yaml", "asyncio")),
        ("import pdconsole.runner.client", (*HEAVY, "yaml", "asyncio")),
        ("import pdconsole.model.state", (*HEAVY, "yaml", "asyncio")),
        ("import pdconsole.agent.__main__", (*HEAVY, "msgspec", "yaml", "click")),
        ("import pdconsole.journal", HEAVY),
        ("import pdconsole.results", HEAVY),
    ],
)
def test_nothing_heavy_comes_along(statement: str, never: tuple[str, ...]) -> None:
    assert loaded_by(statement).isdisjoint(never)
