"""The charts of the live screen: which recorded series each is drawn from. Pure.

A line of a chart may be drawn from several series, such as those of a session's points one after
another, or those of many replicas, whose least and greatest value it then spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from pdconsole.model.state import LIVE_WINDOW_S, State
from pdconsole.ui.widgets.chart_data import LineKind, SeriesStyle

SINGLE_REPLICAS = 3  # more than these share one line

_WINDOW = f"last {LIVE_WINDOW_S:.0f} s"


class Source(msgspec.Struct, frozen=True):
    """What one line is drawn from: keys of a history, and the factor to the chart's unit."""

    keys: tuple[str, ...]
    factor: float = 1.0


class ChartPlan(msgspec.Struct, frozen=True):
    """A chart and, by the key of each of its lines, what that is drawn from."""

    id: str
    title: str
    unit: str
    styles: tuple[SeriesStyle, ...]
    sources: Mapping[str, Source]
    of_point: bool = False  # shows what the load driver measures: in warm-up it says so


class ChartEntry(msgspec.Struct, frozen=True):
    """A chart to choose, before it is known what is recorded."""

    id: str
    name: str
    tooltip: str


CHARTS = (
    ChartEntry("ttft", "TTFT", "Time to first token, as the client sees it"),
    ChartEntry("tpot", "TPOT", "Time per output token after the first"),
    ChartEntry("throughput", "Throughput", "Input, output and all tokens a second"),
    ChartEntry("load", "In flight", "Requests in flight, running and queued"),
    ChartEntry("kv", "KV cache", "KV-cache use by replica"),
    ChartEntry("nixl", "NIXL", "KV transfers by decode replica: on the wire, per transfer"),
    ChartEntry("itl", "ITL", "Inter-token latency"),
    ChartEntry("requests", "Requests/s", "Finished requests a second"),
    ChartEntry("nic", "NIC", "Through each node's NICs, by their own counters"),
)


def plan_charts(
    state: State, recorded: Iterable[str], t0: float, t1: float
) -> dict[str, ChartPlan]:
    """Every chart by id, with the replicas of the runs between `t0` and `t1`."""
    runs = frozenset(r.id for r in state.runs if _overlaps(r.started_t, r.ended_t, t0, t1))
    return _plans(runs, tuple(recorded))


@lru_cache(maxsize=2)  # it goes through all names; a thousand nodes have many
def _plans(runs: frozenset[str], recorded: tuple[str, ...]) -> dict[str, ChartPlan]:
    names = frozenset(recorded)
    plans = (*_POINT_CHARTS, _kv(runs, names), _nixl(runs, names), _nic(names))
    return {plan.id: plan for plan in plans}


def _overlaps(began: float | None, ended: float | None, t0: float, t1: float) -> bool:
    return began is not None and began <= t1 and (ended is None or ended >= t0)


_PointLine = tuple[str, str, str, LineKind]  # column, label, colour, line


def _point_chart(chart_id: str, title: str, unit: str, *lines: _PointLine) -> ChartPlan:
    return ChartPlan(
        id=chart_id,
        title=title,
        unit=unit,
        styles=tuple(
            SeriesStyle(column, label, f"role-{colour}", kind, label[:3].rstrip())
            for column, label, colour, kind in lines
        ),
        sources={column: Source((f"point/*/*/{column}",)) for column, *_ in lines},
        of_point=True,
    )


def _latency(kind: str) -> ChartPlan:
    return _point_chart(
        *(kind, f"{kind.upper()}, {_WINDOW}", "ms"),
        (f"live_{kind}_p50", "p50", "series-1", "solid"),
        (f"live_{kind}_p90", "p90", "series-3", "dotted"),
        (f"live_{kind}_p99", "p99", "series-2", "dashed"),
    )


_POINT_CHARTS = (
    *(_latency(kind) for kind in ("ttft", "tpot", "itl")),
    _point_chart(
        *("throughput", f"Throughput, {_WINDOW}", "tok/s"),
        ("live_total_tokens_per_s", "all", "series-1", "solid"),
        ("live_input_tokens_per_s", "in", "series-3", "dotted"),
        ("live_output_tokens_per_s", "out", "series-2", "dashed"),
    ),
    _point_chart(
        *("load", "In flight and queued", "requests"),
        ("in_flight", "in flight", "series-1", "solid"),
        ("running", "running", "series-3", "dotted"),
        ("waiting", "queued", "series-2", "dashed"),
    ),
    _point_chart(
        *("requests", f"Requests, {_WINDOW}", "req/s"),
        ("live_requests_per_s", "finished", "series-1", "solid"),
        ("errors", "errors", "fail", "dashed"),
    ),
)


_ROLES = (("P", "prefill"), ("D", "decode"), ("C", "collocated"))


def _kv(runs: frozenset[str], names: frozenset[str]) -> ChartPlan:
    """A line a replica while they are few, otherwise one a role, from the least to the fullest."""
    replicas = _replicas("worker", "kv_usage", runs, names)
    kinds: dict[str, LineKind] = {"P": "dashed", "D": "solid", "C": "solid"}
    styles: list[SeriesStyle] = []
    sources: dict[str, Source] = {}
    for letter, role in _ROLES:
        for label, members, number in _lines_of([r for r in replicas if r.startswith(letter)]):
            colour = f"role-{role}" if number == 1 else f"role-series-{number + 2}"
            styles.append(SeriesStyle(label, label, colour, kinds[letter], _tag(label)))
            sources[label] = Source(_keys_of(replicas, members), 100.0)
    return ChartPlan("kv", "KV cache in use", "%", tuple(styles), sources)


def _nixl(runs: frozenset[str], names: frozenset[str]) -> ChartPlan:
    styles: list[SeriesStyle] = []
    sources: dict[str, Source] = {}
    kinds: tuple[tuple[str, str, LineKind], ...] = (
        ("live_wire_bytes_per_s", "wire", "solid"),
        ("live_transfer_bytes_per_s", "/xfer", "dashed"),
    )
    for column, word, kind in kinds:
        replicas = _replicas("nixl", column, runs, names)
        for label, members, number in _lines_of(list(replicas)):
            tag = _tag(label) if word == "wire" else _tag(label).lower()
            key = f"{label} {word}"
            styles.append(SeriesStyle(key, key, f"role-series-{number}", kind, tag))
            sources[key] = Source(_keys_of(replicas, members), 1e-9)
    return ChartPlan(
        "nixl", f"NIXL wire D, transfer d, {LIVE_WINDOW_S:.0f} s", "GB/s", tuple(styles), sources
    )


def _nic(names: frozenset[str]) -> ChartPlan:
    styles: list[SeriesStyle] = []
    sources: dict[str, Source] = {}
    kinds: tuple[tuple[str, str, LineKind], ...] = (
        ("live_tx_bytes_per_s", "out", "solid"),
        ("live_rx_bytes_per_s", "in", "dashed"),
    )
    for column, word, kind in kinds:
        nodes = sorted(name.split("/")[1] for name in names if name.endswith(f"/{column}"))
        for label, members, number in _lines_of(nodes):
            key = f"{label} {word}"
            styles.append(SeriesStyle(key, key, f"role-series-{number}", kind, word))
            sources[key] = Source(tuple(f"nics/{m}/{column}" for m in members), 1e-9)
    return ChartPlan("nic", f"NICs, {_WINDOW}", "GB/s", tuple(styles), sources)


def _replicas(
    table: str, column: str, runs: frozenset[str], names: frozenset[str]
) -> Mapping[str, Sequence[str]]:
    """The replicas for which these runs have the column, and the names of theirs."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = name.split("/")
        if len(parts) == 4 and (parts[0], parts[3]) == (table, column) and parts[1] in runs:
            found.setdefault(parts[2], []).append(name)
    return {replica: sorted(found[replica]) for replica in sorted(found, key=natural)}


def _keys_of(replicas: Mapping[str, Sequence[str]], members: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for member in members for name in replicas[member])


def _tag(label: str) -> str:
    """`D2`, or `D` for `D1–D4`."""
    return label[:1] if "–" in label else label[:3]


def natural(name: str) -> tuple[str, int, str]:
    """To sort `D2` before `D10`."""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return letters, int(digits) if digits else 0, name


def _lines_of(members: Sequence[str]) -> Iterator[tuple[str, Sequence[str], int]]:
    """(label, members, number of its colour): one each, or one for all where they are many."""
    if len(members) <= SINGLE_REPLICAS:
        for number, member in enumerate(members, 1):
            yield member, (member,), number
    else:
        yield f"{members[0]}–{members[-1]}", members, 1
