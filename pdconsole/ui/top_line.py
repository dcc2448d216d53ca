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
    left = [Piece(" pdconsole ", "accent", bold=True)]
    for number, entry in enumerate(SCREENS, 1):
        here = entry.name == current
        left.append(
            Piece(
                f" {number} {entry.title} ",
                "text" if here else "muted",
                f"app.show('{entry.name}')",
                bold=here,
                reverse=here,
            )
        )
    now = Piece(f"  {clock(wall)} ", "muted")
    if not session:
        return spread(left, [now], width)
    role = STATUS_ROLES.get(state.status, "text")
    about = [Piece("● ", role), Piece(state.status, role, bold=True)]
    if state.simulated:
        about.append(Piece(" SIM ", "simulated", bold=True))
    # From the most to the least that there may be room for.
    name, at = Piece(f"{session}  ", "text"), Piece(f"{_where(state)}  ", "muted")
    for right in ([name, at, *about, now], [name, *about, now], [name, *about], [*about, now]):
        line = spread(left, right, width)
        if len(line) > len(left):
            return line
    return spread(left, about, width)


def _where(state: State) -> str:
    run = state.run(state.current_run)
    if run is None:
        return ""
    point = f" {point_name(state.current_point)}" if state.current_point else ""
    return f"{layout_name(run.plan.layout)}{point}"
