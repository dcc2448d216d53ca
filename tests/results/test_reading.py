from __future__ import annotations

import json
from pathlib import Path

import pytest
from a_run import FACTS, a_measurement, a_plan
from measured_data import MEASURED, needs_measured_data

from pdconsole.model.workload import Point
from pdconsole.results import ResultDirectory, ResultError, compare, read_directory, read_point
from pdconsole.results.names import parse_name


@pytest.mark.parametrize(
    ("name", "layout", "rest"),
    [
        ("gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d3xtp2_r2", "p1xtp2-d3xtp2",
         (5000, 250, "mixed", "pack", "cuda-ipc", "gptoss")),
        ("gptoss_itl5000_otl250_mixed_spread_srd_1xtp4-1xtp4", "p1xtp4-d1xtp4",
         (5000, 250, "mixed", "spread", "srd", "gptoss")),
        ("gptoss_itl5000_otl250_1ptp2-3dtp2-packed-ucx", "p1xtp2-d3xtp2",
         (5000, 250, "mixed", "pack", "ucx", "gptoss")),
        ("gptoss_H200_itl5000_otl250_mixed_1xtp4-1xtp4-spread", "p1xtp4-d1xtp4",
         (5000, 250, "mixed", "spread", "", "gptoss")),
        ("gptoss_itl5000_otl250_mixed_baseline_4xtp2", "4xtp2",
         (5000, 250, "mixed", "", "", "gptoss")),
        ("gptoss_itl5000_otl250_mixed_1xtp4-1xtpep4", "p1xtp4-d1xtpep4",
         (5000, 250, "mixed", "", "", "gptoss")),
        ("gptoss_itl10000_otl1_1xtp2", "1xtp2", (10000, 1, "prefill-only", "", "", "gptoss")),
        ("holiday photos", None, (None, None, "", "", "", "")),
    ],
)  # fmt: skip
def test_names_of_all_ages(name: str, layout: str | None, rest: tuple[object, ...]) -> None:
    facts = parse_name(name)
    assert (facts.layout.slug if facts.layout else None) == layout
    found = (
        facts.input_len, facts.output_len, facts.mode, facts.placement, facts.network, facts.title,
    )  # fmt: skip
    assert found == rest


@needs_measured_data
def test_all_published_results_are_read() -> None:
    directories = sorted(MEASURED.glob("*/*"))
    count = 0
    for directory in directories:
        rows, problems = read_directory(directory)
        assert problems == []
        count += len(rows)
        for row in rows:
            assert row.layout != "?", row.file
            assert row.gpus
            assert row.input_len
            assert row.value
            assert row.tokens_per_s_per_gpu
            assert (row.tpot_p50_ms is None) == (row.mode == "prefill-only")
    assert count == len(list(MEASURED.rglob("*.json")))
    assert len(directories) > 60


@needs_measured_data
def test_published_numbers_are_those_of_the_file() -> None:
    path = MEASURED / "published/gptoss_itl5000_otl250_mixed_pd_p1xtp2-d2xtp2/conc16.json"
    row = read_point(path)
    assert (row.point, row.layout, row.gpus) == ("c=16", "p1xtp2-d2xtp2", 6)
    assert row.ttft_p50_ms == 321.7875719710719
    assert row.tokens_per_s_per_gpu == pytest.approx(32130.926000509895 / 6)
    assert row.failed is None


def bench_serve_file(path: Path, **changes: object) -> Path:
    document = {
        "model_id": "m", "max_concurrency": 8, "request_rate": "inf", "duration": 10.0,
        "completed": 40, "request_throughput": 4.0, "output_throughput": 1000.0,
        "total_token_throughput": 21000.0, "median_ttft_ms": 300.0, "p99_ttft_ms": 900.0,
        "median_tpot_ms": 9.0, "p99_tpot_ms": 12.0,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        ({}, "c=8"),
        ({"request_rate": 1e9}, "c=8"),
        ({"request_rate": 4.0, "max_concurrency": 128}, "rr=4"),
        ({"max_concurrency": None}, "?"),
    ],
)
def test_which_load_a_foreign_file_tells(
    tmp_path: Path, changes: dict[str, object], point: str
) -> None:
    row = read_point(bench_serve_file(tmp_path / "x_4xtp2" / "openai-infqps.json", **changes))
    assert row.point == point
    assert row.layout == "4xtp2"


def test_unreadable_files_are_named_and_skipped(tmp_path: Path) -> None:
    good = tmp_path / "gptoss_itl5000_otl250_mixed_4xtp2"
    bench_serve_file(good / "conc8.json")
    (good / "conc16.json").write_text('{"duration": 3')
    (good / "notes.json").write_text('{"mood": "good"}')
    (good / "conc8.pytorch.json").write_text("[]")
    (tmp_path / "empty").mkdir()
    found = compare([good, tmp_path / "empty", tmp_path / "absent"])
    assert [row.point for row in found.rows] == ["c=8"]
    assert len(found.skipped) == 4
    damaged, foreign, empty, absent = found.skipped
    assert "conc16.json is damaged" in damaged
    assert "notes.json is no benchmark result: it lacks duration" in foreign
    assert "empty holds no results" in empty
    assert "absent" in absent


def test_a_point_that_is_not_finished_is_not_read(tmp_path: Path) -> None:
    directory = ResultDirectory.create(tmp_path, a_plan(), FACTS)
    rows, problems = read_directory(directory.path)
    assert rows == []
    assert "holds no results (its run is running)" in str(problems[0])
    directory.write_point(Point("concurrency", 4), a_measurement(Point("concurrency", 4)))
    (directory.path / ".conc16.json.1.tmp").write_text("{")
    found = compare([tmp_path])
    assert [row.point for row in found.rows] == ["c=4"]
    assert found.notes == (f"{directory.name} has 1 of 3 points; its run is running",)


def test_the_file_of_a_point_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot read"):
        read_point(tmp_path / "absent.json")
