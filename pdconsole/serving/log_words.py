"""Logs of vLLM and its router as lines for people, and the meaning of those that are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^\((?:\w+ )?[\w-]+ pid=\d+\)\s*(?:ERROR [\d\- :]+\[[^\]]+\]\s*)?")


class Diagnosis(msgspec.Struct, frozen=True):
    """Why a process ended or complains: `what` and `advice` are clauses for people, empty if the
    log shows no known cause; `line` is the process's own word.
    """

    what: str
    advice: str
    line: str = ""


class Known(NamedTuple):
    pattern: re.Pattern[str]
    what: str  # may name the pattern's groups
    advice: str


def known(pattern: str, what: str, advice: str) -> Known:
    return Known(re.compile(pattern, re.IGNORECASE), what, advice)


def recognised(lines: Sequence[str], causes: Iterable[Known]) -> Diagnosis | None:
    """The first cause that some line shows: a cause stands before what it leads to."""
    for cause in causes:
        for line in lines:
            match = cause.pattern.search(line)
            if match:
                return Diagnosis(cause.what.format(**match.groupdict()), cause.advice, line)
    return None


def log_lines(log: str, most: int | None = None) -> tuple[str, ...]:
    """The lines that say something, without colours and process prefixes; the last `most`."""
    lines = (_PREFIX.sub("", line).strip() for line in plain(log).splitlines())
    kept = tuple(line for line in lines if line)
    return kept[-most:] if most is not None else kept


def plain(log: str) -> str:
    return _ESCAPES.sub("", log)
