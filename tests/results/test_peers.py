"""Exports read by the programs that they are for, where these are installed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from exported import foreign, runs
from peers import ask

from pdconsole.results import PointRow
from pdconsole.results.export import export_points
from pdconsole.results.export.places import by_directory, point_names

STATISTICS = {
    "mean": "mean",
    "std": "stddev",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}

READ_REPORTS = """
import json, sys
from pathlib import Path
from llmd_benchmark_report import import_benchmark_report
found = {}
for path in Path(sys.argv[1]).rglob("benchmark_report_v0.2,_*.yaml"):
    report = import_benchmark_report(str(path))
    found["/".join(path.parts[-2:])] = report.model_dump(mode="json", exclude_none=True)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_llm_d_reads_every_number_of_its_reports(tmp_path: Path) -> None:
    rows = [*runs(tmp_path / "ours"), *foreign(tmp_path / "theirs")]
    export_points(rows, "llm-d", tmp_path / "reports")
    found = ask("llmd_benchmark_report", READ_REPORTS, tmp_path / "reports")
    assert len(found) == len(rows)
    named = [
        (f"{directory}/benchmark_report_v0.2,_{name}.yaml", row)
        for directory, of_it in by_directory(rows)
        for name, row in zip(point_names(of_it), of_it, strict=True)
    ]
    for name, row in named:
        report = found[name]
        aggregate = report["results"]["request_performance"]["aggregate"]
        assert aggregate["throughput"]["total_token_rate"]["mean"] == row.total_token_throughput
        sent = row.num_prompts or row.completed + (row.failed or 0)
        assert aggregate["requests"]["total"] == sent
        names = {"ttft": "time_to_first_token", "tpot": "time_per_output_token"}
        names |= {"itl": "inter_token_latency", "e2el": "request_latency"}
        for ours, theirs in names.items():
            told = aggregate.get("latency", {}).get(theirs, {})
            for statistic, word in STATISTICS.items():
                value = row.latency(ours, statistic)
                assert told.get(word) == value, (row.file, theirs, word)
        stack = report["scenario"].get("stack") or []
        engines = [each["standardized"] for each in stack]
        assert sum(e["replicas"] * e["accelerator"]["count"] for e in engines) == (
            row.gpus_all or 0
        )
        assert ("simulated" in report["run"].get("keywords", [])) == row.simulated


READ_RECORDS = """
import json, sys
from pathlib import Path
from aiperf.common.models.export_models import JsonExportData
from aiperf.plot.core.data_loader import DataLoader
names = ("time_to_first_token", "inter_token_latency", "request_latency")
found = {}
for directory in sorted(p.parent for p in Path(sys.argv[1]).rglob("profile_export.jsonl")):
    run = DataLoader().load_run(directory)
    measured = run.requests[run.requests.benchmark_phase == "profiling"]
    good = measured[measured.error.isna()]
    summary = (directory / "profile_export_aiperf.json").read_bytes()
    whole = JsonExportData.model_validate_json(summary)
    found[directory.name] = {
        "good": len(good),
        "failed": len(measured) - len(good),
        "warm-up": len(run.requests) - len(measured),
        "output": int(good.output_sequence_length.sum()),
        "of requests": {name: good[name].median() for name in names},
        "of the whole": {name: getattr(whole, name).p50 for name in names},
        "request_throughput": whole.request_throughput.avg,
        "total_token_throughput": whole.total_token_throughput["avg"],
        "model": run.metadata.model,
        "concurrency": run.metadata.concurrency,
    }
print(json.dumps(found))
"""


@pytest.mark.slow
def test_aiperf_reads_its_records_and_their_summary(tmp_path: Path) -> None:
    rows = runs(tmp_path / "ours")
    export_points(rows, "aiperf", tmp_path / "profiles")
    found = ask("aiperf", READ_RECORDS, tmp_path / "profiles")
    assert sorted(found) == ["conc16", "conc4", "rr2.5"]
    for row, name in zip(rows, ("conc4", "conc16", "rr2.5"), strict=True):
        told = found[name]
        assert (told["good"], told["failed"], told["warm-up"]) == (row.completed, 1, 8)
        assert told["output"] == row.output_tokens
        for part in ("of requests", "of the whole"):
            medians = list(told[part].values())
            expected = [row.ttft_p50_ms, row.tpot_p50_ms, row.e2el_p50_ms]
            assert medians == pytest.approx(expected, abs=1e-5)
        assert told["request_throughput"] == row.request_throughput
        assert told["total_token_throughput"] == row.total_token_throughput
        assert told["model"] == row.model
        assert told["concurrency"] == (row.value if row.kind == "concurrency" else None)


def test_pandas_reads_the_same_of_csv_and_parquet(tmp_path: Path) -> None:
    rows: list[PointRow] = [*runs(tmp_path / "ours"), *foreign(tmp_path / "theirs")]
    export_points(rows, "parquet", tmp_path / "points.parquet")
    export_points(rows, "csv", tmp_path / "points.csv")
    columns = pd.read_parquet(tmp_path / "points.parquet")
    text = pd.read_csv(tmp_path / "points.csv")
    assert list(columns) == list(text)
    for name in columns:
        for one, other in zip(columns[name], text[name], strict=True):
            assert one == other or (pd.isna(other) and (pd.isna(one) or one == ""))
    # As docs/exports.md has it.
    table = columns.pivot_table(index="layout", columns="value", values="tokens_per_s_per_gpu")
    assert table.loc[rows[0].layout, rows[0].value] == rows[0].tokens_per_s_per_gpu
