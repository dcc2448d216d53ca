"""One streamed answer: HTTP/1.1 with server-sent events, each token stamped by the read it came in.

A token event is an event whose `choices` is not empty, whatever its text and finish reason: the
definition of `vllm bench serve`. Its time is that of the read that completed the event. TTFT is
the first token event's time less the send instant, ITL the gaps between token events, E2EL the
last token event's time less the send instant. Token counts come from the server's `usage`.
"""

from __future__ import annotations

import json
import re
from array import array
from typing import Any, Dict, List, Optional, Tuple

READ_BYTES = 65536
MAX_HEAD_BYTES = 65536
MAX_ERROR_BYTES = 65536

# States of the body's framing
_HEAD, _SIZE, _DATA, _CRLF, _TRAILER, _LENGTH, _UNTIL_EOF, _COMPLETE = range(8)

# How chunks begin, by their length with framing; nothing where that is not worth knowing.
HEADS: List[Tuple[bytes, ...]] = [()] * (READ_BYTES + 1)
for _size in range(0x20, 0x800):
    HEADS[len(b"%x" % _size) + _size + 4] = (b"%x\r\n" % _size, b"%X\r\n" % _size)
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_TEXT = re.compile(rb'"text":\s*"(?:[^"\\]|\\.)*"')
# As vLLM 0.25 and later name them in an answer's `metrics` (--enable-per-request-metrics): from
# queued to scheduled, and from there to the first token.
SERVER_STAGES = (("queue", "queue_time_ms"), ("first_token", "time_to_first_token_ms"))
NOWHERE = b"\0no read ends like this"


class MalformedAnswerError(Exception):
    """What came back is not HTTP/1.1."""


class Answer:
    """The answer to one request, fed read by read. Times are seconds of time.monotonic()."""

    __slots__ = (
        "_body",
        "_event",
        "_held",
        "_left",
        "_state",
        "_token_end",
        "completion_tokens",
        "done",
        "end",
        "first",
        "gaps_ms",
        "keep_alive",
        "last",
        "plain_end",
        "prompt_tokens",
        "reason",
        "request_id",
        "server_error",
        "server_ms",
        "stamps",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.keep_alive = True
        self.end = 0.0  # the latest read; 0: nothing came yet
        self.stamps: List[float] = []  # of token events that are not folded yet
        # Of those that are:
        self.first = 0.0  # 0: none yet
        self.last = 0.0
        self.gaps_ms = array("f")
        self.done = False  # `[DONE]` came
        self.request_id = ""
        self.prompt_tokens: Optional[int] = None
        self.completion_tokens: Optional[int] = None
        self.server_error = ""
        self.server_ms: Dict[str, float] = {}  # what the server tells of this request's stages
        # How a read ends that is one chunk with one token event, where a chunk starts next.
        self.plain_end = NOWHERE
        self._token_end = NOWHERE  # the same, wherever the reading stands
        self._state = _HEAD
        self._held = b""  # framing that is not complete yet
        self._left = 0  # bytes still to come of this chunk, or of a body of known length
        self._event = b""  # the event that is not complete yet
        self._body = b""  # of an answer that is not a stream of events

    @property
    def complete(self) -> bool:
        return self._state == _COMPLETE

    @property
    def token_events(self) -> int:
        return len(self.stamps) + (len(self.gaps_ms) + 1 if self.first else 0)

    def fold(self) -> List[float]:
        """Make gaps of the stamps; the new gaps in ms."""
        stamps = self.stamps
        if not stamps:
            return []
        if self.first:
            before, after = [self.last, *stamps], stamps
        else:
            self.first = stamps[0]
            before, after = stamps, stamps[1:]
        gaps = [(b - a) * 1e3 for a, b in zip(before, after)]
        self.gaps_ms.extend(gaps)
        self.last = stamps[-1]
        stamps.clear()
        return gaps

    def feed(self, stamp: float, data: bytes) -> bool:
        """Take one read in; True when it completes the answer. Raises MalformedAnswerError."""
        self.end = stamp
        if self._state == _COMPLETE:
            self.keep_alive = False  # bytes that nobody asked for: never use this connection again
            return False
        if self._held:
            data = self._held + data
            self._held = b""
        position = 0
        while position < len(data) and self._state != _COMPLETE:
            step = self._step(stamp, data, position)
            if step < 0:
                self._held = data[position:]
                break
            position = step
        if self._state == _COMPLETE:
            self.keep_alive = self.keep_alive and position == len(data)
            self._finish_events(stamp)
        between = self._state == _SIZE and not self._held and not self._event
        self.plain_end = self._token_end if between else NOWHERE
        return self._state == _COMPLETE

    def close(self, stamp: float) -> bool:
        """The server closed the connection; True when that is how this answer ends."""
        self.keep_alive = False
        if self._state == _UNTIL_EOF:
            self._state = _COMPLETE
            self._finish_events(stamp)
        return self._state == _COMPLETE

    def failure(self) -> str:
        """Why this complete answer is not a finished request; empty if it is one."""
        if self.status != 200:
            message = _error_message(self._body) or self.reason
            return f"HTTP {self.status}: {message}" if message else f"HTTP {self.status}"
        if self.server_error:
            return self.server_error
        if not self.token_events:
            shown = _error_message(self._body)
            return "the answer holds no token event" + (f": {shown}" if shown else "")
        if not self.done and self.completion_tokens is None:
            return f"the stream ended without [DONE] after {self.token_events} token events"
        return ""

    def _step(self, stamp: float, data: bytes, position: int) -> int:
        """Take in one piece of framing from `position`; the position after it, -1 if cut short."""
        state = self._state
        if state == _HEAD:
            end = data.find(b"\r\n\r\n", position)
            if end < 0:
                if len(data) - position > MAX_HEAD_BYTES:
                    raise MalformedAnswerError("the answer's headers do not end")
                return -1
            self._read_head(data[position:end])
            return end + 4
        if state in (_DATA, _LENGTH):
            end = min(len(data), position + self._left)
            self._left -= end - position
            self._payload(stamp, data[position:end])
            if not self._left:
                self._state = _CRLF if state == _DATA else _COMPLETE
            return end
        if state == _UNTIL_EOF:
            self._payload(stamp, data[position:])
            return len(data)
        if state == _SIZE and not self._event:
            end = data.find(b"\n", position + 5) + 4
            if self._is_plain(data, position, end):
                self.stamps.append(stamp)
                return end
        end = data.find(b"\r\n", position)
        if end < 0:
            if len(data) - position > MAX_HEAD_BYTES:
                raise MalformedAnswerError("a line of the chunked framing does not end")
            return -1
        self._read_chunk_line(data[position:end])
        return end + 2

    def _read_chunk_line(self, line: bytes) -> None:
        if self._state == _SIZE:
            size = line.partition(b";")[0].strip()
            if not _HEX.fullmatch(size):
                raise MalformedAnswerError(f"not a chunk size: {line[:40]!r}")
            self._left = int(size, 16)
            self._state = _DATA if self._left else _TRAILER
        elif self._state == _CRLF:
            if line:
                raise MalformedAnswerError("a chunk is longer than its size")
            self._state = _SIZE
        elif not line:
            self._state = _COMPLETE

    def _read_head(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise MalformedAnswerError(f"not an HTTP/1.1 answer: {lines[0][:60]!r}")
        if code.startswith("1"):
            return  # an interim answer; the real one follows
        self.status, self.reason = int(code), reason
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip().lower()
        connection = headers.get("connection", "")
        self.keep_alive = connection != "close" and (
            version != "HTTP/1.0" or connection == "keep-alive"
        )
        if "chunked" in headers.get("transfer-encoding", ""):
            self._state = _SIZE
        elif "content-length" in headers:
            if not headers["content-length"].isdigit():
                raise MalformedAnswerError(f"not a length: {headers['content-length'][:40]!r}")
            self._left = int(headers["content-length"])
            self._state = _LENGTH if self._left else _COMPLETE
        else:
            self._state = _UNTIL_EOF

    def _payload(self, stamp: float, part: bytes) -> None:
        if self.status != 200:
            self._body += part[: MAX_ERROR_BYTES - len(self._body)]
            return
        text = self._event + part if self._event else part
        half = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, half = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n")
        if b"\n\n" in text:
            events = text.split(b"\n\n")
            text = events.pop()
            for event in events:
                self._take_event(stamp, event)
        self._event = text + half

    def _finish_events(self, stamp: float) -> None:
        """An event without its blank line, at the end of the body, is taken as complete."""
        event, self._event = self._event.strip(), b""
        if event:
            self._take_event(stamp, event)

    def _is_plain(self, data: bytes, start: int, end: int) -> bool:
        """Whether the one line up to `end` is a chunk that ends as this stream's tokens do."""
        return (
            0 < end - start <= READ_BYTES
            and data.startswith(HEADS[end - start], start)
            and data.endswith(self._token_end, start, end)
        )

    def _learn_plain(self, event: bytes) -> None:
        """Remember all that follows the text of this token event.

        Servers write the events of a stream alike, so the next ones mostly end so too. What ends
        so has closed a choice that goes on, whatever its text: JSON escapes the quotes in it.
        """
        text = _TEXT.search(event)
        if text and b'"finish_reason":null' in event[text.end() :]:
            self._token_end = event[text.end() - 1 :] + b"\n\n\r\n"

    def _take_event(self, stamp: float, event: bytes) -> None:
        fields = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        data = b"\n".join(fields)
        if not data:
            if event.strip() and not event.lstrip().startswith(_SSE_FIELDS):
                self._body += event[: MAX_ERROR_BYTES - len(self._body)]
            return
        if data == b"[DONE]":
            self.done = True
            return
        try:
            content = json.loads(data)
        except ValueError:
            self.server_error = self.server_error or f"an event is not JSON: {data[:200]!r}"
            return
        if not isinstance(content, dict):
            return
        self._take_content(stamp, content)
        if content.get("choices"):
            self._learn_plain(data)

    def _take_content(self, stamp: float, content: Dict[str, Any]) -> None:
        if content.get("error"):
            self.server_error = "the server reported in the stream: " + _message_of(content)
        if not self.request_id:
            self.request_id = str(content.get("id") or "")
        if content.get("choices"):
            self.stamps.append(stamp)
        usage = content.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
            self.completion_tokens = usage.get("completion_tokens", self.completion_tokens)
        metrics = content.get("metrics")
        if isinstance(metrics, dict):
            for stage, name in SERVER_STAGES:
                if isinstance(metrics.get(name), (int, float)):
                    self.server_ms[stage] = round(metrics[name], 4)


_SSE_FIELDS = (b":", b"event:", b"id:", b"retry:")


def _message_of(content: Any) -> str:
    """The sentence in an error body, in the shapes that vLLM, its router and FastAPI use."""
    if isinstance(content, dict):
        for key in ("error", "message", "detail"):
            if content.get(key):
                return _message_of(content[key])
    return content if isinstance(content, str) else json.dumps(content)


def _error_message(body: bytes) -> str:
    try:
        message = _message_of(json.loads(body))
    except ValueError:
        message = body.decode("utf-8", "replace")
    return " ".join(message.split())[:300]
