"""Checks run again: in the session that runs, and on a cluster apart from any session."""

from __future__ import annotations

from pathlib import Path

import pytest
from console_case import CHECKS, opened_console
from planned_session import Runner, held, write_session
from recorded_session import FakeClock, Recording

from pdconsole.model import events as ev
from pdconsole.model.request import Call, Reply
from pdconsole.model.survey import Checking
from pdconsole.ui import runner_calls
from pdconsole.ui.widgets.row_table import RowTable

FOUND = (
    ev.CheckResult(node="node1", check="reachable", verdict="ok", value="vm", hard=True),
    ev.CheckResult(node="node2", check="clock", verdict="warn", value="9 ms", threshold="5 ms"),
)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner()
    for name in ("connect", "connect_or_start"):
        monkeypatch.setattr(runner_calls, name, lambda _workspace: made)
    return made


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    made = write_session(tmp_path / "w", FakeClock())
    made.add(*CHECKS)
    made.journal.flush()
    return made


async def test_one_check_or_all_again_in_the_session_that_runs(
    recording: Recording, runner: Runner, tmp_path: Path
) -> None:
    name = recording.directory.name
    with held(recording.directory):
        async with opened_console(
            tmp_path / "w", session=name, at=None, clock=recording.clock
        ) as case:
            await case.press("7", "j", "r")
            assert runner.calls == [Call(command="check", node="node1", check="clock", again=True)]
            assert "checking 1 again…" in case.text
            recording.clock.tick(1.0)
            recording.add(ev.CheckResult(node="node1", check="clock", verdict="ok", value="0 ms"))
            recording.journal.flush()
            await case.settle()
            assert "checking 1 again…" not in case.text
            assert "0 ms" in case.text
            await case.press("R")
            assert runner.calls[-1] == Call(command="check", again=True)
            assert "checking 4 again…" in case.text
            # A node that never answers does not leave it so for ever.
            await case.pass_time(101.0)
            assert "again…" not in case.lines[1]


async def test_what_the_runner_refuses_is_said(
    recording: Recording, runner: Runner, tmp_path: Path
) -> None:
    runner.answers["check"] = Reply(error="the session is connecting to its nodes")
    name = recording.directory.name
    with held(recording.directory):
        async with opened_console(
            tmp_path / "w", session=name, at=None, clock=recording.clock
        ) as case:
            await case.press("7", "R")
            assert "✗ the session is connecting" in case.text
            assert "again…" not in case.lines[1]


async def test_without_a_session_a_chosen_cluster_is_checked_until_all_is_known(
    runner: Runner, tmp_path: Path
) -> None:
    runner.answers["check"] = Reply(
        checking=Checking(cluster="embedded", busy=True, results=FOUND[1:])
    )
    async with opened_console(tmp_path) as case:
        await case.press("7")
        assert "no session is open; R checks a cluster now" in case.text
        await case.press("r")
        assert "no check is chosen" in case.text
        await case.press("R")  # none was ever chosen: which one?
        assert "Choose a cluster" in case.text
        await case.press("g", "enter")
        call = runner.calls[0]
        assert (call.command, call.again, bool(call.cluster)) == ("check", True, True)
        assert f" {call.cluster} now" in case.lines[1]
        assert "more to come…" in case.text
        runner.answers["check"] = Reply(
            checking=Checking(cluster="embedded", busy=False, results=FOUND)
        )
        await case.pass_time(1.0)
        assert "more to come" not in case.text
        assert "5 ms" in case.text
        assert case.app.screen.query_one(RowTable).cursor == 0
        asked = len(runner.calls)
        assert not runner.calls[-1].again
        await case.pass_time(1.0)
        assert len(runner.calls) == asked  # all is known: nobody asks any more
        await case.press("j", "r")
        assert runner.calls[-1] == Call(
            command="check", cluster=call.cluster, node="node2", check="clock", again=True
        )


async def test_the_cluster_of_a_session_that_ended_is_checked_beside_what_it_recorded(
    recording: Recording, runner: Runner, tmp_path: Path
) -> None:
    runner.answers["check"] = Reply(
        checking=Checking(cluster="embedded", busy=False, results=FOUND)
    )
    name = recording.directory.name
    async with opened_console(
        tmp_path / "w", session=name, at=float("inf"), clock=recording.clock
    ) as case:
        await case.press("7", "w")
        assert "nothing was checked apart from the session" in case.text
        await case.press("R")
        assert runner.calls == [Call(command="check", cluster="embedded", again=True)]
        assert " embedded now" in case.lines[1]
        assert " 2 checks" in case.lines[1]
        await case.press("w")
        assert " 4 checks" in case.lines[1]
        assert "at 08:" in case.text
        await case.press("w")
        assert "at 08:" not in case.text


async def test_a_cluster_that_cannot_be_checked_says_why(runner: Runner, tmp_path: Path) -> None:
    runner.answers["check"] = Reply(error="No cluster named 'x'")
    async with opened_console(tmp_path) as case:
        await case.press("7", "c", "enter")
        assert "✗ No cluster named 'x'" in case.text
        assert "nothing was checked on" in case.text
