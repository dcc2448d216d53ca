from __future__ import annotations

from pathlib import Path

import pytest
from a_run import FACTS, a_measurement, a_plan
from measured_data import MEASURED, needs_measured_data

from pdconsole.model.workload import Point
from pdconsole.results import ResultDirectory, compare
from pdconsole.results.audit import audit_paths
from pdconsole.results.reading import different, read_all

CONC4, CONC16 = Point("concurrency", 4), Point("concurrency", 16)


def results(root: Path, *layouts: str) -> list[Path]:
    paths = []
    for layout in layouts:
        directory = ResultDirectory.create(root, a_plan(layout), FACTS)
        directory.write_point(CONC4, a_measurement(CONC4))
        directory.write_point(CONC16, a_measurement(CONC16, requests=120, seed=2))
        directory.finish("done")
        paths.append(directory.path)
    return paths


@pytest.mark.parametrize("width", [80, 120])
def test_text_fits_the_terminal(tmp_path: Path, width: int) -> None:
    text = compare(results(tmp_path, "p1xtp2-d3xtp2", "4xtp2")).text(width)
    assert max(map(len, text.splitlines())) <= width
    for expected in (
        "itl5000 otl250 mixed: all simulated",
        "p1xtp2-d3xtp2",
        "1,312 ÷8",
        "a = simulated (all points)",
        "b = errors (all points, such as: 1 of 41 requests failed)",
        "A p1xtp2-d3xtp2 cuda-ipc pack simulated",
    ):
        assert expected in text


def test_wide_table_has_a_row_a_point(tmp_path: Path) -> None:
    lines = compare(results(tmp_path, "4xtp2")).text(120, chart=False).splitlines()
    assert lines[2].split() == [
        *("layout", "GPUs", "network", "placement", "point", "req/s", "out", "tok/s", "tok/s/GPU"),
        *("TTFT", "p50", "p99", "TPOT", "p50", "p99", "flags"),
    ]
    cells = lines[3].split()
    assert cells[:9] == ["4xtp2", "8", "cuda-ipc", "pack", "c=4*", "2.00", "500", "1,312", "÷8"]
    assert cells[-1] == "ab"


def test_repeats_are_told_apart(tmp_path: Path) -> None:
    paths = results(tmp_path, "4xtp2", "4xtp2", "8xtp1")
    text = compare(paths).text(120)
    # A long temporary path is folded, and where depends on its length.
    assert f"4xtp2[2]={paths[1]}" in "".join(text.split())
    assert "8xtp1[" not in text


def test_workloads_are_kept_apart(tmp_path: Path) -> None:
    paths = results(tmp_path, "4xtp2")
    directory = ResultDirectory.create(tmp_path, a_plan("4xtp2", mode="prefill-only"), FACTS)
    directory.write_point(CONC4, a_measurement(CONC4))
    text = compare([*paths, directory.path]).text(120)
    assert text.index("itl5000 otl250 mixed") < text.index("itl5000 otl250 prefill-only")
    assert text.count("tok/s/GPU against median TPOT: up") == 2


def test_nothing_to_compare() -> None:
    assert compare([]).text(80) == "no results to compare"


def test_json_has_the_points(tmp_path: Path) -> None:
    found = compare(results(tmp_path, "4xtp2")).to_json()
    assert [p["value"] for p in found["points"]] == [4.0, 16.0]
    assert found["skipped"] == []


@needs_measured_data
@pytest.mark.parametrize("width", [80, 120])
def test_all_published_results_fit(width: int) -> None:
    found = compare([MEASURED / "published"])
    assert found.skipped == ()
    text = found.text(width)
    assert max(map(len, text.splitlines())) <= width
    assert "spread tcp" not in text  # network comes first
    assert "tcp spread" in text


def test_a_directory_given_twice_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = Point("concurrency", 8)
    directory = ResultDirectory.create(tmp_path / "bm", a_plan(), FACTS)
    file = directory.write_point(point, a_measurement(point))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.json").write_text("{")
    (tmp_path / "link").symlink_to(tmp_path / "bm")
    monkeypatch.chdir(tmp_path)
    spellings = [Path("bm"), Path("./bm/"), tmp_path / "bm", Path("bm/../bm"), Path("link")]
    spellings += [directory.path, file, Path("broken"), tmp_path / "broken"]
    found = compare(spellings)
    assert len(found.rows) == 1
    assert len(found.skipped) == 1
    # The reader of audit and export does the same.
    assert len(audit_paths(spellings).skipped) == 1
    rows, problems = read_all(spellings)
    assert (len(rows), len(problems)) == (1, 1)
    twice = [Path("link"), Path("broken"), Path("bm")]
    assert different(twice) == twice[:2]  # in the order they were given
