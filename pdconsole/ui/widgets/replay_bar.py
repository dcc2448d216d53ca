"""The replay bar: what is shown of the session, and where in it; click or drag to go elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from pdconsole.ui.replay_track import (
    LEAST_TRACK,
    Playback,
    TrackMark,
    marks_line,
    speed_text,
    time_text,
    track_cell,
    track_time,
)
from pdconsole.ui.theme import role_colour

_STATE_ROLES = {"LIVE": "ok", "REPLAY": "accent", "PAUSED": "warn", "END": "muted"}
_MARK_ROLES = {"flag": "warn", "note": "warn", "point": "text", "run": "accent"}
_EMPTY = Playback(0.0, 0.0, following=True, growing=False, playing=False, speed=1.0)


class ReplayBar(Widget):
    """`show` gives it a moment; it asks by `Seek` and `Toggle`. The second line, where there is
    room for one, has the marks."""

    DEFAULT_CSS = """
    ReplayBar { height: 1; width: 1fr; background: $panel; }
    ReplayBar.-off { display: none; }
    """
    ALLOW_SELECT = False
    HELP: ClassVar[str] = "Click or drag on the track to go there."

    class Seek(Message):
        """Go to session second `t`."""

        def __init__(self, t: float) -> None:
            super().__init__()
            self.t = t

    class Toggle(Message):
        """Play or pause."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._now = _EMPTY
        self._marks: tuple[TrackMark, ...] = ()
        self._flags = 0
        self._dragged_to: int | None = None

    def show(self, now: Playback, marks: Sequence[TrackMark]) -> None:
        """`marks` are those of the whole recording."""
        fresh = tuple(marks)
        if (now, fresh) != (self._now, self._marks):
            self._now, self._marks = now, fresh
            self._flags = sum(mark.kind == "flag" for mark in fresh)
            self.refresh()

    # --- where the track is ---

    @property
    def _head(self) -> str:
        now = self._now
        return f" {now.sign:<2} {now.word:<6} {speed_text(now.speed):>4} {time_text(now.t):>7} "

    @property
    def _tail(self) -> str:
        now = self._now
        flags = f" ⚑{self._flags}" if self._flags else ""
        again = " loop" if now.loop else ""
        return f" {time_text(now.end_t):>7}{flags}{again} "

    @property
    def track(self) -> tuple[int, int]:
        """(first cell, width) of the track."""
        begin = cell_len(self._head)
        return begin, max(self.size.width - begin - cell_len(self._tail), LEAST_TRACK)

    # --- drawing ---

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        last = y == self.size.height - 1
        segments = self._track_line() if last else self._marks_line()
        return Strip(segments).adjust_cell_length(width, self._style("text"))

    def _style(self, role: str, *, bold: bool = False) -> Style:
        variables = self.app.theme_variables
        return Style(
            color=role_colour(variables, role), bgcolor=variables["panel"], bold=bold or None
        )

    def _track_line(self) -> list[Segment]:
        now = self._now
        _, width = self.track
        at = track_cell(now.t, now.end_t, width)
        track = ["━"] * at + ["─"] * (width - at)
        if now.loop is not None:
            for end in now.loop:
                track[track_cell(end, now.end_t, width)] = "┃"
        track[at] = "●"
        drawn = "".join(track)
        role = _STATE_ROLES[now.word]
        return [
            Segment(self._head, self._style(role, bold=True)),
            Segment(drawn[:at], self._style("accent")),
            Segment(drawn[at], self._style(role, bold=True)),
            Segment(drawn[at + 1 :], self._style("muted")),
            Segment(self._tail, self._style("muted")),
        ]

    def _marks_line(self) -> list[Segment]:
        begin, width = self.track
        behind = self._now.behind_s
        text = f" {time_text(behind)} behind live" if behind >= 1 else ""
        segments = [Segment(text[:begin].ljust(begin), self._style("warn"))]
        x = 0
        for cell, sign, kind in marks_line(self._marks, self._now.end_t, width):
            if cell < x:
                continue
            segments.append(Segment(" " * (cell - x), self._style("text")))
            segments.append(Segment(sign, self._style(_MARK_ROLES.get(kind, "muted"))))
            x = cell + cell_len(sign)
        return segments

    # --- mouse ---

    def on_mouse_down(self, event: events.MouseDown) -> None:
        begin, width = self.track
        if begin <= event.x < begin + width:
            self.capture_mouse()
            self._seek_to(event.x)
        elif event.x < begin:
            self.post_message(self.Toggle())

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged_to not in (None, event.x):
            self._seek_to(event.x)

    def on_mouse_up(self, _event: events.MouseUp) -> None:
        if self._dragged_to is not None:
            self._dragged_to = None
            self.release_mouse()

    def _seek_to(self, x: int) -> None:
        self._dragged_to = x
        begin, width = self.track
        self.post_message(self.Seek(track_time(x - begin, self._now.end_t, width)))
