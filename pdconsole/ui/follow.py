"""Follow a session's recording until it ends: plain lines, or lines above a progress bar.

Reads the file that the runner writes and nothing else, so any number of followers cost the
experiment nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from pdconsole.journal import JournalTail, SessionDir
from pdconsole.model import events as ev
from pdconsole.model.state import State, reduce
from pdconsole.ui.lines import EventLines, duration, joining_lines, opening_lines, point_name

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

POLL_S = 0.25
ENDED = frozenset({"finished", "failed", "stopped"})
# A runner writes its last event before it lets its lock go; only then is silence an end.
GRACE_S = 2.0


class Interrupts:
    """Ctrl-C while following: `asked` is called with 1, 2, ... instead of a KeyboardInterrupt."""

    def __init__(self, asked: Callable[[int], None]) -> None:
        self._asked = asked
        self._count = 0
        self._before: signal._HANDLER = signal.SIG_DFL

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._asked(self._count)

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._on_signal)

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)


class Display(Protocol):
    def join(self, state: State) -> None:
        """Shown first to someone who joins in the middle."""

    def show(self, event: ev.Event, state: State) -> None:
        """`state` is the state after `event`."""

    def say(self, line: str) -> None:
        """A line of the command's own, among those of the session."""

    def tick(self, state: State) -> None:
        """Called a few times a second."""

    def close(self) -> None: ...


class PlainDisplay:
    """A line for whatever matters; every line is written out at once, for pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines = EventLines()

    def join(self, state: State) -> None:
        for line in (*opening_lines(state), *joining_lines(state)):
            self._write(line)

    def show(self, event: ev.Event, state: State) -> None:
        if isinstance(event, ev.SessionOpened):
            for line in opening_lines(state):
                self._write(line)
        for line in self._lines.lines(event, state):
            self._write(line)

    def say(self, line: str) -> None:
        self._write(line)

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()

    def tick(self, state: State) -> None:
        return

    def close(self) -> None:
        return


class ProgressDisplay:
    """The same lines, scrolling above bars for the whole plan and for the point under way."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=out, highlight=False)
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._plan: TaskID = self._progress.add_task("plan", total=1, detail="")
        self._point: TaskID = self._progress.add_task("point", total=1, detail="", visible=False)
        self._lines = EventLines()
        self._progress.start()

    def join(self, state: State) -> None:
        for line in (*opening_lines(state), *joining_lines(state)):
            self.say(line)

    def show(self, event: ev.Event, state: State) -> None:
        if isinstance(event, ev.SessionOpened):
            for line in opening_lines(state):
                self.say(line)
        if isinstance(event, ev.PointTick):
            return  # the bars show them
        for line in self._lines.lines(event, state):
            style = "bold red" if " failed" in line else None
            self._console.print(line, markup=False, soft_wrap=True, style=style)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def tick(self, state: State) -> None:
        done, total = state.points_ended, state.points_total
        left = eta_s(state)
        eta = f", about {duration(left)} to go" if left is not None else ""
        self._progress.update(
            self._plan, total=max(total, 1), completed=done, detail=f"{done}/{total} points{eta}"
        )
        run = state.run(state.current_run)
        point = next((p for p in run.points if p.id == state.current_point), None) if run else None
        if point is None:
            self._progress.update(self._point, visible=False)
        else:
            live = state.live
            p50 = f"TTFT {live.ttft_p50:.0f} ms" if live.ttft_p50 is not None else ""
            tpot = f", TPOT {live.tpot_p50:.1f} ms" if live.tpot_p50 is not None else ""
            self._progress.update(
                self._point,
                visible=True,
                description=f"{point_name(point.id)} {point.status}",
                total=1.0,
                completed=point.progress(state.t),
                detail=f"{point.window_finished} requests  {p50}{tpot}",
            )
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


def eta_s(state: State) -> float | None:
    """Seconds to the end by the mean of what has passed; None before the first point ended."""
    began = [r.started_t for r in state.runs if r.started_t is not None]
    spent = [
        p.ended_t - p.started_t
        for r in state.runs
        for p in r.points
        if p.status == "done" and p.ended_t is not None and p.started_t is not None
    ]
    left = state.points_total - state.points_ended
    if not began or not spent or left <= 0:
        return None
    # Launches cost too: count them by the share of time that was not measuring so far.
    elapsed = state.t - min(began)
    per_point = max(elapsed / max(len(spent), 1), sum(spent) / len(spent))
    return per_point * left


def follow(session: SessionDir, display: Display, *, from_start: bool = True) -> State:
    """Until the session ends or its runner is gone; the state it then has.

    With `from_start` false what is already recorded is folded, but only its latest state is shown.
    A session whose runner is gone without a last word comes back with status `broken-off`.
    """
    state = State()
    quiet_since: float | None = None
    try:
        with JournalTail(session.events_path) as tail:
            if not from_start:
                state = _catch_up(tail, display)
            while True:
                events = tail.poll()
                for event in events:
                    state = reduce(state, event)
                    display.show(event, state)
                display.tick(state)
                if events:
                    quiet_since = None
                    continue
                if session.is_held():  # also while a resumed session has not said so yet
                    quiet_since = None
                elif state.status in ENDED:
                    return state
                elif quiet_since is None:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > GRACE_S:
                    return _broken_off(state)
                time.sleep(POLL_S)
    finally:
        display.close()


def _catch_up(tail: JournalTail, display: Display) -> State:
    state = State()
    while events := tail.poll():
        for event in events:
            state = reduce(state, event)
    display.join(state)
    return state


def _broken_off(state: State) -> State:
    return msgspec.structs.replace(
        state,
        status="broken-off",
        message=f"its runner is gone; go on with `pdconsole run --resume {state.session}`",
    )
