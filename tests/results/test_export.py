"""Exports read back: by our own readers, by the libraries everybody has, by the peers' readers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from exported import OF_ITS_PLACE, foreign, rows_of, runs
from measured_data import MEASURED, needs_measured_data
from peers import AiperfRecord, BenchmarkReport

from pdconsole.cli import cli
from pdconsole.results import PointRow, ResultError, read_point, read_points
from pdconsole.results.export import csv_text, export_points
from pdconsole.results.reading import read_all


def told(row: PointRow, *without: str) -> dict[str, Any]:
    left_out = {*OF_ITS_PLACE, *without}
    return {name: getattr(row, name) for name in row.__struct_fields__ if name not in left_out}


def test_csv_has_a_line_a_point_and_nothing_for_what_is_not_known(tmp_path: Path) -> None:
    rows = [*runs(tmp_path / "ours"), *foreign(tmp_path / "theirs")]
    lines = list(csv.DictReader(csv_text(rows).splitlines()))
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert (line["point"], line["directory"]) == (row.point, row.directory)
        assert line["flags"] == "; ".join(row.flags)
        assert line["bad"] == "; ".join(row.bad)
        for name, value in told(row, "flags", "bad", "ci").items():
            found = line[name]
            if value is None:
                assert found == ""
            elif isinstance(value, bool):
                assert found == str(value).lower()
            else:
                assert type(value)(found) == value, name
        for name, (low, high) in row.ci.items():
            assert (float(line[f"{name}_low"]), float(line[f"{name}_high"])) == (low, high)
    assert lines[-1]["ttft_p50_ms_low"] == ""


def test_parquet_has_the_same_columns_with_their_types(tmp_path: Path) -> None:
    rows = [*runs(tmp_path / "ours"), *foreign(tmp_path / "theirs")]
    export_points(rows, "parquet", tmp_path / "points.parquet")
    table = pq.read_table(tmp_path / "points.parquet")
    assert table.column_names == csv_text(rows).splitlines()[0].split(",")
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (kinds["gpus"], kinds["ttft_p50_ms"], kinds["simulated"]) == ("int64", "double", "bool")
    for row, found in zip(rows, table.to_pylist(), strict=True):
        mine = told(row, "flags", "bad", "ci")
        assert {name: found[name] for name in mine} == mine
        assert found["bad"] == "; ".join(row.bad)


def test_a_sweep_is_read_back_as_what_it_was(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours", repeats=2)
    done = export_points(rows, "sweep", tmp_path / "sweep")
    assert (done.points, done.left_out) == (6, ())
    again = rows_of(tmp_path / "sweep")
    key = lambda row: (row.kind, row.value, row.repeat)  # noqa: E731
    assert [told(row) for row in sorted(again, key=key)] == [
        told(row) for row in sorted(rows, key=key)
    ]
    # One run of one layout, as the comparison takes it.
    assert {Path(row.directory).name for row in again} == {Path(rows[0].directory).name}


def test_a_sweep_of_points_of_others_is_read_back(tmp_path: Path) -> None:
    rows = foreign(tmp_path / "theirs")
    export_points(rows, "sweep", tmp_path / "sweep")
    sweep = tmp_path / "sweep"
    again = {Path(row.file).relative_to(sweep).parts[0]: row for row in rows_of(sweep)}
    for row in rows:
        found = again[Path(row.directory).name]
        assert found.source == "vllm bench serve"
        # What its keys have no place for: guidellm's intervals, how the time was written.
        other = ("source", "ci", "date", "flags", "started_wall", "max_concurrency", "mode")
        assert told(found, *other) == told(row, *other)


def test_a_sweep_has_the_files_that_its_plots_read(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours", repeats=2)
    export_points(rows, "sweep", tmp_path / "sweep")
    (run,) = (tmp_path / "sweep").iterdir()
    assert sorted(path.name for path in run.iterdir()) == [
        *("BENCH--max_concurrency=16", "BENCH--max_concurrency=4", "BENCH--request_rate=2.5"),
        "summary.csv",
    ]
    combination = run / "BENCH--max_concurrency=4"
    names = sorted(path.name for path in combination.iterdir())
    assert names == ["run=0.json", "run=1.json", "summary.json"]
    summary = json.loads((combination / "summary.json").read_text())
    first = json.loads((combination / "run=0.json").read_text())
    assert [each["run_number"] for each in summary] == [0, 1]
    assert summary[0] == {k: v for k, v in first.items() if k != "pdconsole"}
    assert (first["num_gpus"], first["simulated"], first["layout"]) == (8, True, "p1xtp2-d3xtp2")
    lines = list(csv.DictReader((run / "summary.csv").read_text().splitlines()))
    assert [line["run_number"] for line in lines] == ["0", "1"] * 3
    assert float(lines[0]["output_throughput"]) == first["output_throughput"]


def test_reports_fit_the_schema_of_llm_d(tmp_path: Path) -> None:
    rows = [*runs(tmp_path / "ours"), *foreign(tmp_path / "theirs")]
    export_points(rows, "llm-d", tmp_path / "reports")
    paths = sorted((tmp_path / "reports").rglob("benchmark_report_v0.2,_*.yaml"))
    reports = [BenchmarkReport.model_validate(yaml.safe_load(path.read_text())) for path in paths]
    assert len({report.run.uid for report in reports}) == len(rows)


def test_a_report_says_what_was_measured(tmp_path: Path) -> None:
    row = runs(tmp_path / "ours")[0]
    export_points([row], "llm-d", tmp_path / "reports")
    (path,) = (tmp_path / "reports").rglob("*.yaml")
    assert path.name == "benchmark_report_v0.2,_conc4.yaml"
    report = BenchmarkReport.model_validate(yaml.safe_load(path.read_text()))
    assert report.run.keywords == ["simulated"]
    assert report.run.time.start == "2027-01-15T08:00:04+00:00"
    assert report.run.time.end == "2027-01-15T08:00:24+00:00"
    assert report.scenario.stack is not None
    assert report.scenario.load is not None
    stack = [each.standardized for each in report.scenario.stack]
    assert [(e.role, e.replicas, e.accelerator.count) for e in stack] == [
        ("prefill", 1, 2),
        ("decode", 3, 2),
    ]
    assert {e.tool_version for e in stack} == {"0.33.0"}
    assert (report.scenario.load.standardized.concurrency, stack[0].model.name) == (4, row.model)
    beside = report.scenario.load.native.config["pdconsole"]
    assert (beside["gpus_loaded"], beside["flags"]) == (8, row.flags)
    latency = report.results.request_performance.aggregate.latency
    assert latency.time_to_first_token is not None
    assert latency.time_per_output_token is not None
    assert latency.time_to_first_token.p99 == row.ttft_p99_ms
    assert latency.time_per_output_token.p50 == row.tpot_p50_ms


def test_records_fit_the_schema_of_aiperf(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    export_points(rows, "aiperf", tmp_path / "profiles")
    paths = sorted((tmp_path / "profiles").rglob("profile_export.jsonl"))
    assert [path.parent.name for path in paths] == ["conc16", "conc4", "rr2.5"]
    by_name = {"conc4": rows[0], "conc16": rows[1], "rr2.5": rows[2]}
    for path in paths:
        row = by_name[path.parent.name]
        lines = path.read_text().splitlines()
        records = [AiperfRecord.model_validate_json(line) for line in lines]
        counted = [r for r in records if r.metadata.benchmark_phase == "profiling"]
        assert len([r for r in counted if r.error is None]) == row.completed
        assert [r.error.message for r in counted if r.error is not None] == ["503"]
        assert len(records) - len(counted) == 8  # of the warm-up
        assert all(r.metadata.request_start_ns >= 1.8e18 for r in records)
        assert len(counted[0].metrics["inter_chunk_latency"].value) == 249  # type: ignore[arg-type]


def test_a_profile_of_aiperf_is_read_back_as_what_it_was(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    export_points(rows, "aiperf", tmp_path / "profiles")
    again = rows_of(tmp_path / "profiles")
    for row, found in zip(rows, again, strict=True):
        assert (found.source, found.directory.rpartition("/")[2]) == (
            "aiperf",
            row.directory.rpartition("/")[2],
        )
        same = ("layout", "gpus", "placement", "network", "model", "point", "input_len", "mode")
        same += ("completed", "failed", "duration_s", "request_throughput", "simulated", "repeat")
        for name in (*same, "output_throughput", "total_token_throughput", "input_tokens"):
            assert getattr(found, name) == getattr(row, name), name
        for latency in ("ttft", "tpot", "e2el"):
            for statistic in ("mean", "p50", "p90", "p99"):
                ours = row.latency(latency, statistic)
                assert found.latency(latency, statistic) == pytest.approx(ours, abs=1e-5)
        assert found.itl_p50_ms == pytest.approx(row.itl_p50_ms, abs=1e-3)


def test_points_without_their_requests_are_no_aiperf_records(tmp_path: Path) -> None:
    ours, theirs = runs(tmp_path / "ours"), foreign(tmp_path / "theirs")
    done = export_points([*ours, *theirs], "aiperf", tmp_path / "profiles")
    assert done.points == 3
    assert done.left_out[0].startswith("4 points without requests beside them")
    with pytest.raises(ResultError, match="4 points without requests"):
        export_points(theirs, "aiperf", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over_and_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    for form, output in (("csv", tmp_path / "points.csv"), ("sweep", tmp_path / "sweep")):
        export_points(rows, form, output)
        with pytest.raises(ResultError, match="is there already"):
            export_points(rows, form, output)
    Path(rows[-1].file).unlink()
    with pytest.raises(ResultError, match="cannot read"):
        export_points(rows, "sweep", tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "points.csv", "sweep"]


def test_paths_that_overlap_are_one_export(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    found, problems = read_all([tmp_path / "ours", Path(rows[0].directory), Path(rows[0].file)])
    assert (found, problems) == (rows, [])


def test_directories_of_one_name_stay_apart(tmp_path: Path) -> None:
    rows = [*runs(tmp_path / "a"), *runs(tmp_path / "b")]
    for form in ("sweep", "llm-d", "aiperf"):
        assert export_points(rows, form, tmp_path / form).points == 6
    assert len({row.directory for row in rows_of(tmp_path / "sweep")}) == 2
    assert len(list((tmp_path / "llm-d").rglob("*.yaml"))) == 6


def test_the_command(tmp_path: Path) -> None:
    runs(tmp_path / "ours")
    source, output = str(tmp_path / "ours"), str(tmp_path / "out")
    run = CliRunner().invoke(cli, ["export", source, "--to", "csv"])
    assert (run.exit_code, len(run.stdout.splitlines())) == (0, 4)
    run = CliRunner().invoke(cli, ["export", source, "--to", "sweep"])
    assert (run.exit_code, "--output" in run.stderr) == (2, True)
    run = CliRunner().invoke(
        cli, ["export", source, str(tmp_path / "no"), "--to", "llm-d", "-o", output]
    )
    assert (run.exit_code, run.stdout) == (1, f"{output}: 3 points, 3 files\n")
    assert "skipped" in run.stderr
    run = CliRunner().invoke(cli, ["export", source, "--to", "llm-d", "-o", output])
    assert (run.exit_code, run.stdout) == (1, "")


@needs_measured_data
def test_published_points_in_every_form(tmp_path: Path) -> None:
    rows, _ = read_all([MEASURED / "published", MEASURED / "archive"])
    assert len(csv_text(rows).splitlines()) == len(rows) + 1
    export_points(rows, "sweep", tmp_path / "sweep")
    again = rows_of(tmp_path / "sweep")
    assert len(again) == len(rows)
    assert sorted(row.total_token_throughput for row in again) == sorted(
        row.total_token_throughput for row in rows
    )
    export_points(rows, "llm-d", tmp_path / "reports")
    for path in (tmp_path / "reports").rglob("*.yaml"):
        text = path.read_text()
        BenchmarkReport.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))


def test_older_files_know_when_their_driver_was_started(tmp_path: Path) -> None:
    row = runs(tmp_path / "ours")[0]
    path = Path(row.file)
    document = json.loads(path.read_text())
    assert row.started_wall == document["pdconsole"]["window"].pop("t0_wall")
    path.write_text(json.dumps(document))
    older = read_point(path)
    assert older.started_wall == document["pdconsole"]["window"]["started_wall"]
    export_points([older], "llm-d", tmp_path / "reports")
    (report,) = (tmp_path / "reports").rglob("*.yaml")
    time = yaml.safe_load(report.read_text())["run"]["time"]
    assert time["start"] == "2027-01-15T08:00:00+00:00"
    assert "end" not in time  # nobody knows how long the warm-up took


def test_reports_come_back_as_what_they_were(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    export_points(rows, "llm-d", tmp_path / "reports")
    back, problems = read_points(tmp_path / "reports")
    assert problems == []
    assert len(back) == len(rows)
    # Where they are, who wrote them, and what the schema has no place for.
    other = ("file", "source", "session", "date", "group", "peak_concurrency", "nodes")
    for row, again in zip(rows, back, strict=True):
        for name in PointRow.__struct_fields__:
            if name not in other:
                mine, theirs = getattr(row, name), getattr(again, name)
                if isinstance(mine, float):
                    mine, theirs = pytest.approx(mine, abs=1e-6), theirs
                assert theirs == mine, name
