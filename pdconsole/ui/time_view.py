"""Which stretch of the session the charts show. Pure."""

from __future__ import annotations

import msgspec

DEFAULT_SPAN_S = 120.0
SHORTEST_S = 2.0
YOUNGEST_S = 15.0
ZOOM = 2.0
PAN = 0.25


class TimeView(msgspec.Struct, frozen=True):
    """`span_s` seconds; `end` None: up to the position shown, moving on with it."""

    span_s: float = DEFAULT_SPAN_S
    end: float | None = None

    def window(self, t: float) -> tuple[float, float]:
        """(t0, t1) at position `t`; the session begins at 0, and the window no earlier.

        While a session is younger than the span it is shown whole, with room to grow: the window is
        halved until it would no longer hold it.
        """
        if self.end is not None:
            return self.end - self.span_s, self.end
        if t >= self.span_s:
            return t - self.span_s, t
        span = self.span_s
        while span / 2 >= max(t, YOUNGEST_S):
            span /= 2
        return 0.0, span

    def zoomed(self, t: float, factor: float, longest_s: float) -> TimeView:
        """`factor` times as long, around its middle; around its end while it moves on."""
        t0, t1 = self.window(t)
        span = min(max((t1 - t0) * factor, SHORTEST_S), max(longest_s, DEFAULT_SPAN_S))
        if self.end is None:
            return TimeView(span)
        return self.showing((t0 + t1 - span) / 2, (t0 + t1 + span) / 2, t)

    def panned(self, t: float, share: float) -> TimeView:
        """On by a share of its length, back where negative; at `t` it moves on with it again."""
        t0, t1 = self.window(t)
        by = share * (t1 - t0)
        return self.showing(t0 + by, t1 + by, t)

    def showing(self, t0: float, t1: float, t: float) -> TimeView:
        """This stretch, not before 0, never beyond the position `t`."""
        span = max(t1 - t0, SHORTEST_S)
        end = max(t1, span)
        return TimeView(span) if end >= t else TimeView(span, end)
