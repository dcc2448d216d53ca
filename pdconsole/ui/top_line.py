"""The line on top: the screens at the left; session, what it is at, and the time at the right."""

from __future__ import annotations

from pdconsole.model.state import State
from pdconsole.ui.lines import clock, layout_name, point_name
from pdconsole.ui.screen_list import SCREENS
from pdconsole.ui.widgets.frame_lines import Piece, spread

STATUS_ROLES = {
    "running": "ok",
    "starting": "accent",
    "stopping": "warn",
    "paused": "warn",
    "finished": "muted",
    "failed": "fail",
    "stopped": "warn",
    "broken-off": "fail",
}


def top_line(current: str, session: str, state: State, wall: float, width: int) -> list[Piece]:
    """`session` is the name of the one that is open, "" for none."""
    full = [Piece(" pdconsole ", "accent", bold=True), *_screens(current, short=False)]
    brief = _screens(current, short=True)
    for left in (full, brief):
        for right in _rights(session, state, wall):
            line = spread(left, right, width)
            if len(line) > len(left):
                return line
    return brief


def _screens(current: str, *, short: bool) -> list[Piece]:
    pieces = []
    for number, entry in enumerate(SCREENS, 1):
        here = entry.name == current
        pieces.append(
            Piece(
                f" {number} {entry.short if short else entry.title} ",
                "text" if here else "muted",
                f"app.show('{entry.name}')",
                bold=here,
                reverse=here,
            )
        )
    return pieces


def _rights(session: str, state: State, wall: float) -> list[list[Piece]]:
    """From the most to the least that there may be room for."""
    now = Piece(f"  {clock(wall)} ", "muted")
    if not session:
        return [[now]]
    role = STATUS_ROLES.get(state.status, "text")
    about = [Piece("● ", role), Piece(state.status, role, bold=True)]
    if state.simulated:
        about.append(Piece(" SIM ", "simulated", bold=True))
    name, at = Piece(f"{session}  ", "text"), Piece(f"{_where(state)}  ", "muted")
    experiment = Piece(f"{session.partition('_')[2] or session}  ", "text")
    return [
        *([name, at, *about, now], [name, *about, now], [name, *about], [experiment, *about]),
        *([*about, now], about),
    ]


def _where(state: State) -> str:
    run = state.run(state.current_run)
    if run is None:
        return ""
    point = f" {point_name(state.current_point)}" if state.current_point else ""
    return f"{layout_name(run.plan.layout)}{point}"
