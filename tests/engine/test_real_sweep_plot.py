"""An exported sweep, read by the plots of `vllm bench sweep` themselves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from engine_stack import HERE, STACK

from pdconsole.results.export import export_points, read_all

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_vllm_plots_an_exported_sweep(tmp_path: Path) -> None:
    if not (STACK / "installed").exists():
        pytest.skip(f"no engine in {STACK}; install it with: sh tests/engine/install")
    rows, _ = read_all([HERE.parents[1] / "bm_results"])
    export_points(rows, "sweep", tmp_path / "sweep")
    done = subprocess.run(
        [
            *(STACK / "bin/vllm", "bench", "sweep", "plot_pareto", tmp_path / "sweep"),
            *("--gpu-count-var", "num_gpus", "--dry-run"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    # All runs are in one figure, and it has left out none.
    assert done.stdout.count("[END FIGURE]") == 1
    assert "Skipped" not in done.stdout
