"""The recording of a session: append, tail, logs, time series, session directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdconsole.journal.clock import Clock, SystemClock
from pdconsole.journal.errors import DiskFullError, JournalError
from pdconsole.journal.process_log import ProcessLog
from pdconsole.journal.reader import JournalTail, read_events
from pdconsole.journal.session import SessionDir, SessionSummary, list_sessions
from pdconsole.journal.writer import JournalWriter

if TYPE_CHECKING:
    from pdconsole.journal.series import Series, SeriesWriter, read_series, series_keys

__all__ = [
    "Clock",
    "DiskFullError",
    "JournalError",
    "JournalTail",
    "JournalWriter",
    "ProcessLog",
    "Series",
    "SeriesWriter",
    "SessionDir",
    "SessionSummary",
    "SystemClock",
    "list_sessions",
    "read_events",
    "read_series",
    "series_keys",
]

_WITH_NUMPY = frozenset({"Series", "SeriesWriter", "read_series", "series_keys"})


def __getattr__(name: str) -> Any:
    # numpy takes a tenth of a second to import, which a list of sessions need not wait for.
    if name in _WITH_NUMPY:
        from pdconsole.journal import series

        return getattr(series, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
