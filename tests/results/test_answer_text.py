"""What a session says about its question at its end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from a_run import FACTS, a_measurement, a_plan

from pdconsole.model.events import NetBenchResult
from pdconsole.model.plan import AnswerTable, ExperimentPlan, RunPlan
from pdconsole.model.workload import MeasurePolicy, Point
from pdconsole.results.answer import Answer, answer
from pdconsole.results.directory import ResultDirectory

LOADS = (Point("concurrency", 4), Point("concurrency", 16))


def experiment(*runs: RunPlan, **fields: object) -> ExperimentPlan:
    plan = ExperimentPlan(
        experiment="pd-ratio-sweep",
        question="Which ratio wins?",
        expectation="1:3 at low load.",
        cluster="embedded",
        model="gpt-oss-120b",
        simulated=True,
        policy=MeasurePolicy(),
        runs=runs,
    )
    return msgspec.structs.replace(plan, **fields)


@pytest.fixture
def runs() -> tuple[RunPlan, ...]:
    plans = (a_plan("4xtp2"), a_plan("p1xtp2-d3xtp2"))
    return tuple(msgspec.structs.replace(p, id=str(i)) for i, p in enumerate(plans, 1))


@pytest.fixture
def root(tmp_path: Path, runs: tuple[RunPlan, ...]) -> Path:
    for run, requests in zip(runs, (40, 60), strict=True):
        directory = ResultDirectory.create(tmp_path, run, FACTS)
        for seed, load in enumerate(LOADS, 1):
            measured = a_measurement(load, requests=requests * seed, seed=seed)
            directory.write_point(load, measured)
    return tmp_path


def said(found: Answer) -> str:
    return " ".join(found.text(120).split())


def test_the_tables_asked_for_and_each_run_against_the_baseline(
    root: Path, runs: tuple[RunPlan, ...]
) -> None:
    tables = (AnswerTable(), AnswerTable(latency="ttft", over="throughput"))
    found = answer(root, FACTS.session, experiment(*runs, answer=tables, baseline="1"))
    text = said(found)
    assert text.startswith("question: Which ratio wins? expected: 1:3 at low load. answer: ")
    assert "median TPOT, ms" in text
    assert "less median TTFT" in text
    assert "p1xtp2-d3xtp2 cuda-ipc pack: tok/s/GPU ×1.50, median TTFT ×" in text
    assert found.to_json()["tables"][1]["over"] == "throughput"


def test_repeats_count_alike_and_on_cpu_numbers_are_per_slot(
    tmp_path: Path, runs: tuple[RunPlan, ...]
) -> None:
    facts = msgspec.structs.replace(FACTS, slot_kind="cpu")
    (load, _) = LOADS
    for run, requests in ((runs[0], 40), (runs[1], 60), (runs[1], 20)):
        directory = ResultDirectory.create(tmp_path, run, facts)
        directory.write_point(load, a_measurement(load, requests=requests))
    found = answer(tmp_path, FACTS.session, experiment(*runs, baseline="1"))
    (ratios,) = found.ratios
    assert ratios.loads == ("c=4",)
    assert ratios.throughput == pytest.approx((1.0, 1.0))  # neither 1.5 nor 0.5
    assert "tok/s/slot ×1.00" in said(found)
    assert "tok/s/GPU" not in said(found)


def test_a_run_alone_answers_nothing_and_another_sessions_files_are_left_out(
    root: Path, runs: tuple[RunPlan, ...]
) -> None:
    alone = answer(root, FACTS.session, experiment(runs[0]))
    assert "4xtp2 cuda-ipc pack was measured alone" in said(alone)
    assert "nothing was measured" in said(answer(root, "another", experiment(*runs)))


def test_a_table_of_modes_that_were_not_measured_is_left_out(
    root: Path, runs: tuple[RunPlan, ...]
) -> None:
    tables = (AnswerTable(modes=("prefill-only",)),)
    assert not answer(root, FACTS.session, experiment(*runs, answer=tables)).tables


def test_what_cannot_be_read_is_named(root: Path, runs: tuple[RunPlan, ...]) -> None:
    next(root.glob("*4xtp2/conc4.json")).write_text("{")
    found = answer(root, FACTS.session, experiment(*runs))
    assert len(found.problems) == 1
    assert "conc4.json is damaged" in found.problems[0]
    assert "is damaged" in said(found)


def test_a_network_test_answers_with_its_verdict(tmp_path: Path) -> None:
    test = NetBenchResult(
        t=1.0,
        run="1",
        network="srd",
        backend="UCX",
        source="node1:0",
        reader="node2:0",
        memory="VRAM",
        verdict="fail",
        message="slower than this network is",
        gbps=0.8,
        good_gbps=10.0,
        bad_gbps=1.0,
        transport="tcp",
    )
    text = said(answer(tmp_path, "s", experiment(kind="netbench"), [test]))
    assert "srd, node1:0 to node2:0: 0.8 GB/s by tcp, fail (good from 10, bad below 1)" in text


def test_a_layout_measured_alone_needs_no_words_of_certainty(
    tmp_path: Path, runs: tuple[RunPlan, ...]
) -> None:
    directory = ResultDirectory.create(tmp_path, runs[0], FACTS)
    for seed, load in enumerate(LOADS, 1):
        directory.write_point(load, a_measurement(load, seed=seed))
    text = answer(tmp_path, FACTS.session, experiment(runs[0])).text(100)
    assert "was measured alone" in text
    assert "no other layout gets there" not in text
