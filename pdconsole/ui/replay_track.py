"""The replay bar as words, and its track as characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import msgspec

from pdconsole.ui.replay_clock import ReplayClock

LEAST_TRACK = 8
_SHOWN = {"flag": "⚑", "run": "◆", "point": "▲", "session": "■", "command": "▸", "note": "•"}
_WEIGHT = list(_SHOWN)


class TrackMark(Protocol):
    @property
    def t(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...


class Playback(msgspec.Struct, frozen=True):
    """What the bar shows of a replay clock at one moment."""

    t: float
    end_t: float
    following: bool
    growing: bool
    playing: bool
    speed: float
    loop: tuple[float, float] | None = None

    @classmethod
    def of(cls, clock: ReplayClock) -> Playback:
        return cls(
            t=clock.t,
            end_t=clock.end_t,
            following=clock.following,
            growing=clock.growing,
            playing=clock.playing,
            speed=clock.speed,
            loop=clock.loop,
        )

    @property
    def sign(self) -> str:
        if self.following:
            return "●" if self.growing else "■"
        return "▶" if self.playing else "▮▮"

    @property
    def word(self) -> str:
        """Never more than 6 letters: what follows must not jump."""
        if self.following:
            return "LIVE" if self.growing else "END"
        return "REPLAY" if self.playing else "PAUSED"

    @property
    def behind_s(self) -> float:
        """How far behind the live edge; 0 where there is none."""
        return self.end_t - self.t if self.growing and not self.following else 0.0


def speed_text(speed: float) -> str:
    """`1/4×`, `1/2×`, `1×`, `64×`; signs for fractions have no form in ASCII."""
    named = {0.25: "1/4", 0.5: "1/2"}
    return f"{named.get(speed, f'{speed:g}')}×"


def time_text(t: float) -> str:
    """`0:12:40`, always as wide for the first 10 hours."""
    whole = int(max(t, 0.0))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def track_cell(t: float, end_t: float, width: int) -> int:
    """The cell of `t` on a track of `width` cells over 0 to `end_t`."""
    share = t / end_t if end_t > 0 else 1.0
    return min(max(round(share * (width - 1)), 0), width - 1)


def track_time(cell: int, end_t: float, width: int) -> float:
    """The session second of a cell; cells outside are the ends."""
    share = cell / (width - 1) if width > 1 else 1.0
    return min(max(share, 0.0), 1.0) * end_t


def marks_line(marks: Sequence[TrackMark], end_t: float, width: int) -> list[tuple[int, str, str]]:
    """(cell, text, kind) of the signs over the track; points with their names where there is room
    up to the next. Of marks that fall on one cell the weightiest stands there, others up to two
    cells on: a point begins where the flag of the one before was raised."""
    at: dict[int, TrackMark] = {}
    for mark in sorted(marks, key=lambda m: _WEIGHT.index(m.kind)):
        cell = track_cell(mark.t, end_t, width)
        if any(x.kind == mark.kind for c in (cell, cell + 1) if (x := at.get(c)) is not None):
            continue
        free = next((c for c in range(cell, min(cell + 3, width)) if c not in at), None)
        if free is not None:
            at[free] = mark
    cells = sorted(at)
    found = []
    for cell, following in pairwise((*cells, width + 1)):
        mark = at[cell]
        text = _SHOWN[mark.kind]
        name = _short(mark)
        if name and len(name) + 2 < following - cell:
            text += f" {name}"
        found.append((cell, text, mark.kind))
    return found


def _short(mark: TrackMark) -> str:
    """A name for the track: only points have one that is short enough to be worth it."""
    return mark.text.split(",")[0] if mark.kind == "point" else ""


def parse_position(text: str, t: float, end_t: float) -> float | None:
    """The session second that was typed, or None where it is no time.

    `12:40`, `1:02:03`, `90`, `90s`, `3m`, `+30`, `-1:00` (from `t`), `50%`, `end`.
    """
    text = text.strip().lower()
    if text in ("end", "live"):
        return end_t
    if text.endswith("%"):
        share = _number(text[:-1])
        return None if share is None else min(max(share / 100, 0.0), 1.0) * end_t
    sign = text[:1] if text[:1] in ("+", "-") else ""
    seconds = _seconds(text.removeprefix(sign) if sign else text)
    if seconds is None:
        return None
    to = {"": seconds, "+": t + seconds, "-": t - seconds}[sign]
    return min(max(to, 0.0), end_t)


def _seconds(text: str) -> float | None:
    for unit, factor in (("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            number = _number(text[:-1])
            return None if number is None else number * factor
    parts = [_number(part) for part in text.split(":")]
    if len(parts) > 3 or any(part is None for part in parts):
        return None
    total = 0.0
    for part in parts:
        total = total * 60 + (part or 0.0)
    return total


def _number(text: str) -> float | None:
    digits = text.strip()
    if not digits.replace(".", "", 1).isdecimal():
        return None
    return float(digits)
