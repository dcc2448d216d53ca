"""Where small labels go beside points, so that they hide neither points nor each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_MARKER = 3.5  # half the side of a marker, in points
_GAP = 1.5


class Box(msgspec.Struct, frozen=True):
    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def label_offsets(
    points: Sequence[tuple[float, float]], texts: Sequence[str], size: float
) -> list[tuple[float, float] | None]:
    """From each point to the middle of its text; None where there is no room for it.

    Points in the order of importance, and all lengths, in printer's points.
    """
    taken = [_around(x, y, _MARKER, _MARKER) for x, y in points]
    found: list[tuple[float, float] | None] = []
    for (x, y), text in zip(points, texts, strict=True):
        half_width, half_height = 0.3 * size * len(text), 0.4 * size
        away_x, away_y = _MARKER + _GAP + half_width, _MARKER + _GAP + half_height
        candidates = (
            *((0.0, away_y), (0.0, -away_y), (away_x, 0.0), (-away_x, 0.0)),
            *((away_x, away_y), (-away_x, away_y), (away_x, -away_y), (-away_x, -away_y)),
        )
        free = next(
            (
                (dx, dy)
                for dx, dy in candidates
                if not any(
                    _around(x + dx, y + dy, half_width, half_height).overlaps(box) for box in taken
                )
            ),
            None,
        )
        if free is not None:
            taken.append(_around(x + free[0], y + free[1], half_width, half_height))
        found.append(free)
    return found


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)
