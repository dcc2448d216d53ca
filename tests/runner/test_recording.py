from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.journal import JournalError, SessionDir, read_events
from pdconsole.journal.history import History
from pdconsole.model import events as ev
from pdconsole.model.state import fold
from pdconsole.runner.recording import Recording


def fail(error: JournalError) -> None:
    pytest.fail(str(error))


async def record(session: SessionDir, events: int) -> None:
    async with Recording(session, fail) as recording:
        for i in range(events):
            recording.emit(ev.Note(level="info", message=f"{i:200}"))


async def test_keyframes_are_kept_while_recording_and_go_on_after_a_resume(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e")
    kept = []
    for _ in range(2):
        await record(session, 3000)
        with History.open(session) as history:
            assert history.latest() == fold(read_events(session.events_path))
            kept.append(len(history._keyframes))
            assert history._keyframes.added() == 0
    assert 1 < kept[0] < kept[1]


async def test_a_session_goes_on_without_keyframes(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e")
    session.keyframes_path.mkdir()
    await record(session, 3)
    *_, last = read_events(session.events_path)
    assert isinstance(last, ev.Note)
    assert "no more keyframes" in last.message
