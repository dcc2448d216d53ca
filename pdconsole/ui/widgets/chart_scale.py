"""Axes of a chart: nice ticks, and numbers and times as short text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

TICK_CELLS = 5  # every label of the y axis fits, so charts under each other share their x axis

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIME_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400),
)
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Scale(msgspec.Struct, frozen=True):
    """The y axis: what it spans, and the distance between its ticks."""

    low: float
    high: float
    step: float

    def ticks(self) -> Iterator[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        for i in range(first, last + 1):
            yield i * self.step

    def label(self, value: float) -> str:
        """`value`, a tick, in at most TICK_CELLS cells."""
        if abs(value) < self.step * 1e-6:
            return "0"
        size = max(abs(self.low), abs(self.high))
        divisor, suffix = _suffix(size) if size >= 10_000 else (1.0, "")
        digits = _decimals(self.step / divisor)
        text = f"{value / divisor:,.{digits}f}{suffix}"
        if len(text) > TICK_CELLS:
            text = text.replace(",", "")
        return text if len(text) <= TICK_CELLS else f"{value:.0e}".replace("e-0", "e-")


def nice_step(span: float, most: int) -> float:
    """The least of 1, 2, 2.5, 5 × 10^k that divides `span` into at most `most` parts."""
    raw = span / max(1, most)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(n * magnitude for n in _NICE if n * magnitude >= raw * (1 - 1e-9))


def value_scale(
    low: float, high: float, limits: tuple[float | None, float | None], rows: int
) -> Scale:
    """A y axis over `rows` character rows that holds `low` to `high` (nan: no data) and `limits`.

    It depends on nothing that was shown before: who opens a chart later sees the same axis.
    """
    ends = [v for v in (low, high, *limits) if v is not None and math.isfinite(v)]
    least, most = (min(ends), max(ends)) if ends else (0.0, 1.0)
    span = most - least
    if span <= max(abs(least), abs(most)) * 1e-9:
        span = abs(most) or 1.0
        least, most = (0.0, span) if least == 0 else (least - span / 2, most + span / 2)
    # The ends move in small nice steps: the axis is calm, and little of the height is wasted.
    fine = nice_step(span, 10)
    least = math.floor(least / fine + 1e-9) * fine
    most = math.ceil(most / fine - 1e-9) * fine
    parts = rows // 3 if rows > 8 else (rows - 1) // 2
    # With two parts allowed one tick at least lies above the lowest.
    return Scale(least, most, nice_step(most - least, max(2, parts)))


def value_text(value: float) -> str:
    """Three or four digits that count: `12.3k`, `1,234`, `412`, `41.2`, `4.12`, `0.412`."""
    size = abs(value)
    if size >= 9_999.5:
        divisor, suffix = _suffix(size * 1.0005)
        scaled = value / divisor
        digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
        return f"{scaled:.{digits}f}{suffix}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    if size < 0.0005:
        return f"{value:.0e}".replace("e-0", "e-")
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:,.{digits}f}"


def time_step(span_s: float, most: int) -> float:
    """A distance between time ticks so that `span_s` holds at most `most` of them."""
    raw = span_s / max(1, most)
    return float(next((s for s in _TIME_STEPS if s >= raw), math.ceil(raw / 86400) * 86400))


def time_text(t: float, step_s: float = 1.0) -> str:
    """Session time: `12:40`, `1:02:40`, `12:40.5` where `step_s` asks for a part of a second."""
    digits = 0 if step_s >= 1 else min(3, math.ceil(-math.log10(step_s) - 1e-9))
    units = 10**digits
    whole = math.floor(abs(t) * units + 0.5)
    seconds, part = divmod(whole, units)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    sign = "-" if t < 0 and whole else ""
    return f"{sign}{text}.{part:0{digits}}" if digits else sign + text


def _suffix(size: float) -> tuple[float, str]:
    return next((s for s in _SUFFIXES if size >= s[0]), (1.0, ""))


def _decimals(step: float) -> int:
    return next((d for d in range(6) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 6)
