"""A screen over a session's time: the replay bar at its foot, and what one can do with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult

from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.live_lines import named
from pdconsole.ui.replay_track import Playback, time_text
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.widgets.replay_bar import ReplayBar

if TYPE_CHECKING:
    from pdconsole.ui.replay_clock import ReplayClock
    from pdconsole.ui.session_source import SessionHistory

STEP_S = 1.0
LEAP_S = 30.0
# A mark that one stands on, or has just gone to while playing, is not the one before.
BACK_GRACE_S = 1.0  # at 1×
EVENTS = ("note", "command", "run", "session")

_NAME = "replay"
REPLAY_ACTIONS = (  # the first three are hinted at first
    Action("replay.play", "play/pause", "Play or pause; live: freeze", ("space",), _NAME),
    Action("replay.seek", "go to", "Go to a time that you type", ("t",), _NAME),
    Action("replay.edge", "live", "Go to the end, and stay there", ("e",), _NAME),
    Action("replay.slower", "slower", "Half the speed, down to ¼", ("less_than_sign",), _NAME),
    Action("replay.faster", "faster", "Twice the speed, up to 64", ("greater_than_sign",), _NAME),
    Action("replay.start", "Start", "Go to the beginning", ("B",), _NAME, hint=False),
    Action("replay.step-back", "Step back", "1 s back, paused", ("comma",), _NAME, hint=False),
    Action("replay.step", "Step", "1 s on, paused", ("full_stop",), _NAME, hint=False),
    Action("replay.leap-back", "Leap back", "30 s back", ("ctrl+left",), _NAME, hint=False),
    Action("replay.leap", "Leap", "30 s on", ("ctrl+right",), _NAME, hint=False),
    Action(
        *("replay.next-point", "next point", "Where the next point begins", ("n",), _NAME, False),
        call="next_mark('point')",
    ),
    Action(
        *("replay.previous-point", "Previous point", "Where this or the last one began"),
        *(("p",), _NAME, False),
        call="previous_mark('point')",
    ),
    Action(
        *("replay.next-event", "Next event", "Note, command, launch", ("N",), _NAME, False),
        call="next_mark('event')",
    ),
    Action(
        *("replay.previous-event", "Previous event", "Note, command, launch"),
        *(("P",), _NAME, False),
        call="previous_mark('event')",
    ),
    Action(
        *("replay.next-flag", "Next flag", "The next flag", ("f",), _NAME, False),
        call="next_mark('flag')",
    ),
    Action(
        *("replay.previous-flag", "Previous flag", "The flag before", ("F",), _NAME, False),
        call="previous_mark('flag')",
    ),
    Action(
        "replay.loop", "Loop", "Repeat this point, or all; again: no more", ("o",), _NAME, False
    ),
)


class ReplayScreen(ConsoleScreen):
    """Compose a `ReplayBar` in the body; call `refresh_replay` from `refresh_from`."""

    def compose_replay(self) -> ComposeResult:
        yield ReplayBar(id="replay")

    @property
    def replay(self) -> ReplayClock | None:
        return self.console.replay

    def refresh_replay(self, history: SessionHistory | None) -> None:
        bar = self.query_one(ReplayBar)
        bar.set_class(history is None, "-off")
        if history is not None and self.replay is not None:
            bar.show(Playback.of(self.replay), named(history.marks(0.0, history.end_t)))

    def go_on(self) -> None:
        """After the position was changed: show it at once."""
        self.console.show_moved()

    # --- actions; without a session they do nothing ---

    def _clock(self) -> ReplayClock | None:
        if self.replay is None:
            self.console.say("no session is open; open one in Sessions")
        return self.replay

    def action_play(self) -> None:
        if clock := self._clock():
            clock.toggle()
            self.go_on()

    def action_slower(self) -> None:
        self._change_speed(faster=False)

    def action_faster(self) -> None:
        self._change_speed(faster=True)

    def _change_speed(self, *, faster: bool) -> None:
        if not (clock := self._clock()):
            return
        if clock.following and clock.growing:
            self.console.say("the live edge moves at 1×; scroll back first")
            return
        (clock.faster if faster else clock.slower)()
        self.go_on()

    def action_edge(self) -> None:
        if clock := self._clock():
            clock.follow()
            self.go_on()

    def action_start(self) -> None:
        self._seek(0.0)

    def action_step(self) -> None:
        self._step(STEP_S)

    def action_step_back(self) -> None:
        self._step(-STEP_S)

    def _step(self, seconds: float) -> None:
        if clock := self._clock():
            clock.step(seconds)
            self.go_on()

    def action_leap(self) -> None:
        self._leap(LEAP_S)

    def action_leap_back(self) -> None:
        self._leap(-LEAP_S)

    def _leap(self, seconds: float) -> None:
        if clock := self._clock():
            self._seek(clock.t + seconds)

    def _seek(self, t: float) -> None:
        if clock := self._clock():
            clock.seek(t)
            self.go_on()

    def action_seek(self) -> None:
        from pdconsole.ui.screens.seek_prompt import SeekPrompt

        def go(t: float | None) -> None:
            if t is not None:
                self._seek(t)

        if clock := self._clock():
            self.console.push_screen(SeekPrompt(clock.t, clock.end_t), go)

    def action_seek_to(self, t: float) -> None:
        """Of a click on something that has a time."""
        self._seek(t)

    def action_next_mark(self, what: str) -> None:
        self._to_mark(what, back=False)

    def action_previous_mark(self, what: str) -> None:
        self._to_mark(what, back=True)

    def _to_mark(self, what: str, *, back: bool) -> None:
        clock, history = self._clock(), self.console.history
        if clock is None or history is None:
            return
        kinds: Sequence[str] = EVENTS if what == "event" else (what,)
        t = clock.t
        mark = history.next_mark(t, kinds, back=back)
        if back and clock.playing and mark is not None:
            grace = BACK_GRACE_S * max(clock.speed, 1.0)
            mark = history.next_mark(t - grace, kinds, back=True) or mark
        if mark is None:
            self.console.say(f"no {what} {'before' if back else 'after'} {time_text(t)}")
            return
        clock.seek(mark.t)
        self.go_on()
        self.console.say(f"{time_text(mark.t)}  {named([mark])[0].text}")

    def action_loop(self) -> None:
        clock, history = self._clock(), self.console.history
        if clock is None or history is None:
            return
        if clock.loop is not None:
            clock.repeat_nothing()
        else:
            t0, t1 = span_of_point(history.latest(), clock.t) or (0.0, clock.end_t)
            clock.repeat(t0, t1)
            self.console.say(f"repeats {time_text(t0)} to {time_text(t1)}")
        self.go_on()

    # --- messages of the bar ---

    def on_replay_bar_seek(self, message: ReplayBar.Seek) -> None:
        self._seek(message.t)

    def on_replay_bar_toggle(self) -> None:
        self.action_play()


def span_of_point(state: State, t: float) -> tuple[float, float] | None:
    """From when to when the point of this moment is known to last."""
    for run in state.runs:
        for point in run.points:
            if point.started_t is None or point.started_t > t:
                continue
            if point.ended_t is not None and point.ended_t >= t:
                return point.started_t, point.ended_t
    return None
