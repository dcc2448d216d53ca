"""Streamed answers: however the bytes are cut, the same tokens with the right reads' stamps."""

from __future__ import annotations

import json
import select
from bisect import bisect_left
from itertools import accumulate, count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.agent.drive import reading
from pdconsole.agent.drive.answer import Answer, MalformedAnswerError
from pdconsole.agent.drive.reading import Odd, Read, parse, take_reads
from tests.agent_drive.paced import CHUNKED, chunk, event, token_event, usage_event

TEXTS = st.sampled_from(
    ["", " word", 'say "hi"', "data: x", "a\n\nb", '{"choices":[{', '"usage":{', "\\", "é", "\r\n"]
)
EVENTS = st.one_of(
    TEXTS.map(lambda text: (token_event(text), True)),
    st.just((token_event("", finish="length"), True)),
    st.just((event({"id": "cmpl-1", "choices": [{"text": "x"}, {"text": "y"}]}), True)),
    st.just((event({"choices": [], "usage": None}), False)),
    st.just((usage_event(3, 7), False)),
    st.just((b": ping\n\n", False)),
    st.just((b"event: note\ndata: 1\n\n", False)),
    st.just((b'data: {"choices":\ndata: [{"text":"two lines"}]}\n\n', True)),
)


class Stream:
    """The flight of an answer, as far as reading cares."""

    def __init__(self) -> None:
        self.answer = Answer()


def take_in(reads: list[bytes], parse_after: int = 1) -> Answer:
    """The answer after these reads, the n-th stamped n seconds; what must wait for the parser
    waits until `parse_after` reads have come."""
    stream = Stream()
    coming = iter(reads)
    answer = stream.answer
    sources = [None, (answer, answer.stamps, stream)]
    ready = [(1, select.EPOLLIN)]
    unparsed: list[Read[Stream]] = []
    odd: list[Odd] = []
    failures: list[Exception] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read", lambda fd, size: next(coming))
        patch.setattr(reading, "monotonic", map(float, count(1)).__next__)
        for number in range(1, len(reads) + 1):
            take_reads(lambda _: ready, None, 1, sources, unparsed, odd)
            if number % parse_after == 0 or number == len(reads):
                parse(unparsed, lambda _, error: failures.append(error))
                unparsed.clear()
                answer.fold()
    assert not failures
    assert not odd
    assert answer.token_events == len(answer.gaps_ms) + bool(answer.first)
    return answer


def stamps_of(answer: Answer) -> list[float]:
    gaps = (gap / 1e3 for gap in answer.gaps_ms)
    return list(accumulate(gaps, initial=answer.first)) if answer.first else []


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[list[bytes], list[float]]:
    """Reads of a whole answer, and the stamps its token events must get."""
    events = draw(st.lists(EVENTS, min_size=1, max_size=12))
    crlf = draw(st.booleans())
    payload, ends = b"", []
    for raw, is_token in [*events, (b"data: [DONE]\n\n", False)]:
        payload += raw.replace(b"\n", b"\r\n") if crlf else raw
        if is_token:
            ends.append(len(payload) - 1)
    framing = draw(st.sampled_from(["an event a chunk", "any chunks", "length", "until close"]))
    starts: list[int] = []  # where each payload byte lies in the answer
    chunk_ends: list[int] = []
    if framing in ("length", "until close"):
        head = b"HTTP/1.1 200 OK\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(payload) if framing == "length" else b"\r\n"
        wire, starts = head + payload, list(range(len(head), len(head) + len(payload)))
    else:
        if framing == "an event a chunk":
            blank = b"\r\n\r\n" if crlf else b"\n\n"
            pieces = [part + blank for part in payload.split(blank)[:-1]]
        else:
            cuts = draw(st.lists(st.integers(1, len(payload) - 1), unique=True, max_size=8))
            borders = [0, *sorted(cuts), len(payload)]
            pieces = [payload[a:b] for a, b in pairwise(borders)]
        wire = CHUNKED
        for piece in pieces:
            start = len(wire) + len(b"%x\r\n" % len(piece))
            starts.extend(range(start, start + len(piece)))
            wire += chunk(piece)
            chunk_ends.append(len(wire))
        wire += draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n"]))
    places = [at + 1 for at in starts]
    cuts = draw(
        st.one_of(
            st.lists(st.integers(1, len(wire) - 1), unique=True, max_size=30),
            st.just([*(place for end in ends for place in (places[end], places[end] + 2))]),
            st.just(chunk_ends),
            st.just(list(range(1, len(wire)))),
        )
    )
    borders = [0, *sorted({cut for cut in cuts if cut < len(wire)}), len(wire)]
    reads = [wire[a:b] for a, b in pairwise(borders)]
    expected = [float(bisect_left(borders, places[end])) for end in ends]
    return reads, expected


@given(cut_streams(), st.integers(1, 5))
def test_any_cut_gives_every_token_the_stamp_of_the_read_that_completed_it(
    stream: tuple[list[bytes], list[float]], parse_after: int
) -> None:
    reads, expected = stream
    answer = take_in(reads, parse_after)
    if not answer.complete:
        assert answer.close(float(len(reads)))
    assert stamps_of(answer) == pytest.approx(expected)
    assert answer.last == (expected[-1] if expected else 0.0)
    assert answer.done
    assert bool(expected) == (answer.failure() == "")


def test_a_typical_stream_of_one_chunk_a_token_skips_the_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = []
    feed = Answer.feed
    monkeypatch.setattr(
        Answer, "feed", lambda self, t, data: fed.append(data) or feed(self, t, data)
    )
    tokens = [chunk(token_event(f" word{i}")) for i in range(20)]
    ending = chunk(usage_event(5, 20)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    answer = take_in([CHUNKED + tokens[0], *tokens[1:], ending])
    assert answer.token_events == 20
    assert (answer.prompt_tokens, answer.completion_tokens) == (5, 20)
    assert answer.request_id == "cmpl-1"
    assert len(fed) == 2


def test_what_ends_like_a_token_event_but_is_more_than_one_line_is_parsed() -> None:
    token = token_event(" x")
    two = chunk(b'data: {"error":{"message":"gone"}}\n\n' + token)
    answer = take_in([CHUNKED + chunk(token), chunk(token), two])
    assert answer.token_events == 3
    assert answer.server_error.endswith("gone")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"error": {"message": "no such model", "code": 404}}), "no such model"),
        (json.dumps({"object": "error", "message": "too long"}), "too long"),
        (json.dumps({"detail": "overloaded"}), "overloaded"),
        ("No available\n workers", "No available workers"),
        ("", "Service Unavailable"),
    ],
)
def test_an_error_answer_says_its_message(body: str, message: str) -> None:
    head = f"HTTP/1.1 503 Service Unavailable\r\ncontent-length: {len(body)}\r\n\r\n"
    answer = take_in([head.encode(), body.encode()] if body else [head.encode()])
    assert answer.complete
    assert answer.failure() == f"HTTP 503: {message}"
    assert answer.keep_alive


def test_a_stream_that_ends_before_its_end_is_an_error() -> None:
    answer = take_in([CHUNKED + chunk(token_event()) * 2 + b"0\r\n\r\n"])
    assert answer.complete
    assert answer.failure() == "the stream ended without [DONE] after 2 token events"
    answer = take_in([CHUNKED + chunk(token_event())])
    assert not answer.close(9.0)


def test_a_chunk_that_ends_an_event_begun_in_the_one_before_is_not_taken_for_a_whole_one() -> None:
    token = token_event(" word")
    cut = len(b"data: {")
    reads = [CHUNKED + chunk(token), chunk(token[:cut]), chunk(token[cut:]), chunk(token)]
    answer = take_in([*reads, chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"])
    assert stamps_of(answer) == pytest.approx([1, 3, 4])
    assert answer.failure() == ""


def test_a_read_that_waits_for_the_parser_keeps_its_place() -> None:
    token = chunk(token_event())
    answer = take_in([CHUNKED + token, token, token + token, token], parse_after=2)
    assert stamps_of(answer) == pytest.approx([1, 2, 3, 3, 4])


def test_a_chunk_that_goes_on_after_its_token_is_not_taken_for_a_whole_one() -> None:
    token = token_event()
    longer = chunk(token + b"\r\n")
    reads = [CHUNKED + chunk(token), longer[:-2], longer[-2:] + chunk(token)]
    assert stamps_of(take_in(reads)) == pytest.approx([1, 2, 3])


def test_an_error_within_the_stream_is_an_error() -> None:
    gone = event({"error": {"message": "engine died"}})
    answer = take_in([CHUNKED + chunk(token_event()) + chunk(gone) + b"0\r\n\r\n"])
    assert "engine died" in answer.failure()


def test_an_interim_answer_is_passed_over() -> None:
    answer = take_in([b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + chunk(token_event())])
    assert (answer.status, answer.token_events) == (200, 1)


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
    ],
)
def test_whether_the_connection_may_be_used_again(head: bytes, reusable: bool) -> None:
    body = token_event() + b"data: [DONE]\n\n"
    answer = take_in([head + b"content-length: %d\r\n\r\n" % len(body) + body])
    assert answer.complete
    assert answer.keep_alive is reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70000,
    ],
)
def test_what_is_not_http_is_refused(wire: bytes) -> None:
    answer = Answer()
    with pytest.raises(MalformedAnswerError):
        answer.feed(1.0, wire)
