"""What the last LIVE_WINDOW_S seconds of a series say, kept up to date sample by sample; pure.

The columns these make begin with `live_`, so that a number always names its window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pdconsole.model import events as ev
from pdconsole.model.state import LIVE_WINDOW_S
from pdconsole.model.statistics import percentiles_of_histogram

QUANTILES = (50, 90, 99)
LATENCIES = ("ttft", "tpot", "itl")


class LatencyWindow:
    """Percentiles and rates of one point's last ticks: `State.live` as a series.

    Counts are added as a tick comes and taken off as it leaves, so a tick costs the same however
    many share the window.
    """

    def __init__(self) -> None:
        self._ticks: deque[ev.PointTick] = deque()
        self._counts: dict[str, dict[int, int]] = {name: {} for name in LATENCIES}

    def clear(self) -> None:
        self._ticks.clear()
        for counts in self._counts.values():
            counts.clear()

    def add(self, tick: ev.PointTick) -> dict[str, float]:
        """`live_ttft_p50`, … (ms; absent where nothing was seen), `live_requests_per_s`,
        `live_input_tokens_per_s`, `live_output_tokens_per_s` and `live_total_tokens_per_s`."""
        ticks = self._ticks
        ticks.append(tick)
        self._count(tick, 1)
        while ticks[0].node_t <= tick.node_t - LIVE_WINDOW_S:
            self._count(ticks.popleft(), -1)
        values: dict[str, float] = {}
        for name, counts in self._counts.items():
            found = percentiles_of_histogram(tuple(sorted(counts.items())), QUANTILES)
            for q, value in zip(QUANTILES, found, strict=True):
                if value is not None:
                    values[f"live_{name}_p{q}"] = value
        span = sum(x.dt_s for x in ticks)
        if span > 0:
            requests = sum(x.finished for x in ticks)
            tokens_in = sum(x.input_tokens for x in ticks)
            tokens_out = sum(x.output_tokens for x in ticks)
            values["live_requests_per_s"] = requests / span
            values["live_input_tokens_per_s"] = tokens_in / span
            values["live_output_tokens_per_s"] = tokens_out / span
            values["live_total_tokens_per_s"] = (tokens_in + tokens_out) / span
        return values

    def _count(self, tick: ev.PointTick, sign: int) -> None:
        for name, counts in self._counts.items():
            for bucket, count in getattr(tick, name):
                left = counts.get(bucket, 0) + sign * count
                if left:
                    counts[bucket] = left
                else:
                    del counts[bucket]


class CounterWindow:
    """How much some cumulative counters of one source grew over the window.

    A counter that falls was begun anew (its process was): what was before it is forgotten.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, float]]] = deque()

    def add(self, node_t: float, counters: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """(seconds, growth of each counter that both ends of the window have); 0 s at first."""
        samples = self._samples
        if samples:
            last_t, last = samples[-1]
            if node_t <= last_t or any(counters[n] < last[n] for n in counters if n in last):
                samples.clear()
        samples.append((node_t, counters))
        while len(samples) > 2 and samples[0][0] < node_t - LIVE_WINDOW_S:
            samples.popleft()
        first_t, first = samples[0]
        grown = {name: value - first[name] for name, value in counters.items() if name in first}
        return node_t - first_t, grown
