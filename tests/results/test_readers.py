from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign_files import aiperf, genai_bench, guidellm, write
from measured_data import MEASURED, needs_measured_data

from pdconsole.results import PointRow, ResultError, read_point, read_points

CONCURRENT = {"type": "concurrency", "concurrency": 2, "requests": 12}
EXPORT = "profile_export_aiperf.json"


def rows_of(path: Path) -> list[PointRow]:
    rows, problems = read_points(path)
    assert problems == []
    return rows


def test_aiperf_in_our_words(tmp_path: Path) -> None:
    row = read_point(write(tmp_path / "x_4xtp2" / EXPORT, aiperf(CONCURRENT)))
    assert (row.source, row.layout, row.gpus, row.model) == ("aiperf", "4xtp2", 8, "org/m")
    assert (row.point, row.input_len, row.output_len) == ("c=2", 60, 20)
    assert (row.completed, row.failed, row.num_prompts, row.duration_s) == (12, 0, 12, 4.0)
    assert row.total_token_throughput == (720 + 240) / 4.0
    assert row.tokens_per_s_per_gpu == (720 + 240) / 4.0 / 8
    # Its inter-token latency is a mean of each request; its chunks are what we call ITL.
    assert (row.ttft_mean_ms, row.tpot_mean_ms, row.itl_mean_ms) == (40.0, 4.0, 5.0)
    assert row.itl_p99_ms == pytest.approx(5.0 * 1.99)
    assert row.started_wall == 1795524616.5
    assert row.flags == {}


@pytest.mark.parametrize(
    ("phase", "point", "burstiness"),
    [
        ({"type": "poisson", "rate": 2.5}, "rr=2.5", 1.0),
        ({"type": "gamma", "rate": 2.5, "smoothness": 0.5, "concurrency": 9}, "rr=2.5", 0.5),
        ({"type": "constant", "rate": 4.0}, "rr=4", None),
        ({"type": "concurrency", "concurrency": 16}, "c=16", None),
    ],
)
def test_loads_of_aiperf(
    tmp_path: Path, phase: dict[str, Any], point: str, burstiness: float | None
) -> None:
    row = read_point(write(tmp_path / EXPORT, aiperf(phase)))
    assert (row.point, row.burstiness) == (point, burstiness)
    assert row.max_concurrency == phase.get("concurrency")


def test_older_configuration_of_aiperf(tmp_path: Path) -> None:
    config = {
        "endpoint": {"model_names": ["org/m"]},
        "loadgen": {"concurrency": 64, "request_rate": None, "request_count": 12},
    }
    row = read_point(write(tmp_path / EXPORT, aiperf({}, input_config=config)))
    assert (row.point, row.model, row.input_len) == ("c=64", "org/m", 60)


def test_an_aiperf_run_that_did_not_finish_says_so(tmp_path: Path) -> None:
    document = aiperf(CONCURRENT, is_complete=False, incomplete_reason="it hung")
    row = read_point(write(tmp_path / EXPORT, document))
    assert row.flags == {"incomplete": "aiperf did not finish: it hung"}


def test_a_sweep_of_aiperf_is_one_run_of_several_points(tmp_path: Path) -> None:
    base = tmp_path / "gptoss_itl60_otl20_mixed_4xtp2"
    for load in (16, 4):
        for trial in (1, 2):
            directory = base / f"concurrency_{load}" / "profile_runs" / f"trial_{trial:04}"
            write(directory / EXPORT, aiperf(CONCURRENT | {"concurrency": load}))
            write(directory / "run_config.json", {})
    write(base / "aggregate" / "profile_export_aiperf_aggregate.json", {"metrics": {}})
    rows = rows_of(tmp_path)
    assert [(row.point, row.repeat) for row in rows] == [
        ("c=4", 1),
        ("c=4", 2),
        ("c=16", 1),
        ("c=16", 2),
    ]
    assert {row.directory for row in rows} == {str(base)}
    assert {row.layout for row in rows} == {"4xtp2"}


def test_what_aiperf_writes_of_each_phase_is_no_second_point(tmp_path: Path) -> None:
    directory = tmp_path / "x_4xtp2" / "c2"
    write(directory / EXPORT, aiperf(CONCURRENT))
    write(directory / "phase_manifest.json", {"phases": [], "schema_version": 1})
    for phase in ("warmup", "profiling"):
        write(directory / "phases" / phase / EXPORT, aiperf(CONCURRENT))
    # Any other directory of that name is one.
    write(tmp_path / "phases" / "4xtp2" / EXPORT, aiperf(CONCURRENT | {"concurrency": 9}))
    assert sorted(row.point for row in rows_of(tmp_path)) == ["c=2", "c=9"]


def test_aiperf_divides_tokens_by_a_time_of_its_own(tmp_path: Path) -> None:
    told = {"unit": "tokens/sec", "avg": 238.5}  # from first start to last end, not `duration`
    row = read_point(write(tmp_path / EXPORT, aiperf(CONCURRENT, total_token_throughput=told)))
    assert (row.total_token_throughput, row.output_throughput, row.duration_s) == (238.5, 60.0, 4.0)


def test_phases_of_different_loads_have_none_in_common(tmp_path: Path) -> None:
    document = aiperf(CONCURRENT)
    document["input_config"]["phases"].append({"kind": "profiling", "concurrency": 8})
    assert read_point(write(tmp_path / EXPORT, document)).point == "?"


def test_genai_perf_is_not_taken_for_aiperf(tmp_path: Path) -> None:
    config = {"model_names": ["m"], "perf_analyzer": {"stimulus": {"concurrency": 8}}}
    path = write(
        tmp_path / "profile_export_genai_perf.json", aiperf(CONCURRENT, input_config=config)
    )
    rows, problems = read_points(path)
    assert rows == []
    assert "files of GenAI-Perf are not read" in str(problems[0])


def test_guidellm_in_our_words(tmp_path: Path) -> None:
    concurrent = {"type_": "concurrent", "streams": 3, "max_concurrency": 3}
    document = guidellm(concurrent, {"type_": "synchronous"})
    path = write(tmp_path / "p1xtp2-d1xtp2" / "benchmarks.json", document)
    first, second = rows_of(path)
    assert [row.point for row in (first, second)] == ["c=1", "c=3"]
    assert (second.source, second.layout, second.gpus) == ("guidellm", "p1xtp2-d1xtp2", 4)
    assert (second.model, second.input_len, second.output_len) == ("org/m", 81, 20)
    assert (second.completed, second.failed, second.num_prompts) == (8, 1, 11)
    assert (second.total_token_throughput, second.output_throughput) == (404.0, 80.0)
    # What it calls time per output token has the first token in it.
    assert (second.ttft_p50_ms, second.tpot_p50_ms, second.itl_p50_ms) == (40.0, 5.0, None)
    assert second.e2el_p99_ms == pytest.approx(210.0)
    assert second.ci == {"ttft_mean_ms": (30.0, 50.0), "e2el_mean_ms": (130.0, 150.0)}
    assert second.started_wall is not None
    assert first.started_wall == second.started_wall + 10  # it was measured after it


def test_lengths_that_guidellm_was_asked_for_are_those_of_all_its_points(tmp_path: Path) -> None:
    document = guidellm({"type_": "synchronous"})
    data = {"kind": "synthetic_text", "prompt_tokens": 100, "output_tokens": 30, "turns": 1}
    document["config"]["spec"]["data"] = [data]
    (row,) = rows_of(write(tmp_path / "benchmarks.json", document))
    assert (row.input_len, row.output_len, row.input_tokens) == (100, 30, 648)
    document["config"]["spec"]["data"] = [data, data | {"prompt_tokens": 500}]
    (row,) = rows_of(write(tmp_path / "benchmarks.json", document))
    assert (row.input_len, row.output_len) == (81, 20)


def test_loads_of_guidellm(tmp_path: Path) -> None:
    poisson = {"type_": "poisson", "rate": 8.0, "max_concurrency": 10240}
    throughput = {"type_": "throughput", "max_concurrency": None}
    rows = rows_of(write(tmp_path / "benchmarks.json", guidellm(poisson, throughput)))
    assert [(row.point, row.burstiness) for row in rows] == [("?", None), ("rr=8", 1.0)]


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_genai_bench_in_our_words(tmp_path: Path, unit: str) -> None:
    experiment = {"model": "org/m", "server_gpu_type": "H100", "server_gpu_count": "4"}
    write(tmp_path / "experiment_metadata.json", experiment)
    for load in (16, 4):
        name = f"D(60,20)_text-to-text_num_concurrency_{load}_time_2s.json"
        write(tmp_path / name, genai_bench(load, unit))
    row, other = rows_of(tmp_path)
    assert (row.point, other.point, row.source) == ("c=4", "c=16", "genai-bench")
    assert (row.layout, row.gpus, row.gpu_model, row.model) == ("?", 4, "H100", "org/m")
    assert (row.input_len, row.output_len, row.failed, row.num_prompts) == (60, 20, 1, 11)
    assert row.ttft_mean_ms == pytest.approx(35.0)
    assert row.tpot_p99_ms == pytest.approx(6.75)
    assert row.tokens_per_s_per_gpu == 80.0
    assert (row.input_tokens, row.output_tokens, row.flags) == (600, 200, {})


@pytest.mark.parametrize(
    ("scenario", "lengths"),
    [
        ("N(480,240)/(300,150)", (480, 300)),
        ("U(50,100)/(200,250)", (75, 225)),
        ("U(50,100)", (60, 20)),  # the means of what was sent
        ("dataset", (60, 20)),
    ],
)
def test_scenarios_of_genai_bench(tmp_path: Path, scenario: str, lengths: tuple[int, int]) -> None:
    document = genai_bench(4, "ms")
    document["aggregated_metrics"]["scenario"] = scenario
    row = read_point(write(tmp_path / "x.json", document))
    assert (row.input_len, row.output_len) == lengths


def test_genai_bench_without_its_warm_up_says_of_what_its_tokens_are(tmp_path: Path) -> None:
    document = genai_bench(4, "ms")
    document["aggregated_metrics"]["num_completed_requests"] = 12  # two are of the warm-up
    row = read_point(write(tmp_path / "x.json", document))
    assert (row.completed, row.input_tokens, row.output_tokens) == (12, None, None)
    assert row.flags == {
        "requests-left-out": "2 of 12 requests are not in its latencies and tokens, but in its"
        " time: its token rates are 17 % too low"
    }


def bench_serve(**changes: Any) -> dict[str, Any]:
    return {
        "date": "20251017-134027", "model_id": "m", "num_prompts": 40, "request_rate": "inf",
        "burstiness": 1.0, "max_concurrency": 8, "duration": 10.0, "completed": 40,
        "total_input_tokens": 200000, "total_output_tokens": 10000, "request_throughput": 4.0,
        "output_throughput": 1000.0, "total_token_throughput": 21000.0, "mean_ttft_ms": 320.0,
        "median_ttft_ms": 300.0, "std_ttft_ms": 50.0, "p90_ttft_ms": 400.0, "p99_ttft_ms": 900.0,
        "mean_tpot_ms": 0.0, "median_tpot_ms": 0.0, "p99_tpot_ms": 0.0, "median_itl_ms": None,
    }  # fmt: skip


def test_lengths_and_layout_that_only_the_totals_and_metadata_tell(tmp_path: Path) -> None:
    deployment = {
        "disagg": "true", "prefill_tp": "2", "prefill_num_workers": "1", "decode_tp": "4",
        "decode_num_workers": "2",
    }  # fmt: skip
    row = read_point(write(tmp_path / "mine" / "a.json", bench_serve() | deployment))
    assert (row.input_len, row.output_len) == (5000, 250)
    assert (row.layout, row.gpus_loaded, row.gpus_all) == ("p1xtp2-d2xtp4", 10, 10)
    assert (row.ttft_std_ms, row.ttft_p90_ms, row.ttft_p95_ms) == (50.0, 400.0, None)
    assert row.tpot_p50_ms is row.tpot_p99_ms is row.itl_p50_ms is None
    # The file is stamped when the run is over.
    assert row.started_wall == 1760708427.0 - 10.0


def test_several_results_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x_4xtp2" / "all.json"
    path.parent.mkdir()
    lines = [json.dumps(bench_serve() | {"max_concurrency": load}) for load in (16, 4)]
    path.write_text("\n".join(lines) + "\n")
    assert [row.point for row in rows_of(path)] == ["c=4", "c=16"]
    with pytest.raises(ResultError, match="holds 2 results, not one"):
        read_point(path)


def test_a_sweep_of_vllm_has_its_repeats_and_no_summaries(tmp_path: Path) -> None:
    directory = tmp_path / "SERVE--BENCH-max_concurrency=8"
    for run in (0, 1):
        write(directory / f"run={run}.json", bench_serve() | {"run_number": run})
    write(directory / "summary.json", [bench_serve(), bench_serve()])
    assert [(row.point, row.repeat) for row in rows_of(tmp_path)] == [("c=8", 1), ("c=8", 2)]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"aggregated_metrics": {"run_duration": 2.5}},
            "no result of genai-bench .* lacks 'stats'",
        ),
        (aiperf(CONCURRENT, request_count={}), "no result of aiperf .* no finished request"),
        (
            aiperf(CONCURRENT, benchmark_duration={"unit": "fortnight", "avg": 1}),
            "nobody knows its unit of time 'fortnight'",
        ),
        (guidellm({"type_": "synchronous"}, duration=0), "no result of guidellm .* no duration"),
    ],
)
def test_a_file_that_is_not_whole_is_named(
    tmp_path: Path, document: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "result.json", document)
    rows, problems = read_points(path)
    assert rows == []
    assert str(path) in str(problems[0])
    with pytest.raises(ResultError, match=said):
        read_point(path)


@needs_measured_data
def test_a_tree_of_directories_is_read_whole() -> None:
    rows = rows_of(MEASURED)
    assert len(rows) == len(list(MEASURED.rglob("*.json")))
    assert all(row.started_wall and row.input_tokens and row.num_prompts for row in rows)


# --- files that nobody meant to write ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\0" * 64, "is damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{\n"duration": 1,\n"completed": 2,\n"x', "is damaged: Unterminated string"),
        (b"[1, 2]", "holds no object"),
    ],
)
def test_what_is_no_document_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    rows, problems = read_points(tmp_path)
    assert rows == []
    assert len(problems) == 1
    assert said in str(problems[0])
    assert str(path) in str(problems[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"completed": float("inf")}, {"completed": 10**400}, {"completed": -1}, {"duration": 0.0},
        {"duration": -3.0}, {"duration": float("nan")}, {"duration": "soon"}, {"duration": True},
        {"duration": None}, {"request_throughput": float("nan")}, {"total_token_throughput": [1]},
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_named_not_compared(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    (name,) = changes
    path = write(tmp_path / "result.json", bench_serve() | changes)
    with pytest.raises(ResultError, match=f"no result of vllm bench serve .* its {name} is"):
        read_point(path)


def test_latencies_that_are_none_are_unknown(tmp_path: Path) -> None:
    odd = {"mean_ttft_ms": 10**400, "median_ttft_ms": "fast", "p99_ttft_ms": [9], "failed": {}}
    row = read_point(write(tmp_path / "result.json", bench_serve() | odd))
    assert (row.ttft_mean_ms, row.ttft_p50_ms, row.ttft_p99_ms, row.failed) == (None,) * 4
    assert row.ttft_p90_ms == 400.0


@pytest.mark.parametrize(
    "document",
    [
        aiperf(CONCURRENT, benchmark_duration={"unit": "sec", "avg": 0}),
        aiperf(CONCURRENT, input_config={"phases": 5}),
        guidellm({"type_": "synchronous"}, metrics={"request_totals": 3}, duration="x"),
        genai_bench(4, "s") | {"aggregated_metrics": {"run_duration": 1, "stats": 5}},
        bench_serve() | {"pdconsole": {"workload": 5, "loaded_gpus": "x"}},
        bench_serve() | {"pdconsole": {"workload": {"input_len": 1}, "loaded_gpus": []}},
    ],
)
def test_wrong_types_are_named(tmp_path: Path, document: dict[str, Any]) -> None:
    with pytest.raises(ResultError, match=r"result\.json is no result of"):
        read_point(write(tmp_path / "result.json", document))


def test_of_appended_results_one_may_be_torn(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(f"{json.dumps(bench_serve())}\n{json.dumps(bench_serve())[:99]}")
    rows, problems = read_points(path)
    assert len(rows) == 1
    assert f"line 2 of {path} is damaged" in str(problems[0])


def test_the_first_versions_of_vllm_wrote_totals_and_another_name(tmp_path: Path) -> None:
    old = bench_serve()
    del old["total_token_throughput"]
    del old["request_throughput"]
    row = read_point(
        write(tmp_path / "a.json", old | {"request_inthroughput": 4, "input_throughput": 20000})
    )
    assert (row.request_throughput, row.total_token_throughput) == (4.0, 21000.0)


def test_links_are_no_second_measurement(tmp_path: Path) -> None:
    run = tmp_path / "x_4xtp2"
    write(run / "conc8.json", bench_serve())
    (run / "last.json").symlink_to("conc8.json")
    (tmp_path / "latest").symlink_to("x_4xtp2")
    (run / "up").symlink_to("..")
    (tmp_path / "elsewhere").symlink_to(tmp_path.parent)
    (row,) = rows_of(tmp_path)
    assert (row.file, row.layout) == (str(run / "conc8.json"), "4xtp2")
    assert [row.file for row in rows_of(run)] == [str(run / "conc8.json")]


def test_results_below_results_are_read_too(tmp_path: Path) -> None:
    write(tmp_path / "stray.json", bench_serve())
    write(tmp_path / "x_4xtp2" / "conc8.json", bench_serve())
    assert [row.layout for row in rows_of(tmp_path)] == ["?", "4xtp2"]


def test_what_is_no_file_is_passed_by(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    write(tmp_path / "d.json" / "conc8.json", bench_serve())
    (tmp_path / "gone.json").symlink_to("nowhere")
    rows, problems = read_points(tmp_path)
    assert len(rows) == 1
    (gone,) = problems
    assert "cannot read" in str(gone)
    assert "gone.json" in str(gone)


# --- llm-d's reports ---


def llm_d_report(tool: str = "inference-perf", **load: Any) -> dict[str, Any]:
    """One prefill and two decode replicas of TP 2, 40 requests in 10 s, two failed."""

    def engine(role: str, replicas: int) -> dict[str, Any]:
        return {
            "metadata": {"label": role, "cfg_id": "1"},
            "standardized": {
                "kind": "inference_engine",
                "role": role,
                "replicas": replicas,
                "model": {"name": "org/m"},
                "accelerator": {
                    "model": "H100",
                    "count": 2,
                    "parallelism": {"tp": 2, "dp": 1, "pp": 1, "ep": 1, "workers": 1},
                },
            },
            "native": {},
        }

    def metric(units: str, mean: float) -> dict[str, Any]:
        return {"units": units, "mean": mean, "stddev": mean / 10, "p50": mean, "p99": 2 * mean}

    return {
        "version": "0.2",
        "run": {"time": {"start": "2026-11-24T12:50:16+00:00", "duration": "PT10.5S"}},
        "scenario": {
            "stack": [
                engine("prefill", 1),
                engine("decode", 2),
                {"standardized": {"kind": "generic", "tool": "gateway"}},
            ],
            "load": {
                "standardized": {
                    "tool": tool,
                    "input_seq_len": {"distribution": "fixed", "value": 5000},
                    **load,
                }
            },
        },
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": {
                        "total": 43, "failures": 2, "incomplete": 1,
                        "input_length": metric("count", 5000.0),
                        "output_length": metric("count", 250.0),
                    },
                    "latency": {
                        "time_to_first_token": metric("s", 0.3),
                        "inter_token_latency": metric("s/token", 0.009),
                        "request_latency": metric("s", 2.5),
                    },
                    "throughput": {
                        "request_rate": {"units": "queries/s", "mean": 3.8},
                        "output_token_rate": {"units": "tokens/s", "mean": 950.0},
                        "total_token_rate": {"units": "tokens/s", "mean": 19950.0},
                    },
                }
            }
        },
    }  # fmt: skip


def write_report(path: Path, report: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(report))
    return path


def test_a_report_of_llm_d_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "run" / "benchmark_report_v0.2,_stage_0.json.yaml"
    write_report(path, llm_d_report(rate_qps=4.0))
    (row,) = rows_of(tmp_path)
    assert (row.source, row.layout, row.gpus, row.model) == ("llm-d", "p1xtp2-d2xtp2", 6, "org/m")
    assert (row.point, row.input_len, row.output_len) == ("rr=4", 5000, 250)
    assert (row.completed, row.failed, row.num_prompts, row.duration_s) == (40, 2, 43, 10.5)
    assert (row.ttft_p50_ms, row.e2el_p99_ms) == (300.0, 5000.0)
    assert (row.tpot_mean_ms, row.itl_mean_ms) == (pytest.approx(9.0), None)  # one a request
    assert (row.started_wall, row.input_tokens) == (1795524616.0, 200_000)
    row = read_point(write_report(path, llm_d_report("vllm-benchmark", concurrency=8)))
    assert (row.point, row.tpot_mean_ms, row.itl_mean_ms) == ("c=8", None, pytest.approx(9.0))


def test_a_report_beside_what_it_was_made_of_is_no_second_point(tmp_path: Path) -> None:
    write(tmp_path / "run" / "stage_0.json", bench_serve())
    for name in ("stage_0.json", "stage_0"):
        write_report(tmp_path / "run" / f"benchmark_report_v0.2,_{name}.yaml", llm_d_report())
    assert [row.source for row in rows_of(tmp_path)] == ["vllm bench serve"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: '0.2'\nrun: [", "is damaged"),
        ("version: '0.1'\nscenario: {}", "is no benchmark result"),
        ("- 1", "holds no object"),
        (yaml.safe_dump(llm_d_report() | {"run": {}}).replace("3.8", "0"), "no duration"),
        (yaml.safe_dump(llm_d_report()).replace("units: s\n", "units: jiffy\n"), "unit of time"),
        (yaml.safe_dump(llm_d_report()).replace("total: 43", "total: many"), "how many requests"),
    ],
)
def test_a_report_that_is_not_whole_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "benchmark_report_v0.2,_x.yaml"
    path.write_text(text)
    rows, problems = read_points(tmp_path)
    assert rows == []
    assert said in str(problems[0])
