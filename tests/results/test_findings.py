"""docs/findings: its tables and verdicts are recomputed from the published results it speaks of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from measured_data import MEASURED, needs_measured_data

from pdconsole.results.audit import audit_paths
from pdconsole.results.axes import Axes
from pdconsole.results.panel import Panel, panels
from pdconsole.results.point_row import PointRow
from pdconsole.results.reading import read_points

pytestmark = needs_measured_data

DOCS = Path(__file__).resolve().parents[2] / "docs" / "findings"
LOADS = (4, 8, 16, 32, 48, 64)
RATES = (1, 2, 4, 8, 16)

Points = dict[float, PointRow]
Number = Callable[[PointRow], float]


def measured(name: str) -> Path:
    """`published/4xtp2` -> its one directory whose name ends so, of the 5000:250 runs."""
    part, end = name.split("/")
    exact = MEASURED / part / f"gptoss_itl5000_otl250_{end}"
    return exact if exact.is_dir() else MEASURED / part / end


@cache
def points(name: str) -> Points:
    rows, problems = read_points(measured(name))
    assert not problems
    return {row.value: row for row in rows if row.value is not None}


def rps(row: PointRow) -> float:
    return row.request_throughput


def ttft(row: PointRow) -> float:
    assert row.ttft_p50_ms is not None
    return row.ttft_p50_ms


def tpot(row: PointRow) -> float:
    assert row.tpot_p50_ms is not None
    return row.tpot_p50_ms


def tokens_of_8(row: PointRow) -> float:
    """Tokens a second of eight GPUs."""
    assert row.tokens_per_s_per_gpu is not None
    return 8 * row.tokens_per_s_per_gpu


def rps_of_8(row: PointRow) -> float:
    assert row.gpus is not None
    return 8 * row.request_throughput / row.gpus


def series(name: str, number: Number, loads: tuple[int, ...] = LOADS) -> list[float]:
    found = points(name)
    return [number(found[load]) for load in loads if load in found]


def ratios(one: str, other: str, number: Number) -> list[float]:
    a, b = series(one, number), series(other, number)
    return [x / y for x, y in zip(a, b, strict=True)]


def says(document: str, *texts: str) -> None:
    text = " ".join((DOCS / document).read_text("utf-8").split())
    for wanted in texts:
        assert wanted in text, f"{document} does not say: {wanted}"


def table_row(title: str, values: list[float], digits: int) -> str:
    cells = [f"{value:,.{digits}f}" for value in values]
    return f"| {' | '.join([title, *cells])} |"


def percents(title: str, values: list[float]) -> str:
    return f"| {title} | " + " | ".join(f"{100 * value:.0f} %" for value in values) + " |"


# --- prefill to decode ratios ---

RATIOS = {
    "3:1": "published/mixed_pd_p3xtp2-d1xtp2",
    "2:1": "archive/mixed_2xtp2-1xtp2",
    "1:1": "published/mixed_pd_p1xtp2-d1xtp2",
    "1:2": "published/mixed_pd_p1xtp2-d2xtp2",
    "1:3": "published/mixed_pd_p1xtp2-d3xtp2",
    "4xTP2": "published/mixed_baseline_4xtp2",
}
MISLABELLED = "published/mixed_pd_p2xtp2-d1xtp2"
TP4_PAIR = "published/mixed_pack_p1xtp4-d1xtp4"


def ratio_panel(*names: str) -> Panel:
    rows = [row for name in names for load, row in points(RATIOS[name]).items() if load <= 64]
    (panel,) = panels(rows, Axes())
    return panel


def winners(panel: Panel, axis: str) -> list[tuple[str, int, int]]:
    """(layout, from, to) over tokens a second of eight GPUs."""
    found = panel.regimes(axis)  # type: ignore[arg-type]
    return [(r.winner, round(8 * r.low / 1000), round(8 * r.high / 1000)) for r in found]


def test_the_tables_of_ratios() -> None:
    for title, name in RATIOS.items():
        rate, latency = series(name, rps_of_8), series(name, tpot)
        cells = [f"{x:.2f} / {y:.1f}" for x, y in zip(rate, latency, strict=True)]
        says("pd-ratio.md", f"| {title} | {' | '.join(cells)} |")
        says("pd-ratio.md", table_row(title, series(name, ttft), 0))


def test_decode_heavy_ratios_are_ahead_but_for_one_load() -> None:
    two = ratios(RATIOS["1:2"], RATIOS["2:1"], rps)
    three = ratios(RATIOS["1:3"], RATIOS["3:1"], rps)
    assert min(two) > 1
    assert [value > 1 for value in three] == [True] * 5 + [False]
    says("pd-ratio.md", percents("1:2 ÷ 2:1", two), percents("1:3 ÷ 3:1", three))


def test_prefill_heavy_ratios_are_below_the_baseline() -> None:
    (three,) = ratio_panel("3:1", "4xTP2").beaten
    assert three.label == "p3xtp2-d1xtp2"
    # Some points of 2:1 are beaten by a point of the baseline, the others by the line between them.
    two, baseline = ratio_panel("2:1", "4xTP2"), points(RATIOS["4xTP2"]).values()
    beaten = {
        load
        for load, row in points(RATIOS["2:1"]).items()
        if any(tpot(b) <= tpot(row) and rps_of_8(b) >= rps_of_8(row) for b in baseline)
    }
    assert beaten == {4, 48, 64}
    line = sorted((tpot(row), rps_of_8(row)) for row in baseline)
    reached = [
        rps_of_8(row) / float(np.interp(tpot(row), *zip(*line, strict=True)))
        for load, row in points(RATIOS["2:1"]).items()
        if load not in beaten
    ]
    assert [round(100 * share) for share in reached] == [72, 90, 94]
    says("pd-ratio.md", "those at 4, 48 and 64 in flight are", "reach 72, 90 and 94 % of the line")
    ahead = [r for r in two.regimes("latency") if r.winner != "4xtp2"]
    assert [(round(r.low, 1), round(r.high, 1)) for r in ahead] == [(11.6, 11.6)]
    assert all(r.margin is not None and r.margin < 0.002 for r in ahead)
    # Against the mislabelled run the baseline would have lost.
    rows = [row for name in (RATIOS["4xTP2"], MISLABELLED) for row in points(name).values()]
    (panel,) = panels(rows, Axes())
    assert "p2xtp2-d1xtp2" in {regime.winner for regime in panel.regimes("latency")}


def test_the_best_ratio_shifts_with_throughput() -> None:
    of_pd = winners(ratio_panel("3:1", "2:1", "1:1", "1:2", "1:3"), "throughput")
    assert of_pd == [
        ("p1xtp2-d3xtp2", 8, 56),
        ("p1xtp2-d2xtp2", 56, 67),
        ("p1xtp2-d1xtp2", 67, 87),
    ]
    says("pd-ratio.md", "1:3 up to 56 k tokens/s, 1:2 from there to 67 k, 1:1 beyond, to 87 k")


def test_against_the_baseline_low_load_is_no_regime_of_one_to_three() -> None:
    every = winners(ratio_panel(*RATIOS), "throughput")
    assert ("4xtp2", 9, 27) in every
    assert every[0][0] == "p1xtp2-d3xtp2"
    repeats = ratios(RATIOS["4xTP2"], "archive/mixed_4xtp2", tpot)
    assert 1 - min(repeats) == pytest.approx(0.126, abs=0.001)
    says("pd-ratio.md", "from 9 k to 27 k tokens/s", "by up to 13 %")
    assert max(tpot(row) for name in RATIOS.values() for row in points(name).values()) < 23
    says("pd-ratio.md", "no median TPOT of these runs is above 23 ms")


def test_the_published_peaks() -> None:
    peak = {title: max(series(name, rps_of_8)) for title, name in RATIOS.items()}
    assert peak["1:2"] == pytest.approx(12.72, abs=0.005)
    assert peak["1:1"] == pytest.approx(16.48, abs=0.005)
    assert max(series(MISLABELLED, rps)) == pytest.approx(13.07, abs=0.005)
    says("pd-ratio.md", "12.72 requests/s", "16.48 requests/s", "13.07 requests/s")


def test_the_mislabelled_run_decodes_like_two_replicas() -> None:
    true_one = tpot(points(RATIOS["2:1"])[48])
    assert tpot(points(MISLABELLED)[48]) == pytest.approx(11.69, abs=0.005)
    assert true_one == pytest.approx(22.22, abs=0.005)
    says("pd-ratio.md", "11.7 ms at 48 in flight, where the true 2:1 has 22.2 ms")
    report = audit_paths([measured(name) for name in (*RATIOS.values(), MISLABELLED)])
    found = {finding.rule for finding in report.findings if finding.weight == "bad"}
    assert {"label-suspected", "repeats-disagree"} <= found


def test_above_70_thousand_tokens() -> None:
    collocated = max(series(RATIOS["4xTP2"], tokens_of_8))
    ahead = max(series(RATIOS["1:1"], tokens_of_8)), max(series(TP4_PAIR, tokens_of_8))
    assert collocated == pytest.approx(74_759, abs=1)
    assert ahead == pytest.approx((86_507, 88_573), abs=1)
    assert tpot(points(RATIOS["1:1"])[32]) < tpot(points(RATIOS["4xTP2"])[64])
    assert max(series(RATIOS["1:3"], tokens_of_8)) == pytest.approx(55_945, abs=1)
    says("pd-ratio.md", "74,759", "86,507", "88,573", "55,945")


OPEN_LOOP = {
    "4xTP2": "archive/4xtp2",
    "2xTP4": "archive/2xtp4",
    "1P-TP2+3D-TP2": "archive/1ptp2-3dtp2-packed-ucx",
    "3P-TP2+1D-TP2": "archive/3ptp2-1dtp2-packed-ucx",
    "1P-TP4+1D-TP4": "archive/1ptp4-1dtp4-packed-ucx",
}


def test_with_prompts_that_do_not_recur_the_baseline_is_ahead() -> None:
    for title, name in OPEN_LOOP.items():
        found = points(name)
        cells = [
            f"{rps(found[r]):.1f} / {ttft(found[r]):,.0f} / {tpot(found[r]):.1f}"
            if r in found
            else "-"
            for r in RATES
        ]
        says("pd-ratio.md", f"| {title} | {' | '.join(cells)} |")
    at_8 = {title: points(name)[8] for title, name in OPEN_LOOP.items()}
    collocated = [at_8["4xTP2"], at_8["2xTP4"]]
    for title in ("1P-TP2+3D-TP2", "3P-TP2+1D-TP2", "1P-TP4+1D-TP4"):
        assert all(ttft(at_8[title]) > 3 * ttft(one) for one in collocated)


# --- tensor parallelism ---

COLLOCATED = {
    "2xTP4, published": "published/mixed_baseline_2xtp4",
    "4xTP2, published": "published/mixed_baseline_4xtp2",
    "2xTP4, archive": "archive/mixed_2xtp4",
    "4xTP2, archive": "archive/mixed_4xtp2",
    "8xTP1, archive": "archive/mixed_8xtp1",
}


@pytest.mark.parametrize(("number", "digits"), [(tpot, 2), (ttft, 0), (rps, 2)])
def test_the_tables_of_tp(number: Number, digits: int) -> None:
    for title, name in COLLOCATED.items():
        says("tp.md", table_row(title, series(name, number), digits))


def test_tpot_falls_with_tp_from_32_in_flight_on() -> None:
    four, two, one = (series(f"archive/mixed_{x}", tpot) for x in ("2xtp4", "4xtp2", "8xtp1"))
    ordered = [a < b < c for a, b, c in zip(four, two, one, strict=True)]
    assert ordered == [True, False, False, True, True, True]
    published = ratios(COLLOCATED["2xTP4, published"], COLLOCATED["4xTP2, published"], tpot)
    assert [value < 1 for value in published] == [True, False, True, True, True, True]


def test_ttft_does_not_follow_tp_in_a_closed_loop() -> None:
    named = {tp: series(f"archive/mixed_{tp}", ttft) for tp in ("8xtp1", "4xtp2", "2xtp4")}
    best = [min(named, key=lambda tp: named[tp][i]) for i in range(len(LOADS))]
    assert best == ["4xtp2"] * 4 + ["8xtp1", "4xtp2"]
    later = ratios(COLLOCATED["2xTP4, published"], COLLOCATED["4xTP2, published"], ttft)
    assert [value < 1 for value in later] == [True] + [False] * 5  # TP4 at low load, not at high


LONG = {tp: f"archive/gptoss_itl10000_otl500_{tp}" for tp in ("2xtp4", "4xtp2", "8xtp1")}


def test_ttft_follows_tp_where_prompts_do_not_recur() -> None:
    for title, name in (("2xTP4", "2xtp4"), ("4xTP2", "4xtp2"), ("8xTP1", "8xtp1")):
        says("tp.md", table_row(title, series(LONG[name], ttft, RATES), 0))
    four, two, one = (series(LONG[tp], ttft, RATES[:4]) for tp in ("2xtp4", "4xtp2", "8xtp1"))
    assert all(a < b < c for a, b, c in zip(four, two, one, strict=True))
    served = [rps(points(LONG[tp])[16]) for tp in ("2xtp4", "4xtp2", "8xtp1")]
    assert served == pytest.approx([7.38, 7.61, 7.29], abs=0.005)
    says("tp.md", "7.38, 7.61 and 7.29 requests/s")


def test_throughput_follows_tp_at_every_load() -> None:
    for a, b in (("2xtp4", "4xtp2"), ("4xtp2", "8xtp1")):
        assert min(ratios(f"archive/mixed_{a}", f"archive/mixed_{b}", rps)) > 1


# --- the network ---

PACK, QUIET = TP4_PAIR, "archive/mixed_1xtp4-1xtp4-pack-wo-verbosity"
SRD = "published/mixed_spread_srd_1xtp4-1xtp4"
TCP = "published/mixed_spread_tcp_p1xtp4-d1xtp4"
LIBFABRIC = "archive/mixed_1xtp4-1xtp4-spread-libfabric"
H200 = "published/gptoss_H200_itl5000_otl250_mixed_{}_p1xtp4-d1xtp4"


def test_srd_is_within_a_few_percent_of_one_node() -> None:
    published, quiet = ratios(SRD, PACK, rps), ratios(SRD, QUIET, rps)
    h200 = ratios(H200.format("spread"), H200.format("pack"), rps)
    assert (min(published), min(quiet), min(h200)) == pytest.approx(
        (0.972, 0.892, 0.986), abs=0.001
    )
    says(
        "network.md",
        percents("srd ÷ pack, published", published),
        percents("srd ÷ pack without verbose logs", quiet),
        percents("H200, spread ÷ pack", h200),
        percents("libfabric ÷ pack without verbose logs", ratios(LIBFABRIC, QUIET, rps)),
    )


def test_tcp_costs_ten_times_and_more() -> None:
    slower, later = ratios(PACK, TCP, rps), ratios(TCP, PACK, ttft)
    assert (min(slower), max(slower)) == pytest.approx((9.6, 23.9), abs=0.05)
    assert (min(later), max(later)) == pytest.approx((80, 212), abs=0.5)
    assert all(0.91 < value < 1.01 for value in ratios(TCP, PACK, tpot))
    says(
        "network.md",
        table_row("throughput, pack ÷ tcp", slower, 1),
        table_row("throughput, srd ÷ tcp", ratios(SRD, TCP, rps), 1),
        table_row("median TTFT, tcp ÷ pack", later, 0),
        table_row("median TTFT, tcp ÷ srd", ratios(TCP, SRD, ttft), 0),
        table_row("median TPOT, tcp ÷ pack", ratios(TCP, PACK, tpot), 2),
    )
    report = audit_paths([measured(PACK), measured(TCP)])
    assert "slow-kv-transfer" in {finding.rule for finding in report.findings}


def test_verbose_logs_cost_a_tenth_at_most() -> None:
    gain, faster = ratios(QUIET, PACK, rps), ratios(QUIET, PACK, tpot)
    assert max(gain) < 1.09
    assert (1 - max(faster), 1 - min(faster)) == pytest.approx((0.044, 0.121), abs=0.001)
    says("network.md", "by 3 to 9 % in throughput and 4 to 12 % in TPOT")


def test_a_pair_of_tp4_against_the_baseline() -> None:
    baseline = COLLOCATED["2xTP4, published"]
    says(
        "pd-ratio.md",
        percents("published ÷ 2xTP4", ratios(TP4_PAIR, baseline, rps)),
        percents("without verbose logs ÷ 2xTP4", ratios(QUIET, baseline, rps)),
    )


def test_one_measurement_goes_by_two_names() -> None:
    report = audit_paths([measured(PACK), measured("published/mixed_pd_p1xtp4-d1xtp4")])
    assert "identical-files" in {finding.rule for finding in report.findings}
