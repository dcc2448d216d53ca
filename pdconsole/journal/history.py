"""A session's recording as something to look back into: any moment's state, series, marks.

The same for a session under way and for one that is over; the first grows when it is polled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pdconsole.journal.marks import Mark, MarkKind
from pdconsole.journal.session import SessionDir
from pdconsole.model.events import RequestFinished
from pdconsole.model.state import State

__all__ = ["History", "Mark", "MarkKind", "SeriesView"]

Numbers = NDArray[np.float64]


class SeriesView(msgspec.Struct, frozen=True):
    """A series reduced to columns; the arrays are equally long.

    `t` are the columns' centres (session seconds), `low` and `high` the least and the greatest
    number in each; NaN where there is nothing. Columns that lie between two samples of an unbroken
    series hold the line between them, so a line is torn only where samples are missing.
    """

    key: str
    t: Numbers
    low: Numbers
    high: Numbers


class History:
    """Raises JournalError, from any method, where the recording cannot be read."""

    end_t: float  # of the last event
    start_wall: float  # Unix time of t = 0
    is_live: bool  # a runner carries the session out

    @classmethod
    def open(
        cls, session: SessionDir, *, progress: Callable[[float], None] | None = None
    ) -> History:
        """`progress` is called with the share done (0 to 1) while lost sidecars are made again."""
        raise NotImplementedError

    def poll(self) -> bool:
        """Take in what was recorded since; True when something new came."""
        raise NotImplementedError

    def latest(self) -> State:
        """The state at the end of what was polled."""
        raise NotImplementedError

    def state_at(self, t: float) -> State:
        """The state after all events up to `t`; before the first it is empty."""
        raise NotImplementedError

    def keys(self) -> tuple[str, ...]:
        """The series that there are: `worker/1/P1/running`, kind, whom it is about, column."""
        raise NotImplementedError

    def series(self, key: str, t0: float, t1: float, columns: int) -> SeriesView:
        """A series of `keys` from t0 to t1. A `*` for a part takes all that match as one
        (`point/*/*/ttft_p50`); a key without samples is an empty line, all NaN."""
        raise NotImplementedError

    def marks(self, t0: float, t1: float) -> tuple[Mark, ...]:
        """Those of t0 <= t <= t1, in their order."""
        raise NotImplementedError

    def next_mark(
        self, t: float, kinds: Collection[MarkKind], *, back: bool = False
    ) -> Mark | None:
        """The nearest mark of these kinds after `t` (or before it)."""
        raise NotImplementedError

    def requests(self, until_t: float, limit: int = 200) -> tuple[RequestFinished, ...]:
        """The last finished requests up to `until_t`, the latest first."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
