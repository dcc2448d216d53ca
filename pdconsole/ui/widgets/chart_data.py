"""What a chart shows: the styles of its series and one moment's data; values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
LineKind: TypeAlias = Literal["solid", "dashed", "dotted"]
MarkKind: TypeAlias = Literal["point", "run", "flag", "note", "command", "session"]
BADGES = ("stale", "warm-up", "simulated")  # the gravest first


class Line(Protocol):
    """Samples of a series in the order of time: `history.SeriesView` is one.

    `low` and `high` are the least and greatest value at `t` (the same array for plain samples),
    nan where there is nothing.
    """

    @property
    def t(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...


class Samples(msgspec.Struct, frozen=True, eq=False):
    """A `Line` of the caller's own making."""

    t: Floats
    low: Floats
    high: Floats


class ChartMark(Protocol):
    """Something that happened at `t`: `history.Mark` is one."""

    @property
    def t(self) -> float: ...
    @property
    def kind(self) -> MarkKind: ...
    @property
    def text(self) -> str: ...


class SeriesStyle(msgspec.Struct, frozen=True):
    """How a series is drawn.

    `colour` names a variable of the theme (`primary`, `chart-1`, …); `tag` is written at the line's
    right end, three cells at most (default: the label if short, else a letter of it).
    """

    key: str
    label: str
    colour: str = "foreground"
    line: LineKind = "solid"
    tag: str = ""


class ChartData(msgspec.Struct, frozen=True, eq=False):
    """What a chart shows now. Times are session seconds, values are in the chart's unit.

    Samples further apart than `gap_s` are not joined. With 0 any nan between two samples parts
    them; give about 2.5 sampling intervals for lines that have nan merely because their columns are
    finer than the sampling. `current` is shown in the legend in place of the line's last value.
    `badge` may hold several of `BADGES`, separated by a space.
    """

    t0: float
    t1: float
    lines: Mapping[str, Line]
    marks: tuple[ChartMark, ...] = ()
    badge: str = ""
    cursor_t: float | None = None
    gap_s: float = 0.0
    current: Mapping[str, float] = {}

    def shows_the_same_as(self, other: ChartData) -> bool:
        """Whether it would be drawn alike; arrays are compared by what is in them."""
        names = ("t0", "t1", "marks", "badge", "cursor_t", "gap_s", "current")
        return (
            all(getattr(self, name) == getattr(other, name) for name in names)
            and self.lines.keys() == other.lines.keys()
            and all(_equal(line, other.lines[key]) for key, line in self.lines.items())
        )


def _equal(a: Line, b: Line) -> bool:
    return a is b or all(
        x is y or np.array_equal(x, y, equal_nan=True)
        for x, y in ((a.t, b.t), (a.low, b.low), (a.high, b.high))
    )
