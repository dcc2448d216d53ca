from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_clock import FakeClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdconsole.journal.errors import DiskFullError, JournalError
from pdconsole.journal.reader import JournalTail, read_events
from pdconsole.journal.writer import JournalWriter
from pdconsole.model import events as ev


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def note(text: str) -> ev.Note:
    return ev.Note(level="info", message=text)


def messages(path: Path) -> list[str]:
    return [e.message for e in read_events(path) if isinstance(e, ev.Note)]


def test_what_is_appended_is_read(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "s" / "events.jsonl"
    path.parent.mkdir()
    with JournalWriter(path, clock=clock) as journal:
        clock.tick(1.5)
        stamped = journal.append(note('umlaut ü, newline \n, quote "'))
    header, event = read_events(path)
    assert isinstance(header, ev.Header)
    assert (header.session, header.seq, header.t) == ("s", 1, 0.0)
    assert event == stamped
    assert (event.seq, event.t, event.wall) == (2, 1.5, clock.unix)


def test_nothing_is_visible_before_a_flush_but_state_changes_are(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, clock=clock) as journal:
        journal.append(note("one"))
        assert messages(path) == []
        journal.append(ev.RunState(run="1", status="done"))
        assert messages(path) == ["one"]


def test_resume_continues_seq_and_time(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, clock=clock) as journal:
        clock.tick(10)
        journal.append(note("before"))
    clock.reboot(away_s=100)
    with JournalWriter(path, clock=clock) as journal:
        clock.tick(1)
        assert journal.append(note("after")).t == pytest.approx(111)
    assert [e.seq for e in read_events(path)] == [1, 2, 3]


def test_time_never_goes_back_although_the_wall_clock_does(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, clock=clock) as journal:
        clock.tick(50)
        journal.append(note("before"))
    clock.reboot(away_s=-3600)
    with JournalWriter(path, clock=clock) as journal:
        assert journal.append(note("after")).t >= 50


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(min_value=0))
def test_a_tail_torn_anywhere_is_ignored_then_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    with JournalWriter(path, clock=FakeClock()) as journal:
        for text in ("one", "two", "three"):
            journal.append(note(text))
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])

    before = list(read_events(path))
    assert before == list(read_events_of(whole, len(before)))
    with JournalWriter(path, clock=FakeClock()) as journal:
        journal.append(note("after"))
    after = list(read_events(path))
    assert [e.seq for e in after] == list(range(1, len(after) + 1))
    assert messages(path)[-1] == "after"
    assert len(after) == max(len(before), 1) + 1  # the header is written anew if it was torn


def read_events_of(data: bytes, count: int) -> list[ev.AnyEvent | None]:
    return [ev.decode(line) for line in data.splitlines()[:count]]


def test_tail_follows_a_growing_file_and_leaves_a_torn_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, clock=FakeClock()) as journal:
        journal.append(note("one"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with JournalTail(path, chunk=16) as tail:  # lines are longer than a chunk
        assert [type(e) for e in tail.poll()] == [ev.Header]
        assert tail.poll() == []
        with path.open("ab") as file:
            file.write(whole[-5:])
        assert [e.message for e in tail.poll() if isinstance(e, ev.Note)] == ["one"]
        assert tail.poll() == []


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path), pytest.raises(JournalError, match="another process"):
        JournalWriter(path)
    JournalWriter(path).close()


def test_types_of_the_future_are_passed_over_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path) as journal:
        journal.append(note("one"))
    with path.open("ab") as file:
        file.write(b'{"type":"hologram.shown","seq":3,"t":1,"wall":2,"depth":[1]}\n')
    with JournalWriter(path) as journal:
        journal.append(note("two"))
    assert messages(path) == ["one", "two"]


def test_a_jump_in_seq_becomes_a_note_in_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path) as journal:
        for text in ("2", "3", "4", "5"):
            journal.append(note(text))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], lines[4]]))
    found = messages(path)
    assert found == ["2", "events 3 to 4 are missing from the recording", "5"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b'{"type":"header","schema":99,"session":"s","pdconsole":"9.9","seq":1}\n',
            "9.9.*upgrade",
        ),
        (b'{"type":"note","seq":1,"level":"info","message":"m"}\n', "no pdconsole recording"),
        (b"PK\x03\x04 not a recording\n", "no pdconsole recording"),
        (
            b'{"type":"header","schema":1,"session":"s","pdconsole":"0","seq":1}\nnonsense\n',
            "line 2 is damaged",
        ),
        (
            b'{"type":"header","schema":1,"session":"s","pdconsole":"0","seq":1}\n{"\xff":1}\n',
            "line 2 is damaged",
        ),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=expected):
        list(read_events(path))


def test_no_recording_says_where(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no recording at .*events\.jsonl"):
        JournalTail(tmp_path / "events.jsonl")


def test_a_recording_of_the_future_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    content = b'{"type":"header","schema":99,"session":"s","pdconsole":"9","seq":1}\n{"half'
    path.write_bytes(content)
    with pytest.raises(JournalError, match="upgrade"):
        JournalWriter(path)
    assert path.read_bytes() == content


def test_full_disk_keeps_whole_lines_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    write = os.write
    room = 0

    def write_while_there_is_room(fd: int, data: Any) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(fd, bytes(data)[: min(room, 40)])
        room -= count
        return count

    with JournalWriter(path) as journal:
        for text in ("one", "two", "three", "four"):
            journal.append(note(text))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_while_there_is_room)
            room = 250  # two lines and a piece
            with pytest.raises(DiskFullError, match=r"no room for .*events\.jsonl: .* needed") as e:
                journal.flush()
        assert e.value.kept > 0
        assert path.read_bytes().endswith(b"\n")
        assert messages(path) == ["one", "two"]
        journal.append(note("five"))
    assert messages(path) == ["one", "two", "three", "four", "five"]
    assert [e.seq for e in read_events(path)] == [1, 2, 3, 4, 5, 6]


WRITE_UNTIL_FULL = """
import resource, signal, sys
from pathlib import Path
from pdconsole.journal.errors import DiskFullError
from pdconsole.journal.writer import JournalWriter
from pdconsole.model.events import Note
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = JournalWriter(Path(sys.argv[1]))
try:
    while True:
        journal.append(Note(level="info", message="x" * 100))
except DiskFullError as e:
    print(e)
    sys.exit(3)
"""


def test_a_real_file_that_may_not_grow_ends_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_FULL, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 3, done.stderr
    assert "no room for" in done.stdout
    data = path.read_bytes()
    assert 90_000 < len(data) <= 100_000
    assert data.endswith(b"}\n")
    assert len(list(read_events(path))) == data.count(b"\n")


def test_a_recording_removed_under_its_writer_is_told(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "events.jsonl"
    journal = JournalWriter(path, clock=clock)
    journal.append(ev.SessionState(status="running"))
    path.unlink()
    with pytest.raises(JournalError, match=r"events\.jsonl was removed while it was being"):
        journal.append(ev.SessionState(status="finished"))
    with pytest.raises(JournalError):
        journal.close()
