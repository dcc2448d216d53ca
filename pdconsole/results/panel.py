"""Points that may be compared with each other, on two axes: who is best, and what by whom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from pdconsole.model.frontier import Frontier, frontier
from pdconsole.model.regimes import Axis, Curve, CurvePoint, Regime, regimes
from pdconsole.model.statistics import mean
from pdconsole.results.axes import Axes
from pdconsole.results.intervals import Between, latency_interval, over_repeats, throughput_share
from pdconsole.results.point_row import PointRow

# These explain a number and do not spoil it.
_EXPLAINING = frozenset({"few-requests", "made-up-kv", "decode-by-prefix-cache"})


class Setting(msgspec.Struct, frozen=True, order=True):
    """What must be the same for numbers to be compared at all."""

    workload: str
    model: str
    gpu_model: str
    simulated: bool
    slot_kind: str
    loaded: str  # "" all GPUs of a layout; else the part of them that was loaded

    @property
    def slot(self) -> str:
        return "slot" if self.slot_kind == "cpu" else "GPU"


def setting_of(row: PointRow) -> Setting:
    # Numbers per GPU of P alone are of another kind than those per GPU of a layout.
    part = row.gpus is not None and row.gpus_all is not None and row.gpus < row.gpus_all
    loaded = row.mode.removesuffix("-only") if part else ""
    return Setting(row.workload, row.model, row.gpu_model, row.simulated, row.slot_kind, loaded)


def label_of(row: PointRow) -> str:
    """Layout, network and placement: what a run is known by among those of its setting.

    A run of which nobody knows the layout is known by its directory.
    """
    layout = row.layout if row.layout != "?" else Path(row.directory).name
    return " ".join(part for part in (layout, row.network, row.placement) if part)


def _measurement(row: PointRow) -> tuple[object, ...]:
    """Alike of copies of one file, which would look like repeats without scatter."""
    latencies = (row.ttft_mean_ms, row.ttft_p50_ms, row.tpot_p50_ms)
    return (label_of(row), row.point, row.duration_s, row.completed, *latencies)


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A point on the axes. Intervals are 95 %, None where nobody knows them."""

    row: PointRow
    label: str
    latency: float
    throughput: float
    latency_interval: Between | None
    throughput_interval: Between | None
    cost: float  # latency as a thing of which less is better: ms, whatever the unit
    cost_interval: Between | None


class Beaten(msgspec.Struct, frozen=True):
    """A layout with no point on the frontier, and for each of its points one that is better."""

    label: str
    by: tuple[tuple[Placed, Placed], ...]  # (its point, the better one)

    @property
    def winners(self) -> tuple[str, ...]:
        """The layouts that beat it, the one that beats most of its points first."""
        names = [better.label for _, better in self.by]
        return tuple(sorted(dict.fromkeys(names), key=lambda name: -names.count(name)))


class Panel(msgspec.Struct, frozen=True, dict=True):
    """The rows of one setting, in the order given."""

    setting: Setting
    rows: tuple[PointRow, ...]
    axes: Axes

    @cached_property
    def points(self) -> tuple[Placed, ...]:
        """Those that have a value above 0 on both axes; of copies of one file the first."""
        once: dict[tuple[object, ...], PointRow] = {}
        for row in self.rows:
            once.setdefault(_measurement(row), row)
        placed = (_placed(row, self.axes) for row in once.values())
        return tuple(point for point in placed if point is not None)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Of all rows that have a point, in their order."""
        return tuple(dict.fromkeys(point.label for point in self.points))

    @cached_property
    def best(self) -> tuple[Placed, ...]:
        """The frontier, by rising cost."""
        return tuple(self.points[i] for i in self._frontier.kept)

    @cached_property
    def best_keys(self) -> frozenset[tuple[str, str]]:
        """(file, point) of those on the frontier, copies too."""
        best = {_measurement(point.row) for point in self.best}
        return frozenset((row.file, row.point) for row in self.rows if _measurement(row) in best)

    @cached_property
    def beaten(self) -> tuple[Beaten, ...]:
        """Layouts that are on the frontier nowhere."""
        on_it = {point.label for point in self.best}
        by: dict[str, list[tuple[Placed, Placed]]] = {}
        for i, better in self._frontier.dominated_by.items():
            point = self.points[i]
            if point.label not in on_it:
                by.setdefault(point.label, []).append((point, self.points[better]))
        return tuple(
            Beaten(label, tuple(sorted(by[label], key=lambda pair: pair[0].cost)))
            for label in self.labels
            if label in by
        )

    @cached_property
    def shared_flags(self) -> tuple[str, ...]:
        """Those that every point has: they set none apart."""
        first = self.rows[0].flags if self.rows else {}
        return tuple(name for name in first if all(name in row.flags for row in self.rows))

    def doubts(self, row: PointRow) -> list[str]:
        """Its flags that spoil numbers, without those that every point has."""
        passed_over = _EXPLAINING.union(self.shared_flags)
        return [name for name in row.flags if name not in passed_over]

    def bad(self, label: str) -> dict[str, tuple[str, ...]]:
        """Load -> flags by which a point of this layout is no measurement, shared ones too."""
        found: dict[str, tuple[str, ...]] = {}
        for point in self.of(label):
            if point.row.bad:
                found[point.row.point] = (*found.get(point.row.point, ()), *point.row.bad)
        return {load: tuple(dict.fromkeys(names)) for load, names in found.items()}

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """One a layout; the same load in several directories is one point with an interval."""
        return tuple(_curve(label, self.of(label)) for label in self.labels)

    def regimes(self, axis: Axis) -> tuple[Regime, ...]:
        """Over cost (`latency`) or over throughput."""
        return self._regimes[axis]

    @cached_property
    def _regimes(self) -> dict[Axis, tuple[Regime, ...]]:
        return {
            "latency": regimes(self.curves, "latency"),
            "throughput": regimes(self.curves, "throughput"),
        }

    @cached_property
    def within_slo(self) -> tuple[Placed, ...]:
        """For each layout its point of most throughput that keeps the promise, best first."""
        slo = self.axes.slo
        found: dict[str, Placed] = {}
        for point in self.points if slo is not None else ():
            if slo is not None and slo.met_by(point.row):
                best = found.get(point.label)
                if best is None or point.throughput > best.throughput:
                    found[point.label] = point
        return tuple(sorted(found.values(), key=lambda point: -point.throughput))

    @cached_property
    def _frontier(self) -> Frontier:
        return frontier([(point.cost, point.throughput) for point in self.points])

    def of(self, label: str) -> list[Placed]:
        return [point for point in self.points if point.label == label]


def panels(rows: Iterable[PointRow], axes: Axes) -> tuple[Panel, ...]:
    """The rows by setting; each panel keeps their order."""
    found: dict[Setting, list[PointRow]] = {}
    for row in rows:
        found.setdefault(setting_of(row), []).append(row)
    return tuple(Panel(setting, tuple(found[setting]), axes) for setting in sorted(found))


def _placed(row: PointRow, axes: Axes) -> Placed | None:
    latency, throughput = axes.latency.value(row), axes.throughput.value(row)
    if latency is None or throughput is None:
        return None
    cost = axes.latency.turned(latency)
    if cost is None or not all(map(math.isfinite, (latency, throughput))):
        return None
    if cost <= 0 or throughput <= 0:  # nothing was measured, or nothing that can be
        return None
    share = throughput_share(row)
    interval = latency_interval(row, axes.latency)
    return Placed(
        row=row,
        label=label_of(row),
        latency=latency,
        throughput=throughput,
        latency_interval=interval,
        throughput_interval=share and (throughput * share[0], throughput * share[1]),
        cost=cost,
        cost_interval=interval and axes.latency.turned_interval(interval),
    )


def _curve(label: str, points: Sequence[Placed]) -> Curve:
    by_load: dict[tuple[object, ...], list[Placed]] = {}
    for point in points:
        by_load.setdefault(_load_of(point.row), []).append(point)
    return Curve(label, tuple(map(_pooled, by_load.values())))


def _load_of(row: PointRow) -> tuple[object, ...]:
    """Alike of repeats. An open loop may have a cap on its concurrency; a load that nobody knows is
    like no other."""
    if row.value is None:
        return (row.file, row.point)
    return (row.kind, row.value, row.max_concurrency if row.kind == "request_rate" else None)


def _pooled(points: Sequence[Placed]) -> CurvePoint:
    costs, throughputs = [p.cost for p in points], [p.throughput for p in points]
    return CurvePoint(
        latency=mean(costs),
        throughput=mean(throughputs),
        latency_interval=over_repeats(costs, [p.cost_interval for p in points]),
        throughput_interval=over_repeats(throughputs, [p.throughput_interval for p in points]),
    )
