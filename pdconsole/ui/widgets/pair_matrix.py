"""Which prefill replica served which decode replica how often: a small matrix. Pure.

No server counts pairs; they are derived from the ids of requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from pdconsole.model.events import RequestFinished
from pdconsole.model.layout import parse_layout
from pdconsole.model.state import State
from pdconsole.ui.lines import point_name
from pdconsole.ui.live_charts import natural
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.point_strip import shown_point, shown_run

_CELL = 6
_NAME = 4


class Pairs(msgspec.Struct, frozen=True):
    """`counts` by (prefill, decode) of what `of` names."""

    counts: Mapping[tuple[str, str], int]
    of: str


def pairs_of(state: State, requests: Sequence[RequestFinished]) -> Pairs:
    """Those of the point's window where it has a result, else of its requests among `requests`."""
    run, point = shown_run(state), shown_point(state)
    if run is None or point is None:
        return Pairs({}, "")
    name = point_name(point.id)
    if not parse_layout(run.plan.layout).is_pd:
        return Pairs({}, "no pairs: this layout is collocated")
    if point.result is not None:
        counts = {_split(pair): n for pair, n in point.result.pairs.items() if ">" in pair}
        return Pairs(counts, f"{name}, window")
    found = Counter(
        (r.prefill, r.decode)
        for r in requests
        if (r.run, r.point) == (run.id, point.id) and r.prefill and r.decode
    )
    return Pairs(
        dict(found), f"{name}, last {found.total()} requests" if found else f"{name}, none yet"
    )


def _split(pair: str) -> tuple[str, str]:
    prefill, _, decode = pair.partition(">")
    return prefill, decode


def matrix(pairs: Pairs, width: int, height: int) -> list[list[Piece]]:
    """Lines of at most `width` cells: decode replicas across, prefill replicas down."""
    if not pairs.counts:
        return [[Piece(pairs.of or "no point yet", "muted")]]
    rows = sorted({p for p, _ in pairs.counts}, key=natural)
    columns = sorted({d for _, d in pairs.counts}, key=natural)
    fits = max((width - _NAME) // _CELL, 1)
    more = len(columns) > fits
    columns = columns[: fits - 1 if more else fits]
    most = max(pairs.counts.values())
    lines = [
        [
            Piece(" " * _NAME),
            *(Piece(f"{d:>{_CELL}}", "decode", bold=True) for d in columns),
            *([Piece(f"{'…':>{_CELL}}", "muted")] if more else []),
        ]
    ]
    room = max(height - 2, 1)
    cut = len(rows) > room
    for p in rows[: room - 1] if cut else rows:
        cells = (_cell(pairs.counts.get((p, d), 0), most) for d in columns)
        lines.append([Piece(f"{p:<{_NAME}}", "prefill", bold=True), *cells])
    if cut:
        lines.append([Piece(f"… {len(rows) - room + 1} more", "muted")])
    lines.append([Piece(pairs.of, "muted")])
    return lines


def _cell(count: int, most: int) -> Piece:
    """A pair that never was stands out as much as one that is most of all."""
    text = f"{count:>{_CELL},}" if count else f"{'·':>{_CELL}}"
    return Piece(text, "text" if count else "warn", bold=count == most)
