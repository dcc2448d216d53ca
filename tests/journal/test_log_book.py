from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.journal.deletion import delete_session
from pdconsole.journal.errors import JournalError
from pdconsole.journal.log_book import LONGEST, LogBook
from pdconsole.journal.log_lines import LEVELS, LineHeads, head_length
from pdconsole.journal.session import SessionDir

START = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC


def read_all(book: LogBook, budget: int = 1 << 20) -> LogBook:
    while book.take_in(budget):
        pass
    return book


def texts(book: LogBook) -> list[str]:
    return [book.text(int(i)) for i in book.select()]


def write(directory: Path, name: str, data: bytes, node: str = "node1") -> Path:
    path = directory / node / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("line", "level", "wall"),
    [
        (b"(APIServer pid=1) INFO 01-15 08:00:05 [a.py] x", "info", START + 5),
        (b"(EngineCore_0 pid=1) (Worker pid=2) ERROR 01-15 08:00:05 [a.py] x", "error", START + 5),
        (b"WARNING 01-15 08:01:00 [a.py] INFO inside", "warning", START + 60),
        (b"INFO:     127.0.0.1:5 - GET /health", "info", None),
        (b"\x1b[2m2027-01-15 08:00:05\x1b[0m \x1b[33mWARN\x1b[0m router", "warning", START + 5),
        (b"2027-01-15T08:00:05.250Z  INFO x", "info", START + 5.25),
        (b"2027-01-15T10:00:05+02:00 DEBUG x", "debug", START + 5),
        (b"Traceback (most recent call last):", "error", None),
        (b"torch.OutOfMemoryError: CUDA out of memory", "error", None),
        (b'  File "x.py", line 1, in ERRORS', "", None),
        (b"", "", None),
        (b"\xff\xfe\x00", "", None),
    ],
)
def test_heads_of_lines(line: bytes, level: str, wall: float | None) -> None:
    found, at, _ = LineHeads(START).read(line)
    assert LEVELS[found] == level
    assert at == wall


def test_a_clock_without_a_year_over_new_year() -> None:
    heads = LineHeads(1_798_761_500.0)  # 2026-12-31 23:58:20
    assert heads.read(b"INFO 12-31 23:59:59 x")[1] == 1_798_761_599.0
    assert heads.read(b"INFO 01-01 00:00:01 x")[1] == 1_798_761_601.0
    assert heads.read(b"INFO 12-31 23:59:58 x")[1] == 1_798_761_598.0


def test_the_head_of_a_line_is_what_precedes_its_message() -> None:
    line = b"(APIServer pid=1) INFO 01-15 08:00:05 [a.py] x"
    assert line[head_length(line) :] == b"[a.py] x"
    assert head_length(b"no head") == 0


def test_lines_of_all_files_are_in_the_order_of_time_whatever_their_zones(tmp_path: Path) -> None:
    write(tmp_path, "1-P1.log", b"INFO 01-15 13:30:01 [a] p1\nINFO 01-15 13:30:04 [a] p2\n")
    write(tmp_path, "1-D1.log", b"INFO 01-15 03:00:02 [a] d1\nINFO 01-15 03:00:03 [a] d2\n", "n2")
    write(tmp_path, "1-router.log", b"starts\n2027-01-15T08:00:05Z WARN r\n")
    book = read_all(LogBook(tmp_path, START))
    assert [t.split()[-1] for t in texts(book)] == ["starts", "p1", "d1", "d2", "p2", "r"]


def test_a_line_without_a_time_comes_after_the_one_before_it(tmp_path: Path) -> None:
    lines = b"ERROR 01-15 08:00:02 [a] e\n  because\nINFO 01-15 08:00:01 late\n"
    write(tmp_path, "1-P1.log", lines)
    write(tmp_path, "1-D1.log", b"INFO 01-15 08:00:03 [a] d\n")
    book = read_all(LogBook(tmp_path, START))
    assert [t.split()[-1] for t in texts(book)] == ["e", "because", "late", "d"]
    worst = book.select(least_level=LEVELS.index("error"))
    assert [book.text(int(i)).split()[-1] for i in worst] == ["e", "because"]


def test_the_first_lines_of_a_later_run_are_not_put_before_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path, "1-P1.log", b"INFO 01-15 08:00:01 [a] first\nINFO 01-15 08:09:00 [a] last\n")
    write(tmp_path, "2-router.log", b"DEBUG: no time\n")
    book = LogBook(tmp_path, START)
    book.run_starts = {"1": START, "2": START + 600}
    assert [t.split()[-1] for t in texts(read_all(book))] == ["first", "last", "time"]


@given(st.data())
def test_read_in_pieces_while_it_grows_no_line_is_lost_torn_or_moved(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 1 << 30)))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        paths = [write(directory, f"1-{p}.log", b"") for p in ("P1", "D1")]
        whole = [b"", b""]
        book = LogBook(directory, START)
        seen: list[str] = []
        for second in range(data.draw(st.integers(1, 12))):
            for i, path in enumerate(paths):
                body = b"".join(
                    b"INFO 01-15 08:00:%02d [x] %d \xc3\xa9 %s\n"
                    % (second, k, b"y" * rng.randrange(40))
                    for k in range(rng.randrange(4))
                )
                whole[i] += body
                cut = rng.randrange(len(whole[i]) + 1)
                path.write_bytes(whole[i][: max(cut, path.stat().st_size)])
            read_all(book, rng.choice([1, 7, 64, 1 << 20]))
            now = texts(book)
            if second:
                assert now[: len(seen)] == seen, "a line that was seen changed its place"
            seen = now
        for i, path in enumerate(paths):
            path.write_bytes(whole[i])
        read_all(book)
        for i, _ in enumerate(paths):
            ours = [book.text(int(n)) for n in book.select(sources={i})]
            source = book.sources[i].process
            expected = whole[0 if source == "P1" else 1].decode().splitlines()
            assert ours == expected


def test_names_of_files_tell_run_process_and_start(tmp_path: Path) -> None:
    for name in ("1-P1.log", "1-P1.2.log", "12-driver-conc4-1.log", "odd.log"):
        write(tmp_path, name, b"x\n")
    book = read_all(LogBook(tmp_path, START))
    assert {(s.run, s.process, s.start) for s in book.sources} == {
        ("1", "P1", 1),
        ("1", "P1", 2),
        ("12", "driver-conc4-1", 1),
        ("", "odd", 1),
    }


def test_find_goes_both_ways_and_a_very_long_line_is_cut(tmp_path: Path) -> None:
    write(tmp_path, "1-P1.log", b"Alpha\nbeta\nALPHA\n" + b"z" * (LONGEST + 500) + b"\n")
    book = read_all(LogBook(tmp_path, START), 1000)
    ids = book.select()

    def found(word: str, start: int, *, back: bool = False) -> int | None:
        return list(book.find(ids, word, start, back=back))[-1]

    assert found("alpha", 0) == 0
    assert found("alpha", 1) == 2
    assert found("ALPHA", 0) == 2
    assert found("alpha", 1, back=True) == 0
    assert found("alpha", 3) == -1
    assert book.text(int(ids[3])).endswith("z … 500 more bytes")


def test_a_session_that_is_held_is_not_deleted(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "x")
    session.write_meta({"status": "running"})
    with session.hold(), pytest.raises(JournalError, match="is being carried out"):
        delete_session(session)
    assert session.meta_path.exists()
    delete_session(session)
    assert list((tmp_path / "sessions").iterdir()) == []
