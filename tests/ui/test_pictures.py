"""Every screen as a picture: at three sizes, and in the states that are easily forgotten.

PDCONSOLE_WRITE_GOLDENS=1 .venv/bin/python -m pytest tests/ui/test_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import pytest
from console_case import END, Case, a_workspace, opened_console
from pictures import same_as_golden
from recorded_session import FakeClock, Recording

from pdconsole.model import events as ev
from pdconsole.ui import theme

SIZES = ((80, 24), (120, 40), (200, 60))
SCREENS = ("sessions", "live", "compare", "logs", "checks")
FIRST = "20270115T080000Z"
WHOLE = "20270115T100000Z"


class Album:
    """Takes pictures and compares them; all that differ are told of together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._problems: list[str] = []

    def take(self, name: str, case: Case) -> None:
        try:
            same_as_golden(name, case.app.export_screenshot(), self._directory)
        except AssertionError as e:
            self._problems.append(str(e))

    async def take_all(self, prefix: str, case: Case) -> None:
        for screen in SCREENS:
            await show(case, screen)
            self.take(f"{prefix}_{screen}", case)

    def end(self) -> None:
        assert not self._problems, "\n\n".join(self._problems)


async def show(case: Case, screen: str) -> None:
    case.app.action_show(screen)
    await case.settle()


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path)


@pytest.fixture(autouse=True)
def paths_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What screens say of files is the same wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "STATE"):
        # Nothing can be written there: what one picture chooses, the next does not know.
        monkeypatch.setenv(f"XDG_{name}_HOME", f"/proc/none/{name.lower()}")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = a_workspace(tmp_path_factory.mktemp("pictures") / "w")
    clock = FakeClock()
    clock.tick(7200.0)
    whole = Recording(root, clock).whole()
    whole.directory.write_meta({"status": "finished"})
    return root


@pytest.fixture
def workspace(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(recorded.parent)
    return Path(recorded.name)


@pytest.mark.parametrize("screen", SCREENS)
async def test_three_sizes(workspace: Path, album: Album, screen: str) -> None:
    session = WHOLE if screen == "live" else FIRST
    async with opened_console(workspace, session=session, size=SIZES[0]) as case:
        await show(case, screen)
        for width, height in SIZES:
            await case.pilot.resize_terminal(width, height)
            await case.settle()
            album.take(f"{screen}_{width}x{height}", case)
    album.end()


async def test_empty(album: Album) -> None:
    async with opened_console(Path("w"), size=(80, 24)) as case:
        await album.take_all("empty", case)
    album.end()


async def test_amid_a_replay(workspace: Path, album: Album) -> None:
    async with opened_console(workspace, session=WHOLE, at=38.0) as case:
        await case.press("space")
        await show(case, "live")
        album.take("replay_live", case)
    async with opened_console(workspace, session=FIRST, at=5.5, size=(80, 24)) as case:
        await show(case, "logs")
        album.take("replay_logs", case)
    album.end()


async def test_without_colours(
    workspace: Path, album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened_console(workspace, session=FIRST, at=20.0) as case:
        await case.press("space")
        await album.take_all("no_color", case)
    album.end()


async def test_plain_characters(
    workspace: Path, album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    async with opened_console(workspace, session=FIRST, at=20.0) as case:
        await case.press("space")
        await album.take_all("ascii", case)
        assert case.text.isascii()
    album.end()


@pytest.mark.parametrize("name", theme.NAMES[1:])
async def test_themes(workspace: Path, album: Album, name: str) -> None:
    async with opened_console(workspace, session=WHOLE, at=38.0, size=(80, 24)) as case:
        case.app.theme = name
        await case.press("space")
        await show(case, "live")
        album.take(f"theme_{name.removeprefix('pdconsole-')}", case)
    album.end()


# --- the runner or a node is gone ---


def under_way(root: Path) -> Recording:
    recording = Recording(root)
    recording.directory.write_meta({"status": "running"})
    recording.open()
    recording.launch("1", ("P1", "D1", "D2"))
    recording.begin_point("1", "conc4")
    for _ in range(20):
        recording.second("1", "conc4", "warmup")
    recording.journal.flush()
    return recording


async def test_a_lost_node_and_silence(album: Album) -> None:
    recording = under_way(Path("w"))
    with recording.directory.hold():
        clock = recording.clock
        async with opened_console(Path("w"), session="", at=None, clock=clock) as case:
            recording.add(ev.NodeLink(node="node1", status="lost", message="timed out"))
            recording.journal.flush()
            await case.pass_time(9.0)
            album.take("lost_node_live", case)
    recording.journal.close()
    album.end()


async def test_a_runner_that_is_gone(album: Album) -> None:
    recording = under_way(Path("w"))
    recording.journal.close()
    async with opened_console(
        Path("w"), session="", at=END, clock=recording.clock, size=(80, 24)
    ) as case:
        await album.take_all("runner_gone", case)
    album.end()


# --- what comes up over a screen ---

OVER = {
    "delete": ("sessions", "d"),
    "charts": ("live", "c"),
    "go_to": ("live", "t"),
    "commands": ("logs", "ctrl+p"),
    "help": ("checks", "question_mark"),
}


@pytest.mark.parametrize("name", OVER)
async def test_over_a_screen(workspace: Path, album: Album, name: str) -> None:
    screen, key = OVER[name]
    async with opened_console(workspace, session=FIRST, size=(80, 24)) as case:
        await show(case, screen)
        await case.press(key)
        album.take(f"over_{name}", case)
    album.end()


async def test_too_small(workspace: Path, album: Album) -> None:
    async with opened_console(workspace, session=FIRST, size=(70, 20)) as case:
        album.take("too_small", case)
    album.end()
