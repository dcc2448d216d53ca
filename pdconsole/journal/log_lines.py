"""When a log line was written and how bad it is, as far as the line itself says; pure.

Worker logs come from several programs: vLLM (`INFO 11-24 08:55:24 [x.py]`, often behind a process
prefix), its server (`INFO:     127.0.0.1 …`), the router (ISO time, colour codes). A line that says
neither belongs to the one before it, such as those of a traceback.
"""

from __future__ import annotations

import calendar
import re
import time
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["", "debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("", "debug", "info", "warning", "error")

_LEVEL_OF = {
    b"TRACE": 1,
    b"DEBUG": 1,
    b"INFO": 2,
    b"NOTICE": 2,
    b"WARN": 3,
    b"WARNING": 3,
    b"ERROR": 4,
    b"CRITICAL": 4,
    b"FATAL": 4,
}
LOOKED_AT = 160  # bytes of a line in which its head is sought

_VLLM = re.compile(
    rb"(?:\([^)\n]{0,60}\) )*"
    rb"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)"
)
_ISO = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?"
)
_WORD = re.compile(rb"(?<![\w-])(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b")
_COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
_PLAIN = re.compile(rb"(?:Traceback \(most recent call last\)|\w+(?:\.\w+)*(?:Error|Exception)\b)")


class LineHeads:
    """Reads the heads of one file's lines, in order; a clock without a year gets that of `near`.

    `read` gives (code of the level, Unix time or None, whether the line names its zone): 0 is no
    level, else an index of LEVELS. Times without a zone are taken as UTC; whoever knows better
    shifts them.
    """

    def __init__(self, near: float) -> None:
        found = time.gmtime(near)
        self._year, self._month = found.tm_year, found.tm_mon
        self._minute = b""
        self._minute_wall = 0.0

    def read(self, line: bytes) -> tuple[int, float | None, bool]:
        if (match := _VLLM.match(line)) is not None:
            return _LEVEL_OF[match[1]], self._vllm_wall(match), False
        head = line[:LOOKED_AT]
        if b"\x1b" in head:
            head = _COLOURS.sub(b"", head)
        stamp = _ISO.search(head)
        word = _WORD.search(head)
        level = _LEVEL_OF[word[1]] if word else 4 if _PLAIN.match(head) else 0
        if stamp is None:
            return level, None, False
        return level, _iso_wall(stamp), stamp[8] is not None

    def _vllm_wall(self, match: re.Match[bytes]) -> float:
        minute = match.string[match.start(2) : match.end(5)]
        if minute != self._minute:
            month, day, hour, minutes = (int(match[i]) for i in (2, 3, 4, 5))
            # A session over New Year has both years in it.
            year = self._year + (self._month - month > 6) - (month - self._month > 6)
            self._minute = minute
            self._minute_wall = float(calendar.timegm((year, month, day, hour, minutes, 0)))
        return self._minute_wall + int(match[6])


def head_length(line: bytes) -> int:
    """How much of a line its level and time take up, with the process prefix before them."""
    match = _VLLM.match(line)
    if match is None:
        return 0
    end = match.end()
    return end + 1 if line[end : end + 1] == b" " else end


def _iso_wall(match: re.Match[bytes]) -> float:
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    wall = float(calendar.timegm((year, month, day, hour, minute, second)))
    if match[7]:
        wall += int(match[7]) / 10 ** len(match[7])
    zone = match[8]
    if zone and zone != b"Z":
        digits = zone[1:].replace(b":", b"")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        wall -= offset if zone[:1] == b"+" else -offset
    return wall
