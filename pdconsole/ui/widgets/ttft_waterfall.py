"""Where did this TTFT go? The stages of a request from sending to first token. Pure.

Only what is recorded is drawn: the client's time to the first token and to the last. How the first
divides among the servers no event tells; those stages are shown as unknown, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.cells import cell_len

from pdconsole.model.events import RequestFinished
from pdconsole.model.layout import parse_layout
from pdconsole.model.state import State
from pdconsole.ui.lines import point_name
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.point_strip import shown_point

UNSEEN = (
    *("router", "P queue", "prefill", "transfer post", "transfer", "D queue"),
    "first decode step",
)
UNSEEN_COLLOCATED = ("router", "queue", "prefill", "first decode step")
_LABEL = 12
_VALUE = 10
LEAST_BAR = 6
LATE_MS = 1.0


class Bar(msgspec.Struct, frozen=True):
    """A time to first token: of a request, or a percentile of a named window."""

    label: str
    ttft_ms: float | None
    e2el_ms: float | None = None


def percentile_bars(state: State) -> tuple[Bar, ...]:
    """Median and p99 of the point's window where it has a result, else of the last seconds."""
    point = shown_point(state)
    if point is not None and point.result is not None:
        found = point.result.ttft_ms
        return Bar("window p50", found.get("p50")), Bar("window p99", found.get("p99"))
    live = state.live
    if not live.window_s:
        return ()
    named = f"{live.window_s:.0f} s"
    return Bar(f"{named} p50", live.ttft_p50), Bar(f"{named} p99", live.ttft_p99)


def waterfall(
    state: State, request: RequestFinished | None, back: int, width: int, height: int
) -> list[list[Piece]]:
    """Lines of at most `width` cells. `back`: how many requests before the last one it is."""
    if request is None:
        return [[Piece("no request has finished yet", "muted")]]
    bars = [Bar("request", request.ttft_ms, request.e2el_ms), *percentile_bars(state)]
    longest = max((b.ttft_ms or 0.0 for b in bars), default=0.0)
    room = max(width - _LABEL - _VALUE - 1, LEAST_BAR)
    unseen = UNSEEN if _is_pd(state, request) else UNSEEN_COLLOCATED
    lines = [_about(request, back)]
    lines += [_bar(bar, longest, room) for bar in bars]
    if height > len(lines) + 1:  # what is unknown comes first
        lines += _rest(request)
    room_left = height - len(lines)
    if room_left >= len(unseen):
        lines += [
            [Piece(f"  {name:<20}", "muted"), Piece("? not recorded", "unknown")] for name in unseen
        ]
    elif room_left > 0:
        text = f"? not recorded: {', '.join(unseen)}"
        lines += [[Piece(part, "unknown")] for part in _wrapped(text, width)[:room_left]]
    return lines


def _is_pd(state: State, request: RequestFinished) -> bool:
    run = state.run(request.run)
    return run is None or parse_layout(run.plan.layout).is_pd


def _about(request: RequestFinished, back: int) -> list[Piece]:
    which = "last" if back == 0 else f"{back} before the last"
    via = " → ".join(name for name in (request.prefill, request.decode) if name)
    return [
        Piece(f"#{request.index} ", "text", bold=True),
        Piece(f"{point_name(request.point)} {request.phase}  ", "muted"),
        Piece(via or "replicas unknown", "text" if via else "unknown"),
        Piece(f"  ({which})", "muted"),
    ]


def _bar(bar: Bar, longest: float, room: int) -> list[Piece]:
    if bar.ttft_ms is None:
        return [Piece(f"{bar.label:<{_LABEL}}", "muted"), Piece(f"{'-':>{_VALUE}}", "muted")]
    cells = max(round(bar.ttft_ms / longest * room), 1) if longest > 0 else 1
    # One hatch for the whole: how it divides is not known.
    hatch = f"{'?':░^{cells}}" if cells >= 3 else "░" * cells
    return [
        Piece(f"{bar.label:<{_LABEL}}", "muted"),
        Piece(f"{bar.ttft_ms:>{_VALUE - 3},.0f} ms", "text", bold=True),
        Piece(" "),
        Piece(hatch, "unknown"),
    ]


def _rest(request: RequestFinished) -> list[list[Piece]]:
    if request.error:
        return [[Piece(f"failed: {request.error}", "fail")]]
    lines = []
    if request.late_ms >= LATE_MS:
        lines.append([Piece(f"sent {request.late_ms:,.0f} ms late, not in the TTFT", "warn")])
    if request.ttft_ms is not None and request.e2el_ms is not None:
        rest = request.e2el_ms - request.ttft_ms
        text = f"{'then':<{_LABEL}}{rest:>{_VALUE - 3},.0f} ms to the last token"
        lines.append([Piece(text, "muted")])
    return lines


def _wrapped(text: str, width: int) -> Sequence[str]:
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
