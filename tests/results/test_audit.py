"""The audit of result files: published ones with known faults, and clean ones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from pdconsole.cli import cli
from pdconsole.model.audit_evidence import Finding
from pdconsole.results import compare
from pdconsole.results.audit import AuditReport, audit_paths
from tests.results.foreign_files import aiperf, genai_bench, guidellm, write
from tests.results.measured_data import MEASURED, needs_measured_data

PUBLISHED = MEASURED / "published"


def write_point(directory: Path, load: int, **changes: object) -> None:
    """What `vllm bench serve` writes of a long, quiet point with random prompts of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    count, ttft, tpot = 640, 200.0 + 5 * load, 5.0 + load / 10
    duration = count / load * (ttft + tpot * 249) / 1000
    prompts = count * 5000 + 37 * load
    document: dict[str, object] = {
        "date": f"20260101-{100000 + 1000 * load:06d}",
        "model_id": "m",
        "num_prompts": count,
        "request_rate": "inf",
        "max_concurrency": load,
        "duration": duration,
        "completed": count,
        "failed": 0,
        "total_input_tokens": prompts,
        "total_output_tokens": count * 250,
        "request_throughput": count / duration,
        "output_throughput": count * 250 / duration,
        "total_token_throughput": (prompts + count * 250) / duration,
    }
    for name, middle in (("ttft", ttft), ("tpot", tpot), ("itl", tpot)):
        document |= {
            f"mean_{name}_ms": middle,
            f"median_{name}_ms": middle,
            f"std_{name}_ms": middle / 10,
            f"p99_{name}_ms": middle * 1.5,
        }
    (directory / f"conc{load}.json").write_text(json.dumps(document | changes))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    directory = tmp_path / "m_itl5000_otl250_mixed_pack-srd_p1xtp4-d1xtp4"
    for load in (4, 8, 16):
        write_point(directory, load)
    return directory


def test_clean_files_have_no_findings(clean: Path):
    report = audit_paths([clean])
    assert report.findings == ()
    assert report.points == 3
    assert {each.rule for each in report.not_detectable} >= {"log-level", "transport", "noise"}
    assert "nothing found" in report.text(100)


def test_the_command_says_what_it_found_and_by_exit_code_what_it_could_not_read(clean: Path):
    run = CliRunner().invoke(cli, ["audit", str(clean), "--json"])
    assert run.exit_code == 0
    assert json.loads(run.output)["findings"] == []
    write_point(clean, 32, failed=400)
    run = CliRunner().invoke(cli, ["audit", str(clean)])
    assert run.exit_code == 0
    assert "BAD   errors" in run.output
    run = CliRunner().invoke(cli, ["audit", str(clean), "--fail-on", "warn"])
    assert run.exit_code == 6
    (clean / "conc64.json").write_text("{")
    run = CliRunner().invoke(cli, ["audit", str(clean)])
    assert run.exit_code == 1
    assert "conc64.json is damaged" in run.output


def test_repeats_in_one_directory_are_runs_of_their_own(clean: Path):
    for load in (4, 8, 16):
        (clean / f"conc{load}.json").unlink()
        inner = clean / f"concurrency={load}"
        for run in (0, 1):
            date = f"2026010{run + 3}-{100000 + 1000 * load:06d}"
            write_point(inner, load, date=date, mean_ttft_ms=200.0 + 5 * load + run)
            (inner / f"conc{load}.json").rename(inner / f"run={run}.json")
    report = audit_paths([clean])
    assert len(report.directories) == 2
    assert report.findings == ()
    assert "noise" not in {each.rule for each in report.not_detectable}


def test_files_of_other_load_generators(tmp_path: Path):
    phase = {"type": "concurrency", "concurrency": 4}
    write(tmp_path / "a" / "profile_export_aiperf.json", aiperf(phase))
    closed = {"type_": "concurrent", "streams": 4}
    write(tmp_path / "g" / "benchmarks.json", guidellm(closed))
    write(tmp_path / "b" / "concurrency_4.json", genai_bench(4, "s"))
    report = audit_paths([tmp_path])
    assert (report.points, report.skipped) == (3, ())
    assert "few-requests" in {finding.rule for finding in report.findings}
    bad = [
        (finding.rule, finding.subjects) for finding in report.findings if finding.weight == "bad"
    ]
    # These two have failed requests, more than 5 %.
    assert bad == [("errors", ("b/concurrency_4.json",)), ("errors", ("g/benchmarks.json",))]
    assert "- g: c=4: 1 of 9 requests failed" in report.text(100)
    silent = [each.why for each in report.not_detectable if each.rule == "repeated-prompts"]
    assert [why.split()[0] for why in silent] == ["aiperf", "genai-bench", "guidellm"]


# --- published results, with what is known to be wrong in them ---


@pytest.fixture(scope="module")
def everything() -> AuditReport:
    return audit_paths([MEASURED])


def of(findings: Sequence[Finding], rule: str) -> list[Finding]:
    return [finding for finding in findings if finding.rule == rule]


def directories(findings: Sequence[Finding]) -> set[str]:
    return {
        subject.rsplit("/", 1)[0] if subject.endswith(".json") else subject
        for finding in findings
        for subject in finding.subjects
    }


@needs_measured_data
def test_all_is_read(everything: AuditReport):
    assert (everything.points, len(everything.directories)) == (314, 64)
    assert everything.skipped == ()


@needs_measured_data
def test_the_mislabelled_run_is_found_twice_and_nothing_else_is_called_so(everything: AuditReport):
    name = "published/gptoss_itl5000_otl250_mixed_pd_p2xtp2-d1xtp2"
    (pair,) = of(everything.findings, "repeats-disagree")
    assert set(pair.subjects) == {name, "archive/gptoss_itl5000_otl250_mixed_2xtp2-1xtp2"}
    (label,) = of(everything.findings, "label-suspected")
    assert label.subjects == (name,)
    assert label.evidence.endswith("it decodes like p1xtp2-d2xtp2")


@needs_measured_data
def test_the_mislabelled_run_is_found_among_the_published_ones_alone():
    (label,) = of(audit_paths([PUBLISHED]).findings, "label-suspected")
    assert label.subjects == ("gptoss_itl5000_otl250_mixed_pd_p2xtp2-d1xtp2",)


@needs_measured_data
def test_copies_are_found():
    (pair,) = of(audit_paths([PUBLISHED]).findings, "identical-files")
    assert set(pair.subjects) == {
        "gptoss_itl5000_otl250_mixed_pack_p1xtp4-d1xtp4",
        "gptoss_itl5000_otl250_mixed_pd_p1xtp4-d1xtp4",
    }


@needs_measured_data
def test_kv_over_tcp_is_found_under_both_of_its_names_and_nowhere_else(everything: AuditReport):
    assert directories(of(everything.findings, "slow-kv-transfer")) == {
        "archive/gptoss_itl5000_otl250_mixed_1xtp4-1xtp4-spread-ucx",
        "published/gptoss_itl5000_otl250_mixed_spread_tcp_p1xtp4-d1xtp4",
    }


@needs_measured_data
def test_prompts_recur_in_closed_loops_and_not_in_open_ones(everything: AuditReport):
    found = of(everything.findings, "repeated-prompts")
    closed = {str(path.parent.relative_to(MEASURED)) for path in MEASURED.glob("*/*/conc8.json")}
    assert directories(found) == closed
    assert not any("_rr" in subject for finding in found for subject in finding.subjects)
    suspected = directories([f for f in found if f.weight == "warn"])
    # Where a prefix cache had them: layouts of TP4, whose KV pools are large, and 1P3D.
    assert len(suspected) == 13
    assert all("tp4" in path or "tpep4" in path or "3xtp2" in path for path in suspected)


@needs_measured_data
def test_first_contacts_and_short_points(everything: AuditReport):
    contacts = of(everything.findings, "first-contact")
    assert all(len(finding.subjects) == 1 for finding in contacts)
    assert "published/gptoss_itl5000_otl250_mixed_pd_p1xtp2-d3xtp2" in directories(contacts)
    (triple,) = [f for f in contacts if "published" in f.subjects[0] and "p3xtp2" in f.subjects[0]]
    assert "3 prefill-decode pairs" in triple.evidence
    short = directories(of(everything.findings, "short-window"))
    assert {path for path in everything.directories if "published" in path} <= short
    assert "archive/gptoss_itl5000_otl1_2xtp4" not in short


@needs_measured_data
def test_stalls_of_decode_replicas(everything: AuditReport):
    stalls = of(everything.findings, "decode-stalls")
    unequal = [finding for finding in stalls if "differ in TP" in finding.evidence]
    wrapped = [finding for finding in stalls if "wrapped" in finding.evidence]
    assert "published/gptoss_itl5000_otl250_mixed_pd_p2xtp2-d1xtp4" in directories(unequal)
    assert "archive/gptoss_itl5000_otl250_mixed_3xtp2-1xtp2" in directories(wrapped)
    assert not any("d1xtp8" in path or "itl10000" in path for path in directories(stalls))


@needs_measured_data
def test_what_the_files_cannot_show_is_said_so(everything: AuditReport):
    # DEBUG logging: only that one of two runs is slower everywhere, which has many causes.
    (drift,) = of(everything.findings, "repeats-drift")
    assert drift.weight == "info"
    assert "archive/gptoss_itl5000_otl250_mixed_1xtp4-1xtp4-pack-wo-verbosity" in drift.subjects
    assert "log-level" in {each.rule for each in everything.not_detectable}


@needs_measured_data
def test_nothing_that_is_right_is_called_bad_or_inconsistent(everything: AuditReport):
    bad = [finding for finding in everything.findings if finding.weight == "bad"]
    assert {f.rule for f in bad} == {"repeats-disagree", "label-suspected", "slow-kv-transfer"}
    never = {"inconsistent", "errors", "other-lengths", "same-time", "concurrency-not-held"}
    assert not never & {finding.rule for finding in everything.findings}


# --- odd places for results ---


def test_a_flat_directory_of_several_runs_is_taken_apart(tmp_path: Path):
    flat = tmp_path / "results"
    for i, (name, model) in enumerate((("p1xtp2-d1xtp2", "m"), ("4xtp2", "m"), ("4xtp2", "n"))):
        for load in (4, 8, 16):
            # Stalls of a collocated replica are prefill, no fault; unless it is taken for PD.
            stalls = {} if i == 0 else {"p99_itl_ms": 400.0}
            changes = {"model_id": model, "date": "", "mean_ttft_ms": 200.0 + i, **stalls}
            write_point(flat, load, **changes)
            (flat / f"conc{load}.json").rename(flat / f"{name}_{model}_{load}.json")
    report = audit_paths([flat])
    assert len(report.directories) == 3
    assert report.directories[0] == "results [m 4xtp2]"
    assert report.text(100).startswith("9 points in 1 directory, 3 runs: 1 info\n")
    (mixed,) = report.findings
    assert (mixed.rule, mixed.weight, mixed.subjects) == ("mixed-directory", "info", ("results",))
    assert "told apart by model and layout" in mixed.evidence


def test_lengths_in_one_directory_make_no_saturation(tmp_path: Path):
    for load in (4, 8, 16):
        write_point(tmp_path, load)
        (tmp_path / f"conc{load}.json").rename(tmp_path / f"long_{load}.json")
        path = tmp_path / f"conc{load}.json"
        write_point(tmp_path, load)
        document = json.loads(path.read_text())
        rates = {"total_input_tokens": 640 * 500, "date": f"20260102-{100000 + 1000 * load:06d}"}
        rates["total_token_throughput"] = 640 * 750 / (document["duration"] / 4)
        for name in ("request_throughput", "output_throughput"):
            rates[name] = document[name] * 4
        quick = {name: value / 4 for name, value in document.items() if name.endswith("_ms")}
        path.write_text(
            json.dumps(document | rates | quick | {"duration": document["duration"] / 4})
        )
    report = audit_paths([tmp_path])
    assert {finding.rule for finding in report.findings} == {"mixed-directory"}


def test_means_of_few_requests_are_no_other_workload(tmp_path: Path):
    loads = [{"type_": "concurrent", "streams": n} for n in (1, 2, 4)]
    document = guidellm(*loads)
    for i, benchmark in enumerate(document["benchmarks"]):
        tokens = benchmark["metrics"]["prompt_token_count"]["successful"]
        tokens["mean"] += i / 2
        tokens["total_sum"] = tokens["mean"] * 8
    write(tmp_path / "benchmarks.json", document)
    report = audit_paths([tmp_path])
    assert len(report.directories) == 1
    assert "mixed-directory" not in {finding.rule for finding in report.findings}


def test_of_several_points_in_a_file_only_the_wrong_one_is_wrong(tmp_path: Path):
    document = guidellm(*({"type_": "concurrent", "streams": n} for n in (1, 2, 4)))
    for benchmark in (document["benchmarks"][0], document["benchmarks"][2]):
        benchmark["metrics"]["request_totals"] = {"successful": 8, "errored": 0, "total": 8}
    path = write(tmp_path / "g" / "benchmarks.json", document)
    (errors,) = of(audit_paths([path]).findings, "errors")
    assert errors.subjects == ("g/benchmarks.json: c=2",)
    assert errors.where == "g"
    flags = {row.point: "errors" in row.flags for row in compare([path]).rows}
    assert flags == {"c=1": False, "c=2": True, "c=4": False}


def test_results_with_repeats_in_one_directory_can_be_compared(tmp_path: Path):
    for run in (0, 1):
        write_point(tmp_path / "concurrency=4", 4, mean_ttft_ms=220.0 + run)
        path = tmp_path / "concurrency=4" / "conc4.json"
        path.rename(path.with_name(f"run={run}.json"))
    assert len(compare([tmp_path]).rows) == 2


def test_a_directory_counts_once_by_whatever_name(clean: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(clean.parent)
    (clean.parent / "latest").symlink_to(clean.name)
    paths = [clean, Path(clean.name), Path("latest"), Path("latest/conc4.json"), Path()]
    report = audit_paths(paths)
    assert (report.points, report.findings) == (3, ())


def test_points_are_weighed_by_the_gravest_that_was_found(clean: Path):
    write_point(clean, 32, failed=400)
    write_point(clean, 64, p99_ttft_ms=9000.0)
    report = audit_paths([clean])
    assert report.weighed == {"bad": 1, "warn": 1, "info": 0, "": 3}
    assert "1 not to be used, 1 to be used with care, 3 that nothing speaks against" in report.text(
        100
    )


def test_names_that_would_write_to_the_terminal_are_spelled(tmp_path: Path):
    name = os.fsdecode(b"\x1b[31mred\n\xff_4xtp2")
    write_point(tmp_path / name, 4, failed=400)
    run = CliRunner().invoke(cli, ["audit", str(tmp_path)])
    assert run.exit_code == 0
    assert r"\x1b[31mred" in run.output
    assert r"\xff_4xtp2: c=4: 400 of 1040 requests failed" in run.output
    assert "\x1b" not in run.output
    assert json.loads(CliRunner().invoke(cli, ["audit", str(tmp_path), "--json"]).output)


def test_what_most_names_begin_with_is_said_once(tmp_path: Path):
    for i in range(1, 4):
        write_point(tmp_path / f"model_itl5000_otl250_mixed_{i}xtp2", 4, failed=300 + i)
    text = audit_paths([tmp_path]).text(100)
    assert "… stands for model_itl5000_otl250_mixed_" in text
    assert "- …2xtp2: c=4: 302 of 942 requests failed" in text


def test_of_many_files_that_are_no_results_some_are_named(clean: Path):
    for i in range(50):
        (clean / f"note{i}.json").write_text("{}")
    run = CliRunner().invoke(cli, ["audit", str(clean)])
    assert run.exit_code == 1
    assert run.output.count("skipped") == 21
    assert "skipped 30 more; --json names them all" in run.output


@pytest.mark.timeout(20)  # comparing all runs with each other would take minutes
def test_hundreds_of_runs_take_seconds(tmp_path: Path):
    for i in range(150):
        for load in (4, 8, 16, 32):
            write_point(
                tmp_path / f"m_itl5000_otl250_mixed_pack-srd_p{1 + i % 7}xtp2-d1xtp2_r{i}", load,
                date=f"202601{1 + i % 28:02d}-{i % 24:02d}{load:02d}{i % 60:02d}",
                mean_ttft_ms=200 + 5 * load + i / 1000,
            )  # fmt: skip
    report = audit_paths([tmp_path])
    assert report.points == 600
