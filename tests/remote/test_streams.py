"""However a file is cut into chunks, and wherever connections break, each byte is told once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pdconsole.remote.streams import Follow
from pdconsole.remote.values import LogChunk, Records

FILES = st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")), max_size=12)
# Where a connection delivers from (before what is wanted: repeats) and how much.
CUTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 13)), max_size=60)


def deliver(follow: Follow, data: bytes, cuts: list[tuple[int, int]]) -> list[object]:
    news = []
    for back, length in [*cuts, (0, len(data))]:
        start = max(0, follow.offset - back)
        got = follow.take(start, data[start : start + length])
        if got is not None:
            news.append(got)
    return news


@given(FILES, CUTS)
def test_log(lines: list[bytes], cuts: list[tuple[int, int]]) -> None:
    data = b"\n".join(lines)
    at = 0
    for chunk in deliver(Follow("n", "t", "log", 0), data, cuts):
        assert isinstance(chunk, LogChunk)
        assert chunk.offset == at
        assert chunk.data
        at += len(chunk.data)
        assert data[chunk.offset : at] == chunk.data
    assert at == len(data)


@given(FILES, CUTS)
def test_records(lines: list[bytes], cuts: list[tuple[int, int]]) -> None:
    data = b"".join(line + b"\n" for line in lines) + b'{"unfinished'
    told: list[bytes] = []
    for news in deliver(Follow("n", "t", "records", 0), data, cuts):
        assert isinstance(news, Records)
        assert news.offset == sum(len(line) + 1 for line in told)
        told += news.lines
    assert told == lines


def test_a_gap_is_not_told() -> None:
    follow = Follow("n", "t", "log", 10)
    assert follow.take(20, b"later") is None
    assert follow.offset == 10
