"""Every screen as a picture: at three sizes, and in the states that are easily forgotten.

PDCONSOLE_WRITE_GOLDENS=1 .venv/bin/python -m pytest tests/ui/test_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from console_case import END, Case, a_workspace, opened_console
from fake_runner import FakeRunner
from pictures import same_as_golden
from planned_session import held, write_session
from recorded_session import FakeClock, Recording

from pdconsole.model import events as ev
from pdconsole.model.survey import SurveyGpu
from pdconsole.ui import theme
from pdconsole.ui.runner_calls import Connect

SIZES = ((80, 24), (120, 40), (200, 60))
SCREENS = ("sessions", "grid", "experiment", "live", "compare", "logs", "checks")
FIRST = "20270115T080000Z"
WHOLE = "20270115T100000Z"
PLACED = tuple("2pp4d")  # on the grid: 2P-TP2+1D-TP4


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


def answered_by(runner: FakeRunner) -> Connect:
    return lambda _workspace, _start: runner


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


@pytest.fixture
def runner(workspace: Path) -> FakeRunner:
    return FakeRunner(workspace)


async def take_sizes(name: str, case: Case, album: Album) -> None:
    for width, height in SIZES:
        await case.pilot.resize_terminal(width, height)
        await case.settle()
        album.take(f"{name}_{width}x{height}", case)
    album.end()


@pytest.mark.parametrize("screen", ["sessions", "live", "compare", "logs", "checks"])
async def test_three_sizes(workspace: Path, album: Album, screen: str) -> None:
    session = WHOLE if screen == "live" else FIRST
    async with opened_console(workspace, session=session, size=SIZES[0]) as case:
        await show(case, screen)
        await take_sizes(screen, case, album)


async def test_grid_at_three_sizes(workspace: Path, runner: FakeRunner, album: Album) -> None:
    async with opened_console(workspace, size=SIZES[0], connect=answered_by(runner)) as case:
        await show(case, "grid")
        await case.press(*PLACED)
        await take_sizes("grid", case, album)


async def test_experiment_at_three_sizes(album: Album) -> None:
    clock = FakeClock()
    recording = write_session(Path("w"), clock)
    with held(recording.directory):
        async with opened_console(
            Path("w"), session="", at=None, size=SIZES[0], clock=clock
        ) as case:
            await show(case, "experiment")
            await take_sizes("experiment", case, album)
    recording.journal.close()


async def test_grid_of_many_nodes(workspace: Path, album: Album) -> None:
    runner = FakeRunner(workspace, nodes=64)
    async with opened_console(workspace, connect=answered_by(runner)) as case:
        await show(case, "grid")
        await case.press(*PLACED)
        album.take("grid_64_nodes", case)
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


async def test_a_node_that_is_not_there_and_gpus_that_others_hold(
    workspace: Path, runner: FakeRunner, album: Album
) -> None:
    one, two = runner.survey.nodes
    others = [msgspec.structs.replace(g, owner="others", holder="pid 77 of anna") for g in one.gpus]
    runner.survey = msgspec.structs.replace(
        runner.survey,
        nodes=(
            msgspec.structs.replace(one, gpus=(*one.gpus[:6], *others[6:])),
            msgspec.structs.replace(
                two,
                link="lost",
                message="node2 does not answer; it is tried again",
                gpus=tuple(SurveyGpu(index=gpu.index) for gpu in two.gpus),
            ),
        ),
    )
    async with opened_console(workspace, connect=answered_by(runner)) as case:
        await show(case, "grid")
        await case.press(*PLACED)
        album.take("lost_node_grid", case)
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
    "launch": ("grid", *PLACED, "L"),
    "launch_plan": ("grid", *PLACED, "v"),
    "networks": ("grid", "N"),
    "charts": ("live", "c"),
    "go_to": ("live", "t"),
    "regimes": ("compare", "v"),
    "audit": ("compare", "v", "v"),
    "side_by_side": ("compare", "V"),
    "slo": ("compare", "s", *"tpot<=x"),
    "export": ("compare", "e"),
    "within_slo": ("compare", "s", *"ttft<=300", "enter", "x", "escape"),
    "commands": ("logs", "ctrl+p"),
    "help": ("checks", "question_mark"),
}


@pytest.mark.parametrize("name", OVER)
async def test_over_a_screen(workspace: Path, runner: FakeRunner, album: Album, name: str) -> None:
    screen, *keys = OVER[name]
    async with opened_console(
        workspace, session=FIRST, size=(80, 24), connect=answered_by(runner)
    ) as case:
        await show(case, screen)
        await case.press(*keys)
        album.take(f"over_{name}", case)
    album.end()


async def test_too_small(workspace: Path, album: Album) -> None:
    async with opened_console(workspace, session=FIRST, size=(70, 20)) as case:
        album.take("too_small", case)
    album.end()
