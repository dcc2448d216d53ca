"""What may be compared, who is best, who is beaten by whom, and where intervals come from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from a_row import a_row
from a_run import FACTS, a_measurement, a_plan
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.frontier import dominates
from pdconsole.model.latency_axis import parse_latency
from pdconsole.model.slo import parse_slo
from pdconsole.model.workload import Point
from pdconsole.results import ResultDirectory, read_points
from pdconsole.results.audited import with_bad_findings
from pdconsole.results.axes import Axes, ThroughputAxis
from pdconsole.results.intervals import latency_interval, throughput_share
from pdconsole.results.panel import Panel, panels
from pdconsole.results.point_flags import flagged
from pdconsole.results.point_row import PointRow
from pdconsole.results.regime_table import TITLES, regime_lines, shown_regimes


def the_panel(*rows: PointRow, axes: Axes | None = None) -> Panel:
    (panel,) = panels(rows, axes or Axes())
    return panel


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "prefill-only"},
        {"input_len": 8000},
        {"model": "another"},
        {"gpu_model": "H200"},
        {"simulated": True},
        {"slot_kind": "cpu"},
    ],
)
def test_what_was_not_measured_alike_is_kept_apart(other) -> None:
    assert (
        len(panels([a_row("4xtp2", 8, 6, 2000), a_row("8xtp1", 8, 9, 1800, **other)], Axes())) == 2
    )


def test_numbers_per_gpu_of_p_are_never_beside_those_per_gpu_of_a_layout() -> None:
    prefill = {"mode": "prefill-only", "tpot_p50_ms": None}
    rows = [
        a_row("p1xtp2-d3xtp2", 8, 0, 9000, gpus=2, **prefill),
        a_row("4xtp2", 8, 0, 5000, **prefill),
    ]
    found = panels(rows, Axes(latency=parse_latency("ttft")))
    assert [panel.setting.loaded for panel in found] == ["", "prefill"]


def test_a_layout_that_is_nowhere_best_is_named_with_what_beats_it() -> None:
    panel = the_panel(
        a_row("4xtp2", 4, 5, 1000),
        a_row("4xtp2", 16, 8, 3000),
        a_row("2xtp4", 4, 6, 900),
        a_row("2xtp4", 16, 9, 2500),
        a_row("8xtp1", 64, 20, 5000),
    )
    assert [p.label for p in panel.best] == ["4xtp2 srd pack", "4xtp2 srd pack", "8xtp1 srd pack"]
    (beaten,) = panel.beaten
    assert (beaten.label, beaten.winners) == ("2xtp4 srd pack", ("4xtp2 srd pack",))
    assert [(one.row.point, other.row.point) for one, other in beaten.by] == [
        ("c=4", "c=4"),
        ("c=16", "c=16"),
    ]


_measured = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=25
)


@given(_measured, st.sampled_from(["tpot", "interactivity"]))
def test_whatever_the_axis_no_kept_point_is_dominated(measured, latency) -> None:
    rows = [
        a_row("?", i, tpot, rate * 100, file=f"r/{name}/conc{i}.json")
        for i, (name, tpot, rate) in enumerate(measured)
    ]
    panel = the_panel(*rows, axes=Axes(latency=parse_latency(latency)))
    places = [(row.tpot_p50_ms, row.tokens_per_s_per_gpu) for row in rows]
    for row, place in zip(rows, places, strict=True):
        kept = (row.file, row.point) in panel.best_keys
        assert kept is not any(dominates(other, place) for other in places)
    beaten = {each.label for each in panel.beaten}
    assert beaten == set(panel.labels) - {point.label for point in panel.best}


def test_of_interactivity_more_is_better() -> None:
    axes = Axes(latency=parse_latency("interactivity"))
    panel = the_panel(a_row("4xtp2", 4, 5, 1000), a_row("2xtp4", 4, 10, 900), axes=axes)
    assert [(p.row.layout, p.latency) for p in panel.best] == [("4xtp2", 200.0)]


@pytest.mark.parametrize(
    ("what", "per", "value", "unit", "divisor"),
    [
        ("total", "gpu", 2100, "tok/s/GPU", "÷8 GPUs"),
        ("output", "gpu", 100, "out tok/s/GPU", "÷8 GPUs"),
        ("input", "node", 16000, "in tok/s/node", "÷1 node"),
        ("requests", "deployment", 3.2, "req/s", "on 8 GPUs"),
    ],
)
def test_throughput_says_what_it_is_divided_by(what, per, value, unit, divisor) -> None:
    axis = ThroughputAxis(what=what, per=per)
    row = a_row("4xtp2", 8, 6, 2100, nodes=1)
    assert axis.value(row) == pytest.approx(value)
    assert axis.unit() == unit
    assert axis.shown_divisor(row) == divisor


def test_without_a_count_there_is_no_throughput_per_node() -> None:
    panel = the_panel(a_row("4xtp2", 8, 6, 2100), axes=Axes(throughput=ThroughputAxis(per="node")))
    assert panel.points == ()


def test_repeats_make_an_interval_and_copies_make_none() -> None:
    def curve(*rows: PointRow):
        (found,) = the_panel(*rows).curves
        (point,) = found.points
        return point

    one = a_row("4xtp2", 8, 6.0, 2000)
    again = a_row("4xtp2", 8, 6.2, 2100, file="results/4xtp2_r2/conc8.json")
    copy = a_row("4xtp2", 8, 6.0, 2000, file="elsewhere/4xtp2/conc8.json")
    assert curve(one).throughput_interval is None
    assert curve(one, copy).throughput_interval is None
    repeated = curve(one, again, copy)
    assert repeated.throughput == pytest.approx(2050)
    low, high = repeated.throughput_interval
    assert low < 2000
    assert high > 2100


def test_runs_whose_layout_nobody_knows_are_no_repeats_of_each_other() -> None:
    rows = [a_row("?", 8, 6, 2000, file=f"results/{name}/conc8.json") for name in "ab"]
    assert the_panel(*rows).labels == ("a srd pack", "b srd pack")


def test_the_best_of_each_layout_within_a_promise() -> None:
    panel = the_panel(
        a_row("4xtp2", 4, 5, 1000),
        a_row("4xtp2", 16, 8, 3000),
        a_row("4xtp2", 64, 16, 6000),
        a_row("2xtp4", 4, 9, 3500),
        a_row("8xtp1", 4, 11, 9000),
        axes=Axes(slo=parse_slo("tpot<=10ms,ttft<=1s")),
    )
    assert [(p.row.layout, p.row.point) for p in panel.within_slo] == [
        ("2xtp4", "c=4"),
        ("4xtp2", "c=16"),
    ]


def test_a_flag_of_all_points_sets_none_apart() -> None:
    rows = [
        a_row("4xtp2", 4, 5, 1000, flags={"short-window": "", "few-requests": ""}),
        a_row("4xtp2", 8, 6, 2000, flags={"short-window": "", "ttft-tail": ""}),
    ]
    panel = the_panel(*rows)
    assert panel.shared_flags == ("short-window",)
    assert [panel.doubts(row) for row in rows] == [[], ["ttft-tail"]]


def test_points_of_others_go_through_the_same_rules() -> None:
    row = a_row("p1xtp2-d3xtp2", 8, 6, 2000, itl_p50_ms=6.0, itl_p99_ms=90.0, failed=100)
    assert set(flagged(row).flags) == {"errors", "decode-stalls"}
    ours = a_row("p1xtp2-d3xtp2", 8, 6, 2000, failed=100, source="pdconsole")
    assert flagged(ours) is ours


def _measured_row(tmp_path: Path) -> PointRow:
    point = Point("concurrency", 16)
    directory = ResultDirectory.create(tmp_path, a_plan("4xtp2"), FACTS)
    directory.write_point(point, a_measurement(point, requests=120))
    directory.finish("done")
    (row,), _ = read_points(directory.path)
    return row


def test_an_interval_is_of_the_file_or_of_its_requests(tmp_path: Path) -> None:
    row = _measured_row(tmp_path)
    assert latency_interval(row, parse_latency("tpot")) == row.ci["tpot_p50_ms"]
    for name in ("tpot:p99", "itl", "chunk:16", "chunk:16:p99", "interactivity", "ttft:p90"):
        axis = parse_latency(name)
        low, high = latency_interval(row, axis)
        value = axis.value(row)
        assert value is None or low <= value <= high
        assert low < high
        assert latency_interval(row, axis) == (low, high)  # whoever repeats it gets the same


def test_in_a_closed_loop_throughput_scatters_as_the_time_of_a_request(tmp_path: Path) -> None:
    row = _measured_row(tmp_path)
    low, high = throughput_share(row)
    assert low < 1 < high
    t_low, t_high = row.ci["e2el_mean_ms"]
    assert high / low == pytest.approx(t_high / t_low)
    assert throughput_share(a_row("4xtp2", 8, 6, 2000)) is None


def test_the_interval_of_a_sum_is_of_the_sum_that_is_shown(tmp_path: Path) -> None:
    # A long wait goes with quick tokens, so the p99 of the sum is far below the sum of the p99s.
    point, measured = Point("concurrency", 4), a_measurement(Point("concurrency", 4), requests=120)
    requests = tuple(
        msgspec.structs.replace(r, ttft_ms=900.0, tpot_ms=5.0)
        if i % 20 == 0
        else msgspec.structs.replace(r, ttft_ms=100.0, tpot_ms=50.0)
        for i, r in enumerate(measured.requests)
    )
    directory = ResultDirectory.create(tmp_path, a_plan("4xtp2"), FACTS)
    directory.write_point(point, msgspec.structs.replace(measured, requests=requests))
    (row,), _ = read_points(directory.path)
    axis = parse_latency("chunk:16:p99")
    low, high = latency_interval(row, axis)
    assert axis.value(row) == 900 + 15 * 50
    assert low <= axis.value(row) <= high


def test_of_an_open_loop_that_falls_behind_nobody_knows_the_throughput() -> None:
    def row(served: float) -> PointRow:
        return a_row(
            "4xtp2", 4, 6, 2000, kind="request_rate", request_throughput=served,
            ci={"e2el_mean_ms": (1.0, 2.0)},
        )  # fmt: skip

    assert throughput_share(row(3.9)) == (1.0, 1.0)
    assert throughput_share(row(3.0)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"value": None}, {"value": None}),
        (
            {"kind": "request_rate", "max_concurrency": 8},
            {"kind": "request_rate", "max_concurrency": 64},
        ),
    ],
)
def test_what_was_not_loaded_alike_is_no_repeat(one, other) -> None:
    rows = [
        a_row("4xtp2", 4, 6.0, 2000, file="results/4xtp2/a.json", **one),
        a_row("4xtp2", 4, 12.0, 2400, file="results/4xtp2/b.json", **other),
    ]
    (curve,) = the_panel(*rows).curves
    assert [(p.latency, p.throughput_interval) for p in curve.points] == [(6.0, None), (12.0, None)]


def test_what_cannot_be_has_no_place_and_is_not_best() -> None:
    panel = the_panel(
        a_row("4xtp2", 4, -3.0, 2000),
        a_row("4xtp2", 8, 5.0, 0.0),
        a_row("4xtp2", 16, 6.0, 2100),
    )
    assert [point.row.point for point in panel.points] == ["c=16"]


def test_a_winner_with_points_that_are_no_measurements_is_marked() -> None:
    def flags(*names: str) -> dict[str, object]:
        return {"flags": dict.fromkeys(("ttft-tail", *names), ""), "bad": names}

    panel = the_panel(
        a_row("4xtp2", 4, 5, 1000, **flags()),
        a_row("4xtp2", 16, 8, 3000, **flags("errors", "stale-kv")),
        a_row("2xtp4", 4, 5, 900, **flags()),
    )
    (table,) = {tuple(regime_lines(panel, axis, 120)[-1:]) for axis in TITLES}
    assert table == ("! 4xtp2 srd pack: flagged bad, no measurement: c=16 (errors, stale-kv)",)
    _, *rows, _ = regime_lines(panel, "latency", 120)
    assert "A 4xtp2 srd pack !" in rows[0]
    assert "2xtp4 srd pack !" not in "".join(rows)
    (_, narrow, *_) = regime_lines(panel, "latency", 40)
    assert "A !" in narrow
    assert {regime.bad for regime in shown_regimes(panel, "latency")} == {("4xtp2 srd pack",)}
    # Also where every point has it.
    assert the_panel(a_row("4xtp2", 4, 5, 1000, **flags("errors"))).bad("4xtp2 srd pack")


def test_what_an_audit_calls_bad_is_bad() -> None:
    lost = a_row("4xtp2", 4, 5, 1000, completed=50, failed=50)
    assert flagged(lost).bad == ("errors",)
    (row, *_), _ = with_bad_findings([a_row("4xtp2", 4, 5, 1000, output_throughput=1.0)])
    assert row.bad == tuple(row.flags)
