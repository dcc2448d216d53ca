from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from a_run import FACTS, a_measurement, a_plan

from pdconsole.model.workload import Mode, Point
from pdconsole.results import (
    ResultDirectory,
    ResultError,
    read_point,
    read_points,
    read_requests,
)
from pdconsole.results.directory import read_run_file

CONC4 = Point("concurrency", 4)

# What a current `vllm bench serve --save-result` writes without further options, in its order.
BENCH_SERVE_KEYS = [
    *("date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts"),
    *("request_rate", "burstiness", "max_concurrency", "duration", "completed", "failed"),
    *("total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput"),
    *("output_throughput", "total_token_throughput", "max_output_tokens_per_s"),
    *("max_concurrent_requests", "rtfx"),
    *("mean_ttft_ms", "median_ttft_ms", "std_ttft_ms", "p99_ttft_ms"),
    *("mean_tpot_ms", "median_tpot_ms", "std_tpot_ms", "p99_tpot_ms"),
    *("mean_itl_ms", "median_itl_ms", "std_itl_ms", "p99_itl_ms"),
]


def written(tmp_path: Path, point: Point = CONC4, **plan: Any) -> tuple[Path, dict[str, Any]]:
    directory = ResultDirectory.create(tmp_path, a_plan(**plan), FACTS)
    file = directory.write_point(point, a_measurement(point))
    return file, json.loads(file.read_text())


def test_the_first_keys_are_those_of_vllm_bench_serve(tmp_path: Path) -> None:
    file, document = written(tmp_path)
    assert file.name == "conc4.json"
    assert list(document)[: len(BENCH_SERVE_KEYS)] == BENCH_SERVE_KEYS
    assert list(document)[-1] == "pdconsole"


def test_numbers_are_what_numpy_says_of_the_counted_requests(tmp_path: Path) -> None:
    _, document = written(tmp_path)
    rows = [row for row in a_measurement(CONC4).requests if row.in_window]
    samples = {
        "ttft": [row.ttft_ms for row in rows],
        "tpot": [row.tpot_ms for row in rows],
        "itl": [gap for row in rows for gap in row.gaps_ms],
        "e2el": [row.e2el_ms for row in rows],
    }
    for name, values in samples.items():
        assert document[f"mean_{name}_ms"] == pytest.approx(np.mean(values))  # type: ignore[arg-type]
        assert document[f"median_{name}_ms"] == np.percentile(values, 50)  # type: ignore[arg-type]
        assert document[f"std_{name}_ms"] == pytest.approx(np.std(values))  # type: ignore[arg-type]
        assert document[f"p99_{name}_ms"] == np.percentile(values, 99)  # type: ignore[arg-type]
        assert document[f"p90_{name}_ms"] == np.percentile(values, 90)  # type: ignore[arg-type]
    assert document["completed"] == 40
    assert document["num_prompts"] == 41
    assert document["request_throughput"] == 40 / document["duration"]
    low, high = document["pdconsole"]["intervals"]["ttft_ms"]["mean"]
    assert low < document["mean_ttft_ms"] < high


def test_every_ms_key_is_a_number_as_public_readers_expect(tmp_path: Path) -> None:
    _, document = written(tmp_path)
    for key, value in document.items():
        if key.endswith("ms") or "tpot" in key:
            assert isinstance(value, float), key


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (
            {"layout": "p1xtp2-d3xtp2", "strategy": "spread"},
            {"disagg": True, "is_multinode": True, "prefill_tp": 2, "prefill_num_workers": 1,
             "decode_num_workers": 3, "num_prefill_gpu": 2, "num_decode_gpu": 6,
             "tput_per_gpu": 10500 / 8, "output_tput_per_gpu": 500 / 6,
             "input_tput_per_gpu": 10000 / 2},
        ),
        (
            {"layout": "4xtp2"},
            {"disagg": False, "is_multinode": False, "prefill_tp": 2, "prefill_num_workers": 4,
             "decode_tp": 0, "decode_num_workers": 0, "num_prefill_gpu": 8, "num_decode_gpu": 0,
             "tput_per_gpu": 10500 / 8, "output_tput_per_gpu": 500 / 8},
        ),
        (
            {"layout": "1xtpep4-1xtpep4"},
            {"prefill_ep": 4, "decode_ep": 4, "decode_tp": 4},
        ),
        (
            {"layout": "p1xtp2-d3xtp2", "mode": "prefill-only"},  # goes to P alone
            {"tput_per_gpu": 10500 / 2, "output_tput_per_gpu": 500 / 2,
             "input_tput_per_gpu": 10000 / 2, "hw": "NVIDIA H100 80GB HBM3 (simulated)"},
        ),
        (
            {"layout": "p1xtp2-d3xtp2", "mode": "decode-only"},  # goes to D alone
            {"tput_per_gpu": 10500 / 6, "output_tput_per_gpu": 500 / 6,
             "input_tput_per_gpu": 10000 / 6},
        ),
    ],
)  # fmt: skip
def test_the_deployment_is_described_as_public_collections_do(
    tmp_path: Path, plan: dict[str, Any], expected: dict[str, Any]
) -> None:
    _, document = written(tmp_path, **plan)
    assert {key: document[key] for key in expected} == expected


def test_open_loop(tmp_path: Path) -> None:
    file, document = written(tmp_path, Point("request_rate", 2.5))
    assert file.name == "rr2.5.json"
    assert (document["request_rate"], document["max_concurrency"]) == (2.5, None)
    assert read_point(file).point == "rr=2.5"


def test_the_server_side_is_kept_without_buckets_and_zeros(tmp_path: Path) -> None:
    _, document = written(tmp_path)
    assert document["pdconsole"]["server"] == {
        "P1": {'vllm:prompt_tokens_total{model_name="m"}': 200000.0}
    }


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    row = read_point(written(tmp_path)[0])
    assert (row.source, row.layout, row.gpus) == ("pdconsole", "p1xtp2-d3xtp2", 8)
    assert (row.placement, row.network, row.workload) == (
        "pack", "cuda-ipc", "itl5000 otl250 mixed",
    )  # fmt: skip
    assert row.simulated
    assert row.flags == {"errors": "1 of 41 requests failed"}
    assert row.tokens_per_s_per_gpu == pytest.approx(10500 / 8)


def test_requests_with_their_gaps_in_little_room(tmp_path: Path) -> None:
    file, _ = written(tmp_path)
    path = file.parent / "requests" / "conc4.parquet"
    table = read_requests(path)
    rows = a_measurement(CONC4).requests
    assert table.num_rows == len(rows)
    found = table.to_pylist()
    assert found[-1]["error"] == "503"
    assert found[-1]["gaps_ms"] == []
    np.testing.assert_allclose(found[3]["gaps_ms"], rows[3].gaps_ms, atol=6e-4)
    assert found[3]["ttft_ms"] == pytest.approx(rows[3].ttft_ms, abs=1e-6)
    assert str(table.schema.field("gaps_ms").type) == "list<element: float>"
    metadata = table.schema.metadata
    assert metadata is not None
    assert metadata[b"point"] == b"conc4"
    assert path.stat().st_size < 4 * sum(len(row.gaps_ms) for row in rows)


def test_directories_are_never_overwritten(tmp_path: Path) -> None:
    names = [ResultDirectory.create(tmp_path, a_plan(), FACTS).name for _ in range(3)]
    first = "gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d3xtp2"
    assert names == [first, f"{first}_r2", f"{first}_r3"]


def test_a_resumed_run_goes_on_in_its_own_directory(tmp_path: Path) -> None:
    ResultDirectory.create(tmp_path, a_plan(), FACTS)  # same run id, another session
    mine = FACTS.__class__(**{**_fields(), "session": "mine"})
    begun = ResultDirectory.go_on_or_create(tmp_path, a_plan(), mine)
    begun.write_point(CONC4, a_measurement(CONC4))
    again = ResultDirectory.go_on_or_create(tmp_path, a_plan(), mine)
    assert again.path == begun.path
    assert again.points == {"conc4"}
    again.write_point(Point("concurrency", 16), a_measurement(Point("concurrency", 16)))
    again.finish("done")
    meta = read_run_file(again.path)
    assert meta is not None
    assert meta["status"] == "done"
    assert list(meta["points"]) == ["conc4", "conc16"]
    assert meta["points"]["conc4"]["flags"] == ["errors: 1 of 41 requests failed"]


def _fields() -> dict[str, Any]:
    return {name: getattr(FACTS, name) for name in FACTS.__struct_fields__}


def test_a_second_attempt_at_a_point_keeps_the_first(tmp_path: Path) -> None:
    directory = ResultDirectory.create(tmp_path, a_plan(), FACTS)
    directory.write_point(CONC4, a_measurement(CONC4, attempt=1))
    file = directory.write_point(CONC4, a_measurement(CONC4, attempt=2, requests=10))
    assert json.loads(file.read_text())["completed"] == 10
    old = directory.path / "superseded"
    assert json.loads((old / "conc4_attempt1.json").read_text())["completed"] == 40
    assert (old / "conc4_attempt1.parquet").exists()
    assert directory.points == {"conc4"}


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = ResultDirectory.create(tmp_path, a_plan(), FACTS)

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(ResultError, match=r"no room for .*conc4\.parquet: \d+ KiB are needed"):
        directory.write_point(CONC4, a_measurement(CONC4))
    assert directory.points == set()
    assert [p.name for p in directory.path.rglob("*") if p.is_file()] == ["run.yaml"]


def test_a_directory_whose_run_file_is_damaged_is_left_alone(tmp_path: Path) -> None:
    damaged = ResultDirectory.create(tmp_path, a_plan(), FACTS)
    (damaged.path / "run.yaml").write_text("points: [")
    assert ResultDirectory.go_on_or_create(tmp_path, a_plan(), FACTS).name.endswith("_r2")
    assert (damaged.path / "run.yaml").read_text() == "points: ["


def test_reading_imports_nothing_heavy() -> None:
    code = (
        "import sys, pdconsole.results, pdconsole.journal;"
        "print({'numpy', 'pandas', 'plotext', 'pyarrow', 'yaml'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(
    ("layout", "mode", "strategy", "gpus", "loaded", "of_each"),
    [
        ("2xtp1", "mixed", "pack", 1, 1, (1, 0)),
        ("1xtp1-1xtp1", "mixed", "pack", 1, 1, (1, 1)),
        ("1xtp1-1xtp1", "prefill-only", "pack", 1, 1, (1, 1)),
        ("1xtp1-2xtp1", "mixed", "spread", 2, 2, (1, 1)),
        ("1xtp1-2xtp1", "decode-only", "spread", 2, 1, (1, 1)),
    ],
)
def test_a_gpu_that_replicas_share_is_one(
    tmp_path: Path,
    layout: str,
    mode: Mode,
    strategy: str,
    gpus: int,
    loaded: int,
    of_each: tuple[int, int],
) -> None:
    facts = msgspec.structs.replace(FACTS, slot_kind="gpu-share")
    directory = ResultDirectory.create(tmp_path, a_plan(layout, mode, strategy), facts)
    point = Point("concurrency", 4)
    directory.write_point(point, a_measurement(point))
    (row,), problems = read_points(directory.path)
    assert not problems
    assert (row.gpus_all, row.gpus) == (gpus, loaded)
    assert row.tokens_per_s_per_gpu == row.total_token_throughput / loaded
    document = json.loads(Path(row.file).read_text())
    assert document["tput_per_gpu"] == row.tokens_per_s_per_gpu
    assert (document["num_prefill_gpu"], document["num_decode_gpu"]) == of_each
    assert document["pdconsole"]["per"] == "GPU"
    assert read_run_file(directory.path)["gpus"] == gpus
    # Older files count the slots, and say so.
    slots = document["pdconsole"] | {"per": "slot (gpu-share)", "gpus": 3, "loaded_gpus": 2}
    Path(row.file).write_text(json.dumps(document | {"pdconsole": slots}))
    (again,), _ = read_points(directory.path)
    assert (again.gpus_all, again.gpus) == (gpus, loaded)
    assert again.tokens_per_s_per_gpu == row.tokens_per_s_per_gpu
