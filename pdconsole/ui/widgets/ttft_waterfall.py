"""Where did this TTFT go? Bars of one request, of the window's mean and of its percentiles; pure.

Every stage has a letter, so that a bar tells its parts without colour: a part begins with its
letter. What is told of a request is drawn solid; what is left of its TTFT is hatched and begins
with a question mark, for which of those stages it went to is not known. Means of a window come from
the replicas' histograms and are named so wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from rich.cells import cell_len

from pdconsole.model import stages as st
from pdconsole.model.events import RequestFinished
from pdconsole.model.stages import Part, Path, StageMeans
from pdconsole.model.state import PointView, State
from pdconsole.ui.lines import point_name
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.point_strip import shown_point, shown_run


class _Look(msgspec.Struct, frozen=True):
    letter: str
    name: str
    role: str
    short: str = ""  # where the name is too long


LOOKS: Mapping[str, _Look] = {
    st.CLIENT: _Look("c", "client", "muted"),
    st.ROUTER: _Look("r", "router", "router"),
    st.P_QUEUE: _Look("q", "P queue", "warn"),
    st.QUEUE: _Look("q", "queue", "warn"),
    st.PREFILL: _Look("p", "prefill", "prefill"),
    st.POST: _Look("o", "transfer post", "series-4", "post"),
    st.TRANSFER: _Look("t", "transfer", "series-3"),
    st.D_QUEUE: _Look("d", "D queue", "decode"),
    st.FIRST_STEP: _Look("f", "first step", "text", "1st step"),
}
_LABEL = 12
_VALUE = 10
_STAGE = 16
LEAST_BAR = 6
LATE_MS = 1.0
LIKE = 0.1  # a request this near to a percentile stands for it
LONGEST = 3.0  # a bar longer than so many times the request's and the mean's is cut off


class Bar(msgspec.Struct, frozen=True):
    """A time to first token and its parts; `like` is the request that these are of."""

    label: str
    ttft_ms: float | None
    parts: tuple[Part, ...] = ()
    like: str = ""


def waterfall(
    state: State,
    request: RequestFinished | None,
    which: str,
    requests: Sequence[RequestFinished],
    width: int,
    height: int,
) -> list[list[Piece]]:
    """Lines of at most `width` cells. `which` says how the request was chosen; of `requests`, the
    last ones, those next to a percentile stand for it."""
    if request is None:
        return [[Piece("no request has finished yet", "muted")]]
    run = state.run(request.run)
    path: Path = "pd" if run is None else st.path_of(run.plan)
    means = st.window_means(state, request.run, request.point, path)
    own = st.parts_of(request, path)
    mean_parts = st.parts_of_means(means, path)
    bars = [Bar("request", request.ttft_ms, own)]
    if means.ttft_ms is not None:
        bars.append(Bar(f"{means.phase} mean", means.ttft_ms, mean_parts))
    bars += percentile_bars(state, requests)
    stages = st.STAGES[path]
    room = max(width - _LABEL - _VALUE - 1, LEAST_BAR)
    lines = [_about(request, which), *_bars(bars, room)]
    if request.error:
        lines.append([Piece(f"failed: {request.error}", "fail")])
    table = _table(stages, own, mean_parts, means)
    if height >= len(lines) + len(table):
        return [*lines, *table, *_rest(request)][:height]
    brief = _brief("request", own, width)
    if len(brief) == 1 and _cells(lines[0]) + _cells(brief[0]) + 2 <= width:
        lines[0] += [Piece("  "), *brief.pop()]
    lines += [*brief, *_legend(stages, width), *_brief(f"{means.phase} mean", mean_parts, width)]
    return lines[:height]


def percentile_bars(state: State, requests: Sequence[RequestFinished]) -> Iterator[Bar]:
    """Median and p99 of the point's window where it has a result, else of the last seconds."""
    run, point = shown_run(state), shown_point(state)
    live = state.live
    values: Iterable[tuple[str, float | None]] = ()
    if point is not None and point.result is not None:
        found = point.result.ttft_ms
        values = (("window p50", found.get("p50")), ("window p99", found.get("p99")))
    elif live.window_s:
        named = f"{live.window_s:.0f} s"
        values = ((f"{named} p50", live.ttft_p50), (f"{named} p99", live.ttft_p99))
    path: Path = "pd" if run is None else st.path_of(run.plan)
    theirs = _of_window(state, point, requests) if run is not None else []
    for label, value in values:
        near = None if value is None else _nearest(theirs, value)
        parts = () if near is None else st.parts_of(near, path)
        yield Bar(label, value, parts, "" if near is None else f"#{near.index}")


def _of_window(
    state: State, point: PointView | None, requests: Sequence[RequestFinished]
) -> list[RequestFinished]:
    """Those of `requests` that the percentiles are of."""
    run = shown_run(state)
    if run is None or point is None:
        return []
    mine = [r for r in requests if (r.run, r.point) == (run.id, point.id) and not r.error]
    if point.result is not None:
        return [r for r in mine if r.phase == "window"]
    since = state.t - state.live.window_s
    return [r for r in mine if r.t > since]


def _nearest(requests: Sequence[RequestFinished], ttft_ms: float) -> RequestFinished | None:
    known = [r for r in requests if r.ttft_ms is not None]
    near = min(known, key=lambda r: abs((r.ttft_ms or 0.0) - ttft_ms), default=None)
    if near is None or abs((near.ttft_ms or 0.0) - ttft_ms) > LIKE * ttft_ms:
        return None
    return near


def _about(request: RequestFinished, which: str) -> list[Piece]:
    via = " → ".join(name for name in (request.prefill, request.decode) if name)
    late = request.late_ms >= LATE_MS
    return [
        Piece(f"#{request.index} ", "text", bold=True),
        Piece(f"{point_name(request.point)} {request.phase}  ", "muted"),
        Piece(via or "replicas unknown", "text" if via else "unknown"),
        Piece(f"  ({which})", "muted"),
        *([Piece(f"  sent {request.late_ms:,.0f} ms late", "warn")] if late else []),
    ]


# --- bars ---


def _bars(bars: Sequence[Bar], room: int) -> Iterator[list[Piece]]:
    """All on one scale, which one that is far out does not spoil."""
    known = [bar.ttft_ms for bar in bars if bar.ttft_ms is not None]
    first = [ms for ms in known[:2] if ms > 0]
    longest = min(max(known, default=0.0), LONGEST * max(first)) if first else 0.0
    for bar in bars:
        yield _bar(bar, longest, room)


def _bar(bar: Bar, longest: float, room: int) -> list[Piece]:
    label = Piece(f"{bar.label:<{_LABEL}}", "muted")
    if bar.ttft_ms is None:
        return [label, Piece(f"{'-':>{_VALUE}}", "muted")]
    like = f" {bar.like}" if bar.like else ""
    share = bar.ttft_ms / longest if longest > 0 else 0.0
    cells = max(round(min(share, 1.0) * (room - 6)), 1)
    parts = bar.parts or (Part((), bar.ttft_ms, "unknown"),)
    if share > 1.0:
        like = f"»{like}"
    return [
        label,
        Piece(f"{bar.ttft_ms:>{_VALUE - 3},.0f} ms", "text", bold=True),
        Piece(" "),
        *(piece for part, n in _shares(parts, cells) if (piece := _segment(part, n))),
        *([Piece(like, "muted")] if cells + cell_len(like) <= room else []),
    ]


def _shares(parts: Sequence[Part], cells: int) -> Iterator[tuple[Part, int]]:
    """How many cells each part gets: by where it begins and ends, so that all make up the bar."""
    whole = sum(part.ms for part in parts) or 1.0
    passed, begin = 0.0, 0
    for part in parts:
        passed += part.ms
        end = round(passed / whole * cells)
        yield part, end - begin
        begin = end


def _segment(part: Part, cells: int) -> Piece | None:
    if cells < 1:
        return None
    if part.source != "told":
        letters = f"?{_letters(part)}" if part.source == "rest" else "?"
        head = letters if len(letters) < cells else "?"
        return Piece(f"{head:░<{cells}}", "unknown")
    letters = _letters(part)
    head = letters if len(letters) < cells else letters[-1:]
    return Piece(f"{head:━<{cells}}", LOOKS[part.stages[-1]].role)


def _letters(part: Part) -> str:
    return "".join(LOOKS[stage].letter for stage in part.stages)


# --- numbers ---


def _table(
    stages: Sequence[str], own: Sequence[Part], mean: Sequence[Part], means: StageMeans
) -> list[list[Piece]]:
    """A line a stage: of this request, and on average. A bracket joins what is told together."""
    of_request, of_mean = _column(stages, own), _column(stages, mean)
    named = f"{means.phase} mean" if means.phase else "mean"
    lines = [[Piece(f"{'  ms':<{_STAGE}} {'request':>9}   {named:>12}", "muted")]]
    for stage in stages:
        look = LOOKS[stage]
        lines.append(
            [
                Piece(f"{look.letter} ", look.role, bold=True),
                Piece(f"{look.name:<{_STAGE - 2}} ", look.role),
                of_request[stage],
                Piece("   "),
                of_mean[stage],
            ]
        )
    return lines


def _column(stages: Sequence[str], parts: Sequence[Part]) -> dict[str, Piece]:
    cells = {stage: Piece(f"{'?':>9}  ", "unknown") for stage in stages}
    for part in parts:
        role = "text" if part.source == "told" else "unknown"
        places = [stages.index(stage) for stage in part.stages]
        joined = len(places) > 1 and places[-1] - places[0] == len(places) - 1
        for i, stage in enumerate(part.stages):
            here = i == (len(places) // 2 if joined else 0)
            text = _ms(part) if here else "" if joined else "?"
            bracket = ("┐" if i == 0 else "┘" if i == len(places) - 1 else "│") if joined else " "
            cells[stage] = Piece(f"{text:>9} {bracket}", role)
    return cells


def _ms(part: Part) -> str:
    text = f"{part.ms:,.1f}" if part.ms < 10 else f"{part.ms:,.0f}"
    return text if part.source == "told" else f"? {text}"


def _brief(label: str, parts: Sequence[Part], width: int) -> list[list[Piece]]:
    """The numbers of a bar in its order, where there is no room for the table."""
    if not any(part.source == "told" for part in parts):
        return [[Piece("? not told by its servers", "unknown")]] if label == "request" else []
    words = [Piece(f"{label} ms", "muted")]
    for part in parts:
        letters = _letters(part) or "between"
        role = LOOKS[part.stages[-1]].role if part.source == "told" else "unknown"
        words.append(Piece(f"{letters} {_ms(part)}", role))
    return _wrapped(words, width, "  ")


def _legend(stages: Sequence[str], width: int) -> list[list[Piece]]:
    looks = [LOOKS[stage] for stage in stages]
    named = [Piece(f"{look.letter} {look.short or look.name}", look.role) for look in looks]
    return _wrapped(named, width, " ")


def _wrapped(pieces: Sequence[Piece], width: int, between: str) -> list[list[Piece]]:
    lines: list[list[Piece]] = [[]]
    for piece in pieces:
        gap = [Piece(between)] if lines[-1] else []
        if _cells([*lines[-1], *gap, piece]) > width:
            lines.append([])
            gap = []
        lines[-1] += [*gap, piece]
    return lines


def _cells(pieces: Iterable[Piece]) -> int:
    return sum(cell_len(piece.text) for piece in pieces)


def _rest(request: RequestFinished) -> list[list[Piece]]:
    if request.ttft_ms is None or request.e2el_ms is None:
        return []
    rest = request.e2el_ms - request.ttft_ms
    return [[Piece(f"then {rest:,.0f} ms to the last token", "muted")]]
