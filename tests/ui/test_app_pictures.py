"""Whole screens as text, at the three sizes and in the states that are easily forgotten.

PDCONSOLE_WRITE_GOLDENS=1 pytest tests/ui/test_app_pictures.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from console_case import END, a_workspace, opened_console

GOLDENS = Path(__file__).parent / "goldens"
SIZES = [(80, 24), (120, 40), (200, 60)]
SCREENS = {"sessions": "1", "logs": "6", "checks": "7", "compare": "5"}
FIRST = "20270115T080000Z"


def same_as_golden(name: str, lines: list[str]) -> None:
    # Sizes of recordings change with what they hold; their width stays.
    text = re.sub(r"\d+\.\d(?= kB)", "0.0", "\n".join(lines)) + "\n"
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("PDCONSOLE_WRITE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "w")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("screen", SCREENS)
async def test_screens(workspace: Path, screen: str, size: tuple[int, int]) -> None:
    async with opened_console(workspace, session=FIRST, size=size) as case:
        await case.press(SCREENS[screen])
        same_as_golden(f"{screen}_{size[0]}x{size[1]}", case.lines)


@pytest.mark.parametrize("screen", SCREENS)
async def test_empty(tmp_path: Path, screen: str) -> None:
    async with opened_console(tmp_path, size=(80, 24)) as case:
        await case.press(SCREENS[screen])
        same_as_golden(f"empty_{screen}", case.lines)


async def test_logs_in_the_middle_of_a_replay(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, at=5.5, size=(80, 24)) as case:
        await case.press("6")
        same_as_golden("replay_logs", case.lines)


async def test_plain_characters(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, at=END, size=(80, 24)) as case:
        await case.press("A", "escape", "5")
        same_as_golden("ascii_compare", case.lines)


async def test_help(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, size=(80, 24)) as case:
        await case.press("7", "question_mark")
        same_as_golden("help_checks", case.lines)
