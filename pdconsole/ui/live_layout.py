"""How the live screen's parts share a terminal. Pure."""

from __future__ import annotations

import msgspec

LEAST_CHART_ROWS = 6
PARTS = ("workers", "pairs", "waterfall")


class Arrangement(msgspec.Struct, frozen=True):
    """Charts in `columns` × `rows`; below them `under_rows` lines with `under` of the parts."""

    columns: int
    rows: int
    under_rows: int
    under: tuple[str, ...]
    framed: bool  # there is room for borders
    replay_rows: int

    @property
    def page(self) -> int:
        """How many charts are seen at once."""
        return self.columns * self.rows


def arrange(width: int, height: int, *, beside: int) -> Arrangement:
    """For a terminal of at least 80 × 24. `beside` counts through the parts that take turns where
    not all have room."""
    columns = 1 if width < 110 else 2 if width < 180 else 3
    framed = height >= 34
    under_rows = 6 if not framed else 12 if height < 50 else 16
    replay_rows = 2 if framed else 1
    body = height - 4 - replay_rows - under_rows  # less top, headline, strip and hints
    rows = min(max(body // LEAST_CHART_ROWS, 1), 3)
    under: tuple[str, ...] = PARTS
    if columns == 1:
        under = (PARTS[beside % 3],)
    elif columns == 2:
        under = ("workers", PARTS[1 + beside % 2])
    return Arrangement(columns, rows, under_rows, under, framed, replay_rows)


def page_of(ids: tuple[str, ...], page: int, size: int) -> tuple[str, ...]:
    """The charts of a page. The last page is filled up from the one before, so that no chart
    changes its size."""
    begin = max(min(page * size, len(ids) - size), 0)
    return ids[begin : begin + size]


def pages(count: int, size: int) -> int:
    return max(-(-count // size), 1)
