"""Rows of the table of results, and the lines about one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.results.axes import Axes
from pdconsole.results.point_row import PointRow
from pdconsole.ui.result_rows import about_point, entry_of


@pytest.mark.parametrize(
    ("kind", "gpus", "said"),
    [
        ("gpu", 2, "÷ 2 GPUs"),
        ("gpu-share", 1, "÷ 1 GPU ·"),
        ("gpu-share", None, "GPUs unknown"),
        ("cpu", 2, "÷ 2 slots"),
    ],
)
def test_a_number_per_gpu_says_what_it_is_divided_by(
    kind: str, gpus: int | None, said: str
) -> None:
    row = PointRow(
        file="/w/bm_results/r/conc4.json",
        source="pdconsole",
        layout="p1xtp1-d1xtp1",
        gpus=gpus,
        placement="pack",
        network="cuda-ipc",
        model="m",
        gpu_model="H100",
        input_len=1000,
        output_len=100,
        mode="mixed",
        kind="concurrency",
        value=4,
        duration_s=10,
        completed=40,
        failed=0,
        request_throughput=4,
        output_throughput=400,
        total_token_throughput=4400,
        tokens_per_s_per_gpu=None if gpus is None else 4400 / gpus,
        slot_kind=kind,
    )
    assert said in about_point(entry_of(row), Axes(), Path("/w"))
