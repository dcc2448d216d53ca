"""The session that the console shows: live, watched or replayed, one path for all three.

Which of them it is shows in two things only: whether the recording still grows, and whether the
position holds on to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from pdconsole.journal import JournalError, SessionDir
from pdconsole.journal.session import ALIVE
from pdconsole.model.events import RequestFinished
from pdconsole.model.state import State
from pdconsole.ui.replay_clock import ReplayClock

BROKEN_OFF = "its runner is gone; resume it in Sessions"


PIECES = 1  # read between two looks at the keyboard: some 10 ms


class SessionHistory(Protocol):
    """What a screen may ask of a recording (journal.history.History)."""

    @property
    def end_t(self) -> float: ...
    @property
    def start_wall(self) -> float: ...
    @property
    def is_live(self) -> bool: ...
    @property
    def is_behind(self) -> bool: ...
    def poll(self, pieces: int | None = None) -> bool: ...
    def state_at(self, t: float) -> State: ...
    def latest(self) -> State: ...
    def keys(self) -> tuple[str, ...]: ...
    def series(self, keys: str | Sequence[str], t0: float, t1: float, columns: int) -> Any: ...
    def marks(self, t0: float, t1: float) -> Sequence[Any]: ...
    def next_mark(self, t: float, kinds: Any, *, back: bool = False) -> Any: ...
    def requests(self, until_t: float, limit: int = 200) -> tuple[RequestFinished, ...]: ...
    def close(self) -> None: ...


class OpenedSession:
    """A session directory, its history, and `replay`, which says what second of it is shown."""

    def __init__(self, directory: SessionDir, history: SessionHistory, replay: ReplayClock) -> None:
        self.directory = directory
        self.history = history
        self.replay = replay
        self._shown: tuple[float, State] | None = None

    def advance(self) -> tuple[float, State]:
        """Take in a piece of what was recorded since; see `now`."""
        self.history.poll(PIECES)
        return self.now()

    def now(self) -> tuple[float, State]:
        """The second to show, and the state at it."""
        self.replay.extend(self.history.end_t, self.history.is_live)
        t = self.replay.t
        at_end = self.replay.following or t >= self.history.end_t
        # Where it stands still, as after a pause, the state is at hand; a large one takes long to
        # be made again.
        if at_end or self._shown is None or self._shown[0] != t:
            self._shown = t, self._latest() if at_end else self.history.state_at(t)
        return self._shown

    def _latest(self) -> State:
        state = self.history.latest()
        if state.status in ALIVE and not self.history.is_live:
            # As the list of sessions has it: nobody carries it out any more.
            state = msgspec.structs.replace(state, status="broken-off", message=BROKEN_OFF)
        return state

    def close(self) -> None:
        self.history.close()


def why_unread(error: JournalError | OSError) -> str:
    """A sentence; the file may have gone, or be none, between two looks at it."""
    if isinstance(error, JournalError):
        return str(error)
    return f"cannot read {error.filename or 'the recording'}: {error.strerror or error}"


def open_session(
    directory: SessionDir,
    monotonic: Callable[[], float],
    *,
    at: float | None,
    speed: float,
    progress: Callable[[float], None] | None = None,
) -> OpenedSession:
    """Open a recording. A whole one plays from `at` or its start; one that grows is shown live.

    Takes as long as reading it takes, of which `progress` is told from 0 to 1 where it is long;
    raises JournalError or OSError.
    """
    from pdconsole.journal.history import History

    history: SessionHistory = History.open(directory, progress=progress)
    replay = ReplayClock(monotonic, history.end_t, growing=history.is_live, at=at, speed=speed)
    return OpenedSession(directory, history, replay)
