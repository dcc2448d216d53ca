"""The sample results that come along say what their own requests say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pdconsole.model.measurement import RequestRow
from pdconsole.results.document import _intervals, _samples
from pdconsole.results.requests import read_requests

BM_RESULTS = Path(__file__).parents[2] / "bm_results"
POINTS = sorted(BM_RESULTS.glob("*/conc*.json"))


@pytest.mark.parametrize("path", POINTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_intervals_of_a_sample_are_those_of_its_requests(path: Path) -> None:
    ours = json.loads(path.read_bytes())["pdconsole"]
    rows = read_requests(path.parent / "requests" / f"{path.stem}.parquet").to_pylist()
    counted = [
        RequestRow(**{**row, "gaps_ms": tuple(row["gaps_ms"])})
        for row in sorted(rows, key=lambda row: row["last_token_node_t"])
        if row["in_window"]
    ]
    assert ours["interval_block"] == int(path.stem.removeprefix("conc"))
    found = _intervals(_samples(counted), ours["seed"], ours["interval_block"])
    for name, by_statistic in found.items():
        for statistic, ends in by_statistic.items():
            assert ours["intervals"][name][statistic] == pytest.approx(ends)


def test_there_are_samples() -> None:
    assert len(POINTS) == 17
