"""A session's recording as something to look back into: any moment's state, series, marks.

The same for a session under way and for one that is over; the first grows when it is polled.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from pdconsole.journal.errors import JournalError
from pdconsole.journal.keyframes import EVERY_BYTES, KeyframeFold, Keyframes
from pdconsole.journal.marks import Mark, MarkKind
from pdconsole.journal.reader import JournalTail, read_header
from pdconsole.journal.series import LONGEST_WAIT_S
from pdconsole.journal.series_index import SeriesIndex, SeriesView
from pdconsole.journal.session import SessionDir
from pdconsole.model import events as ev
from pdconsole.model.series import SeriesFold
from pdconsole.model.state import LIVE_WINDOW_S, State, reduce

__all__ = ["History", "Mark", "MarkKind", "SeriesView"]

# With this many keyframes missing the sidecar is worth writing anew.
MANY_KEYFRAMES = 16
# And with so many rows of series: half an hour of a few workers.
MANY_ROWS = 1 << 14
# The rows of so many seconds may be missing in the series' sidecar (a flush comes within a second),
# and some of them speak of a window before them.
SERIES_LAG_S = LONGEST_WAIT_S + 1.0 + LIVE_WINDOW_S
STRETCHES_KEPT = 4
# Where requests are rare, a table of them is gathered from many stretches.
FEW_REQUESTS = 32
SPARSE_STRETCHES_KEPT = 256
_REQUEST = b'"request.finished"'


class History:
    """Raises JournalError, from any method, where the recording cannot be read.

    Between two keyframes lies a stretch of events; stretch i begins at keyframe i, the last one is
    still growing. Events are read by stretch, and the last stretches read are kept.
    """

    def __init__(
        self,
        session: SessionDir,
        *,
        every: int = EVERY_BYTES,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.is_live = session.is_held()  # a runner carries the session out
        self.is_behind = False
        self.start_wall = 0.0  # Unix time of t = 0
        self._session = session
        self._path = session.events_path
        if not self._path.exists():
            raise JournalError(f"no recording at {self._path}")
        self._keyframes = Keyframes(session.keyframes_path, self._path)
        self._marks = [mark for keyframe in self._keyframes for mark in keyframe.marks]
        self._series = SeriesIndex(session.series_path)
        self._stretches: OrderedDict[int, list[ev.AnyEvent]] = OrderedDict()
        self._requests: OrderedDict[int, list[ev.RequestFinished]] = OrderedDict()
        self._many_requests: OrderedDict[int, list[ev.RequestFinished]] = OrderedDict()
        self._growing: list[ev.AnyEvent] = []  # the last stretch
        self._cursor = (-1, 0, State())  # stretch, how many events of it are folded, state then

        last = len(self._keyframes) - 1
        self._series_fold = SeriesFold()
        self._fold = KeyframeFold(
            self._path, self._keyframes[last], self._keyframes.state(last), every=every
        )
        for _ in self._read_on():
            if progress is not None:
                progress(min(1.0, self._fold.offset / self._path.stat().st_size))
        self._catch_up_series(progress)
        if not self.is_live:
            # A workspace that cannot be written to is looked at all the same.
            with contextlib.suppress(JournalError):
                if self._keyframes.added() >= MANY_KEYFRAMES:
                    self._keyframes.save(self._path)
            with contextlib.suppress(JournalError):
                if self._series.held() >= MANY_ROWS:
                    self._series.save()

    @classmethod
    def open(cls, session: SessionDir, *, progress: Callable[[float], None] | None = None) -> Self:
        """`progress` is called with the share done, 0 to 1, while the recording is read.

        That takes an instant, or about 6 s a million events if the keyframes have to be made anew.
        """
        return cls(session, progress=progress)

    @property
    def end_t(self) -> float:
        """Of the last event; session seconds."""
        return self._fold.t

    def poll(self, pieces: int | None = None) -> bool:
        """Take in what was recorded since; True when something new came.

        With `pieces` at most so many, of some 100 events each; `is_behind` says whether there may
        be more.
        """
        was_live, offset = self.is_live, self._fold.offset
        self.is_live = self._session.is_held()
        self._series.refresh()
        taken = 0
        for events in self._read_on():
            self._add_rows(events)
            taken += 1
            if taken == pieces:
                break
        self.is_behind = taken == pieces and self._fold.offset < self._path.stat().st_size
        return self._fold.offset != offset or self.is_live != was_live

    def latest(self) -> State:
        """The state at the end of what was polled."""
        return self._fold.state

    def state_at(self, t: float) -> State:
        """The state after all events up to `t`; before the first it is empty."""
        if t >= self.end_t:
            return self.latest()
        i = self._keyframes.at(t)
        events = self._stretch(i)
        count = next((n for n, event in enumerate(events) if event.t > t), len(events))
        stretch, folded, state = self._cursor
        if stretch != i or folded > count:
            folded, state = 0, self._keyframes.state(i)
        for event in events[folded:count]:
            state = reduce(state, event)
        self._cursor = (i, count, state)
        return state

    def keys(self) -> tuple[str, ...]:
        """The series that there are, `worker/1/P1/running`: kind, whom it is about, column."""
        return self._series.keys()

    def series(self, keys: str | Sequence[str], t0: float, t1: float, columns: int) -> SeriesView:
        """A series of `keys` over t0 to t1; one that does not exist is all NaN.

        Several are taken as one; so are, with `*` for parts of the key (but the kind), all that
        match: `point/*/*/ttft_p50`.
        """
        return self._series.view(keys, t0, t1, columns)

    def marks(self, t0: float, t1: float) -> tuple[Mark, ...]:
        """Those of t0 <= t <= t1, in their order."""
        return tuple(mark for mark in self._all_marks() if t0 <= mark.t <= t1)

    def next_mark(
        self, t: float, kinds: Collection[MarkKind], *, back: bool = False
    ) -> Mark | None:
        """The nearest mark of these kinds after `t`, or before it."""
        marks = [mark for mark in self._all_marks() if mark.kind in kinds]
        if back:
            return next((mark for mark in reversed(marks) if mark.t < t), None)
        return next((mark for mark in marks if mark.t > t), None)

    def requests(self, until_t: float, limit: int = 200) -> tuple[ev.RequestFinished, ...]:
        """The last finished requests up to `until_t`, the latest first."""
        found: list[ev.RequestFinished] = []
        for i in range(self._keyframes.at(until_t), -1, -1):
            if len(found) >= limit:
                break
            found += [r for r in reversed(self._requests_of(i)) if r.t <= until_t]
        return tuple(found[:limit])

    def close(self) -> None:
        self._fold.close()
        self._series.close()
        self._keyframes.close()

    def _catch_up_series(self, progress: Callable[[float], None] | None) -> None:
        """Make the rows that the series' sidecar lacks: all, where it is of another version."""
        keyframes = self._keyframes
        start = 0
        if self._series.stored:
            stored = keyframes.at_seq(self._series.stored)
            start = keyframes.at(keyframes[stored].t - SERIES_LAG_S)
        for event in _remembered(keyframes.state(start)):
            self._series_fold.row(event)
        for i in range(start, len(keyframes) - 1):
            self._add_rows(self._read_stretch(i))
            if progress is not None:
                progress((i + 1) / (len(keyframes) - 1))
        self._add_rows(self._growing)

    def _add_rows(self, events: Iterable[ev.AnyEvent]) -> None:
        for event in events:
            row = self._series_fold.row(event)
            if row is not None:
                self._series.add(row)

    def _read_on(self) -> Iterator[list[ev.AnyEvent]]:
        """Fold what there is now; gives the events as they are read."""
        while events := self._fold.poll():
            self._growing += events
            made = self._fold.keyframe()
            if made is not None:
                self._keyframes.add(*made)
                self._marks += made[0].marks
                self._growing = []
            yield events
        if self.start_wall == 0.0 and self._fold.offset > 0:
            header = read_header(self._path)
            self.start_wall = header.wall - header.t

    def _all_marks(self) -> list[Mark]:
        return [*self._marks, *self._fold.marks]

    def _stretch(self, i: int) -> list[ev.AnyEvent]:
        if i == len(self._keyframes) - 1:
            return self._growing
        return _kept(self._stretches, i, self._read_stretch, STRETCHES_KEPT)

    def _read_stretch(self, i: int) -> list[ev.AnyEvent]:
        begin, end = self._keyframes[i], self._keyframes[i + 1]
        with JournalTail(self._path, start=begin.position) as tail:
            return tail.take(end.offset - begin.offset)

    def _requests_of(self, i: int) -> list[ev.RequestFinished]:
        growing = i == len(self._keyframes) - 1
        if growing or i in self._stretches:
            events = self._stretch(i)
            return [event for event in events if isinstance(event, ev.RequestFinished)]
        count = self._keyframes[i + 1].requests
        if count == 0:
            return []
        if count > FEW_REQUESTS:
            return _kept(self._many_requests, i, self._find_requests, STRETCHES_KEPT)
        return _kept(self._requests, i, self._find_requests, SPARSE_STRETCHES_KEPT)

    def _find_requests(self, i: int) -> list[ev.RequestFinished]:
        """Decodes no other lines: hundreds of stretches may have to be gone through."""
        begin, end = self._keyframes[i].offset, self._keyframes[i + 1].offset
        with self._path.open("rb") as file:
            file.seek(begin)
            block = file.read(end - begin)
        found: list[ev.RequestFinished] = []
        at = block.find(_REQUEST)
        while at >= 0:
            stop = block.index(b"\n", at)
            event = ev.decode(block[block.rfind(b"\n", 0, at) + 1 : stop])
            if isinstance(event, ev.RequestFinished):
                found.append(event)
            at = block.find(_REQUEST, stop)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def _remembered(state: State) -> list[ev.Event]:
    """The events of before that `state` still knows, for the series that go on from there."""
    events: list[ev.Event | None] = [*state.ticks]
    events += [node.clock for node in state.nodes.values()]
    for process in state.processes.values():
        events += [process.state, process.sample, process.nixl]
    return sorted((e for e in events if e is not None), key=lambda e: e.seq)


T = TypeVar("T")


def _kept(cache: OrderedDict[int, T], i: int, make: Callable[[int], T], most: int) -> T:
    """From the cache, or made; the cache keeps those used last."""
    if i not in cache:
        cache[i] = make(i)
    cache.move_to_end(i)
    while len(cache) > most:
        cache.popitem(last=False)
    return cache[i]
