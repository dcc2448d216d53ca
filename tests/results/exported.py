"""Points to export: of a made-up run of ours, and of every other program."""

from __future__ import annotations

from pathlib import Path

from a_run import FACTS, a_measurement, a_plan
from foreign_files import aiperf, genai_bench, guidellm, write

from pdconsole.model.workload import Point
from pdconsole.results import PointRow, ResultDirectory, read_points

POINTS = (Point("concurrency", 4), Point("concurrency", 16), Point("request_rate", 2.5))
OF_ITS_PLACE = ("file", "group")  # what an export changes


def runs(root: Path, repeats: int = 1, layout: str = "p1xtp2-d3xtp2") -> list[PointRow]:
    """The points of a made-up run, and of runs that repeat it."""
    for repeat in range(repeats):
        directory = ResultDirectory.create(root, a_plan(layout), FACTS)
        for i, point in enumerate(POINTS):
            directory.write_point(point, a_measurement(point, seed=10 * repeat + i))
    return rows_of(root)


def foreign(root: Path) -> list[PointRow]:
    """A point of each other program, and one of which little is known."""
    phase = {"type": "poisson", "rate": 3.0, "requests": 12}
    write(root / "ai_4xtp2" / "profile_export_aiperf.json", aiperf(phase))
    write(root / "guide_2xtp4" / "benchmarks.json", guidellm({"type_": "concurrent", "streams": 4}))
    write(root / "genai" / "x.json", genai_bench(8, "ms"))
    bare = {"duration": 9.5, "completed": 3, "request_throughput": 0.3}
    write(root / "bare" / "some.json", {**bare, "total_token_throughput": 40.0})
    return rows_of(root)


def rows_of(path: Path) -> list[PointRow]:
    rows, problems = read_points(path)
    assert problems == []
    return rows
