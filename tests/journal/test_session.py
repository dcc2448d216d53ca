from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_clock import FakeClock

from pdconsole.journal.errors import JournalError
from pdconsole.journal.session import SessionDir, list_sessions
from pdconsole.journal.writer import JournalWriter
from pdconsole.model import events as ev

OPENED = ev.SessionOpened(
    session="s",
    experiment="pd-ratio-sweep",
    question="Which ratio wins?",
    cluster="embedded",
    model="gpt-oss-120b",
    simulated=True,
    runs=tuple(
        ev.PlannedRun(
            run=str(i), layout=layout, strategy="pack", network="srd", workload="w",
            input_len=5000, output_len=250, mode="mixed", gpus=8, points=("conc4",), result_dir="r",
        )
        for i, layout in enumerate(["p1xtp2-d3xtp2", "4xtp2", "4xtp2"])
    ),
)  # fmt: skip


def make(workspace: Path, clock: FakeClock, status: str = "running") -> SessionDir:
    session = SessionDir.create(workspace, "pd-ratio-sweep", clock)
    with JournalWriter(session.events_path, clock=clock) as journal:
        journal.append(OPENED)
        clock.tick(90)
        journal.append(ev.Note(level="info", message="the last one"))
    session.write_meta({"status": status, "layouts": ["a"]})
    return session


def test_names_are_stamped_and_never_reused(tmp_path: Path) -> None:
    clock = FakeClock()
    names = [SessionDir.create(tmp_path, "pd-ratio-sweep", clock).name for _ in range(3)]
    assert names[0] == "20270115T080000Z_pd-ratio-sweep"
    assert names[1:] == [f"{names[0]}_2", f"{names[0]}_3"]


def test_a_list_tells_what_a_session_was(tmp_path: Path) -> None:
    clock = FakeClock()
    make(tmp_path, clock, "finished")
    clock.tick(10)
    newest = make(tmp_path, clock, "running")
    found = list_sessions(tmp_path)
    assert [s.status for s in found] == ["broken-off", "finished"]
    first = found[0]
    assert first.name == newest.name
    assert first.layouts == ("p1xtp2-d3xtp2", "4xtp2")
    assert (first.question, first.simulated) == ("Which ratio wins?", True)
    assert first.duration_s == pytest.approx(90)
    assert first.size_bytes > 500
    assert first.problem == ""


HOLD = """
import sys
from pathlib import Path
from pdconsole.journal.session import SessionDir
with SessionDir(Path(sys.argv[1])).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_runner_is_gone(tmp_path: Path) -> None:
    session = make(tmp_path, FakeClock())
    runner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(session.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"held\n"
        assert list_sessions(tmp_path)[0].status == "running"
        with (
            pytest.raises(JournalError, match=f"carried out by process {runner.pid}"),
            session.hold(),
        ):
            pass
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.communicate()
    assert list_sessions(tmp_path)[0].status == "broken-off"
    with session.hold():
        assert session.is_held()


def test_damage_is_told_in_the_list(tmp_path: Path) -> None:
    session = make(tmp_path, FakeClock(), "finished")
    session.meta_path.write_text("status: [")
    found = list_sessions(tmp_path)[0]
    assert found.status == "broken-off"
    assert "session.yaml is damaged" in found.problem
    assert found.experiment == "pd-ratio-sweep"


def test_status_changes_leave_the_rest_and_no_temporary_file(tmp_path: Path) -> None:
    session = make(tmp_path, FakeClock())
    session.write_status("failed", "worker P1 died")
    meta = session.read_meta()
    assert (meta["status"], meta["message"], meta["layouts"]) == ("failed", "worker P1 died", ["a"])
    assert not [p for p in session.path.iterdir() if p.name.endswith(".tmp")]


def test_find_by_name_by_piece_and_the_newest(tmp_path: Path) -> None:
    clock = FakeClock()
    one = make(tmp_path, clock)
    clock.tick(3600)
    two = make(tmp_path, clock)
    assert SessionDir.find(tmp_path).name == two.name
    assert SessionDir.find(tmp_path, one.name).name == one.name
    assert SessionDir.find(tmp_path, "T0800").name == one.name
    assert SessionDir.find(tmp_path, str(one.path)).name == one.name
    with pytest.raises(JournalError, match=f"more than one session.*{one.name}, {two.name}"):
        SessionDir.find(tmp_path, "pd-ratio")
    with pytest.raises(JournalError, match=f"`nope` is no session; choose from: {one.name}"):
        SessionDir.find(tmp_path, "nope")
    with pytest.raises(JournalError, match="no sessions in"):
        SessionDir.find(tmp_path / "elsewhere")


def test_log_names_stay_in_the_session(tmp_path: Path) -> None:
    session = make(tmp_path, FakeClock())
    assert session.log_path("n1", "P1", "2") == session.path / "logs/n1/2-P1.log"
    with pytest.raises(ValueError, match="not a name"):
        session.log_path("..", "P1")
