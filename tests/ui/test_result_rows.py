"""Rows of the table of results, and the lines about one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from a_row import a_row

from pdconsole.results.axes import Axes
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
    row = a_row(
        *("p1xtp1-d1xtp1", 4, 8.0, 550.0),
        file="/w/bm_results/r/conc4.json",
        gpus=gpus,
        gpus_all=gpus,
        gpu_model="H100",
        slot_kind=kind,
    )
    assert said in about_point(entry_of(row), Axes(), Path("/w"))
