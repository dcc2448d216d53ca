"""An exported sweep, read by the plots of `vllm bench sweep` themselves."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from engine_stack import HERE, STACK

from pdconsole.results.export import export_points
from pdconsole.results.reading import read_all

pytestmark = [pytest.mark.engine, pytest.mark.slow]

NUMBERS = """
import json, sys
from pathlib import Path
from vllm.benchmarks.sweep.plot import _get_metric, _json_load_bytes
from vllm.benchmarks.sweep.plot_pareto import _prepare_records
records = [r for p in Path(sys.argv[1]).rglob("summary.json") for r in _json_load_bytes(p)]
keys = {"user_count_var": "max_concurrency", "gpu_count_var": "num_gpus"}
found, skipped = _prepare_records(records, **keys)
assert not skipped, skipped
names = ("layout", "gpu_count", "tokens_per_gpu", "tokens_per_user")
metrics = ("request_throughput", "median_tpot_ms", "p99_ttft_ms")
told = [[*(r[n] for n in names), *(_get_metric(r, m) for m in metrics)] for r in found]
print(json.dumps(told))
"""


def asked(*command: str | Path) -> str:
    if not (STACK / "installed").exists():
        pytest.skip(f"no engine in {STACK}; install it with: sh tests/engine/install")
    done = subprocess.run(
        [STACK / "bin" / command[0], *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("plot_pareto", "--gpu-count-var", "num_gpus"),
        (
            *("plot", "--curve-by", "layout"),
            *("--var-x", "request_throughput", "--var-y", "p99_ttft_ms"),
        ),
    ],
    ids=lambda arguments: arguments[0],
)
def test_vllm_plots_an_exported_sweep(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    rows, _ = read_all([HERE.parents[1] / "bm_results"])
    export_points(rows, "sweep", tmp_path / "sweep")
    plot, *options = arguments
    told = asked("vllm", "bench", "sweep", plot, tmp_path / "sweep", *options, "--dry-run")
    # All runs are in one figure, and it has left out none.
    assert told.count("[END FIGURE]") == 1
    assert "Skipped" not in told


def test_vllm_takes_the_same_numbers_from_an_exported_sweep(tmp_path: Path) -> None:
    rows, _ = read_all([HERE.parents[1] / "bm_results"])
    export_points(rows, "sweep", tmp_path / "sweep")
    told = json.loads(asked("python", "-c", NUMBERS, tmp_path / "sweep").splitlines()[-1])
    expected = [
        [
            *(row.layout, row.gpus, (row.output_throughput or 0) / (row.gpus or 1)),
            (row.output_throughput or 0) / (row.max_concurrency or 1),
            *(row.request_throughput, row.tpot_p50_ms, row.ttft_p99_ms),
        ]
        for row in rows
    ]
    assert sorted(told) == sorted(expected)
