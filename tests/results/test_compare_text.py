"""What `compare` prints: frontier, regimes and strips as people read them, data for programs."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import msgspec
import pytest
from a_row import a_row
from click.testing import CliRunner
from measured_data import MEASURED, needs_measured_data

from pdconsole import exit_codes
from pdconsole.cli import cli
from pdconsole.model.latency_axis import parse_latency
from pdconsole.model.slo import parse_slo
from pdconsole.results import Comparison, compare
from pdconsole.results.axes import Axes, ThroughputAxis
from pdconsole.results.chart import throughput_chart
from pdconsole.results.point_row import PointRow
from pdconsole.results.regime_table import ShownRegime, range_text
from pdconsole.results.strip_chart import strip_lines

GOLDENS = Path(__file__).parent / "goldens"
PUBLISHED = [
    MEASURED / "published" / f"gptoss_itl5000_otl250_mixed_{name}"
    for name in ("baseline_2xtp4", "baseline_4xtp2", "pd_p1xtp2-d2xtp2", "pd_p1xtp4-d1xtp4")
]


def is_golden(name: str, text: str) -> None:
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("PDCONSOLE_WRITE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()


def known(layout: str, concurrency: float, tpot: float, per_gpu: float):
    """A point with intervals of 2 %."""
    e2el = 200.0 + 249 * tpot
    ci = {
        "tpot_p50_ms": (0.99 * tpot, 1.01 * tpot),
        "ttft_p50_ms": (190.0, 210.0),
        "e2el_mean_ms": (0.99 * e2el, 1.01 * e2el),
    }
    return a_row(layout, concurrency, tpot, per_gpu, ci=ci)


ROWS = (
    known("4xtp2", 4, 6, 1500),
    known("4xtp2", 16, 12, 3400),
    known("4xtp2", 64, 24, 5200),
    known("p1xtp2-d3xtp2", 4, 6.05, 1510),
    known("p1xtp2-d3xtp2", 16, 8, 3600),
    known("p1xtp2-d3xtp2", 64, 11, 3900),
    known("p3xtp2-d1xtp2", 4, 9, 900),
    known("p3xtp2-d1xtp2", 64, 25, 2900),
)


@pytest.mark.parametrize("width", [80, 120])
def test_a_comparison_with_intervals(width: int) -> None:
    axes = Axes(slo=parse_slo("tpot<=10ms,ttft<=500ms"))
    text = Comparison(ROWS, axes=axes).text(width)
    assert max(map(len, text.splitlines())) <= width
    is_golden(f"intervals_{width}", text)


@needs_measured_data
def test_the_published_measurements() -> None:
    found = msgspec.structs.replace(compare(PUBLISHED), audit="")
    is_golden("published_tpot", found.text(120))


@needs_measured_data
def test_the_published_measurements_by_first_tokens_of_a_deployment() -> None:
    axes = Axes(
        latency=parse_latency("chunk:16"),
        throughput=ThroughputAxis(what="requests", per="deployment"),
    )
    found = msgspec.structs.replace(compare(PUBLISHED, axes), audit="")
    is_golden("published_chunk", found.text(120))


@needs_measured_data
def test_what_an_audit_calls_bad_stands_beside_the_number() -> None:
    found = compare([MEASURED / "published"])
    mislabelled = [row for row in found.rows if "label-suspected" in row.flags]
    assert {row.layout for row in mislabelled} == {"p2xtp2-d1xtp2"}
    assert "2 bad" in found.audit


@pytest.mark.parametrize("latency", ["tpot", "ttft", "itl", "e2el", "chunk:16", "interactivity"])
@pytest.mark.parametrize("per", ["gpu", "node", "deployment"])
def test_any_axes_fit_any_terminal(latency: str, per: str) -> None:
    axes = Axes(latency=parse_latency(latency), throughput=ThroughputAxis(what="input", per=per))
    for width in (80, 200):
        text = Comparison(ROWS, axes=axes).text(width)
        assert max(map(len, text.splitlines())) <= width


def test_where_nothing_can_be_divided_it_says_what_can() -> None:
    rows = [a_row("?", 4, 5, 1000, gpus=None)]
    assert "--per deployment needs no count" in Comparison(tuple(rows)).text(100)


def test_a_strip_has_a_letter_and_a_mark_a_column() -> None:
    (panel,) = Comparison(ROWS).panels
    letters, marks, scale = strip_lines(panel, "latency", 80)
    assert len(letters) == len(marks) == len(scale) == 78
    assert set(letters.split()[0]) == {"A", "B"}
    assert "6.0" in scale


def test_csv_has_a_line_a_point_and_its_place() -> None:
    lines = list(csv.DictReader(io.StringIO(Comparison(ROWS).to_csv())))
    assert len(lines) == len(ROWS)
    assert [line["on_frontier"] for line in lines[:2]] == ["true", "false"]
    assert float(lines[0]["latency"]) == 6.0
    assert lines[0]["within_slo"] == ""
    assert lines[0]["simulated"] == "false"


def test_json_has_frontier_dominated_layouts_and_regimes() -> None:
    found = json.loads(json.dumps(Comparison(ROWS).to_json()))
    (panel,) = found["panels"]
    assert found["axes"]["latency"] == "tpot"
    assert panel["dominated"][0]["label"] == "p3xtp2-d1xtp2 srd pack"
    assert panel["frontier"][0]["divisor"] == 8
    regimes = panel["regimes"]["latency"]
    assert {r["certainty"] for r in regimes} >= {"clear", "tie"}
    assert regimes[-1]["winner"] == "4xtp2 srd pack"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--latency", "speed"], "'speed' is no latency"),
        (["--slo", "tpot<5h"], "tpot is in ms"),
        (["--output", "figure.gif"], ".png, .svg, .pdf"),
        (["--json", "--csv"], "give one"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    arguments: list[str], says: str
) -> None:
    result = CliRunner().invoke(cli, ["compare", "nosuch", *arguments])
    assert result.exit_code == exit_codes.USAGE
    assert says in result.output
    assert "nosuch" not in result.output


@needs_measured_data
def test_a_figure_is_written_beside_the_text(tmp_path: Path) -> None:
    path = tmp_path / "f.svg"
    arguments = ["compare", str(PUBLISHED[0]), str(tmp_path / "nosuch"), "--output", str(path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == exit_codes.CANNOT  # of what could not be read
    assert path.exists()
    assert f"wrote {path}" in result.output


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1730.2, 2651.4, "1,730 to 2,651"),
        (22715.1, 22715.4, "22,715.1 to 22,715.4"),
        (22715.1, 22715.1, "22,715"),
    ],
)
def test_the_ends_of_a_range_never_read_alike(low: float, high: float, text: str) -> None:
    (panel,) = Comparison(ROWS).panels
    regime = ShownRegime(
        low=low, high=high, winner="4xtp2", certainty="alone", runner_up="", margin=None
    )
    assert range_text(panel, "throughput", regime) == text


def test_a_layout_without_intervals_leaves_the_others_certain() -> None:
    rows = (*ROWS[:6], a_row("p3xtp2-d1xtp2", 4, 5.9, 300), a_row("p3xtp2-d1xtp2", 64, 25, 400))
    (panel,) = Comparison(rows).panels
    found = {(r.winner.split()[0], r.certainty) for r in panel.regimes("latency")}
    assert {("p1xtp2-d3xtp2", "clear"), ("4xtp2", "clear")} <= found


def test_the_chart_has_a_bar_where_an_interval_is_known_and_none_elsewhere() -> None:
    def drawn(*rows: PointRow) -> list[str]:
        (panel,) = Comparison(rows).panels
        return throughput_chart(panel, 100).splitlines()

    e2el = 200.0 + 249 * 10
    wide = {"tpot_p50_ms": (8.0, 12.0), "e2el_mean_ms": (0.8 * e2el, 1.25 * e2el)}
    rows = (a_row("4xtp2", 4, 10, 2000), a_row("2xtp4", 4, 20, 3000))
    plain = drawn(*rows)
    barred = drawn(a_row("4xtp2", 4, 10, 2000, ci=wide), rows[1])
    (line,) = (each for each in barred if "A─" in each)
    before, after = line.split("A")
    assert before.endswith("─" * 10)
    assert after.startswith("─" * 10)
    column = line.index("A")
    assert sum(each[column : column + 1] == "│" for each in barred) >= 4
    assert any("95 % intervals" in each for each in barred)
    assert not any("95 % intervals" in each for each in plain)


def test_what_decode_only_counts_and_divides_by_is_told() -> None:
    ours = a_row("2xtp4", 8, 6, 2000, mode="decode-only", source="pdconsole")
    others = a_row("p1xtp2-d3xtp2", 8, 6, 2000, mode="decode-only")
    said = "prompts count although decode-only computes none of them"
    for what, is_said in (("total", True), ("input", True), ("output", False), ("requests", False)):
        axes = Axes(throughput=ThroughputAxis(what=what))
        assert (said in " ".join(Comparison((ours,), axes=axes).text(120).split())) is is_said
    assert said not in Comparison((ROWS[0],)).text(400)
    assert "÷ the GPUs that were loaded;" in Comparison((ours,)).text(400)
    assert "÷ the GPUs that were loaded, as far as files tell;" in Comparison((others,)).text(400)


def test_latencies_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    rows = [a_row("4xtp2", c, ms, 1000 + ms) for c, ms in ((4, 10), (8, 100), (16, 1000))]
    (panel,) = Comparison(tuple(rows)).panels
    lines = throughput_chart(panel, 100).splitlines()
    columns = sorted(line.index("A") for line in lines if "┤" in line or "│" in line if "A" in line)
    assert columns[1] - columns[0] == pytest.approx(columns[2] - columns[1], abs=1)
    (ticks,) = (line.split() for line in lines if line.split()[:1] == ["10"])
    assert ticks == ["10", "20", "50", "100", "200", "500", "1,000"]
