"""`finding new`: what is filled in, what is left to write, and what is left alone."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from a_run import FACTS, a_measurement, a_plan
from click.testing import CliRunner, Result

from pdconsole.cli import cli
from pdconsole.model.workload import Point
from pdconsole.results import ResultDirectory

REPOSITORY = Path(__file__).resolve().parents[2]
LOADS = (Point("concurrency", 4), Point("concurrency", 16))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for layout, requests in (("4xtp2", 40), ("p1xtp2-d3xtp2", 60)):
        directory = ResultDirectory.create(tmp_path / "bm_results", a_plan(layout), FACTS)
        for seed, load in enumerate(LOADS, 1):
            measured = a_measurement(load, requests=requests * seed, seed=seed)
            directory.write_point(load, measured)
        directory.finish("done")
    return tmp_path


def new(workspace: Path, *words: object) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace), "finding", "new", *map(str, words)])


def findings(workspace: Path) -> str:
    return (workspace / "FINDINGS.md").read_text("utf-8")


def test_a_section_has_all_parts_of_the_template_and_numbers_in_them(workspace: Path) -> None:
    result = new(workspace, workspace / "bm_results", "--title", "1:3 or 4xTP2")
    assert result.exit_code == 0, result.output
    text = findings(workspace)
    parts = ("Question", "Observation", "Details", "Reproduce", "Data", "Implications")
    places = [text.index(f"**{part}**:") for part in parts]
    assert places == sorted(places)
    assert "## 1. 1:3 or 4xTP2\n" in text
    assert "| p1xtp2-d3xtp2 cuda-ipc pack | 2 | 3,938 ÷8 GPUs at c=16 |" in text
    assert "all simulated" in text
    assert "- `bm_results`\n" in text
    assert "    pdconsole compare bm_results\n" in text
    assert "Flags, of 4 points: errors at 4." in text
    assert text.count("✎ *") == 4  # question, observation, why, implications


def test_what_was_written_is_named_from_the_current_directory(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    assert "wrote section 1 of FINDINGS.md;" in new(workspace, "bm_results").output
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    said = new(workspace, workspace / "bm_results").output
    assert f"wrote section 2 of {workspace / 'FINDINGS.md'};" in said


def test_the_figure_is_linked_and_is_one(workspace: Path) -> None:
    new(workspace, workspace / "bm_results", "--title", "1:3 or 4xTP2")
    assert "![1:3 or 4xTP2](figures/1-1-3-or-4xtp2.svg)" in findings(workspace)
    root = ET.parse(workspace / "figures/1-1-3-or-4xtp2.svg").getroot()
    assert root.tag.endswith("svg")


def test_what_was_written_before_is_left_alone(workspace: Path) -> None:
    mine = "# Ours\n\n## 4. By hand\n\nNo ✎ here.\n"
    (workspace / "FINDINGS.md").write_text(mine, "utf-8")
    results = workspace / "bm_results"
    command = ("--latency", "chunk:16", "--per", "deployment")
    assert new(workspace, results, *command).exit_code == 0
    assert new(workspace, results).exit_code == 0
    text = findings(workspace)
    assert text.startswith(mine)
    assert "## 5. bm_results\n" in text
    assert "## 6. bm_results\n" in text
    assert "pdconsole compare bm_results --latency=chunk:16 --per=deployment\n" in text
    assert len(list((workspace / "figures").iterdir())) == 2


def test_a_session_brings_its_question_and_its_command(tmp_path: Path) -> None:
    for part in ("sessions", "bm_results"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    name = next((tmp_path / "sessions").glob("*_pd-ratio-sweep")).name
    result = new(tmp_path, "pd-ratio")
    assert result.exit_code == 0, result.output
    text = findings(tmp_path)
    assert "**Question**: How many prefill and how many decode replicas of TP2" in text
    assert "    pdconsole run pd-ratio-sweep --quick" in text
    assert f"- `sessions/{name}`\n" in text
    assert f"pdconsole compare sessions/{name}" not in text


@pytest.mark.parametrize("what", ["nowhere", "./nowhere"])
def test_what_is_neither_is_said(workspace: Path, what: str) -> None:
    result = new(workspace, what)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert not (workspace / "FINDINGS.md").exists()


def test_nothing_is_written_where_nothing_can_be_read(workspace: Path) -> None:
    empty = workspace / "empty"
    empty.mkdir()
    result = new(workspace, empty)
    assert result.exit_code == 1
    assert "empty holds no results" in result.output
    assert not (workspace / "FINDINGS.md").exists()


def test_a_title_is_one_line_and_does_not_end_its_link(workspace: Path) -> None:
    result = new(workspace, workspace / "bm_results", "--title", "one\n## 9. [or] two")
    assert result.exit_code == 0, result.output
    text = findings(workspace)
    assert "## 1. one ## 9. [or] two\n" in text
    assert "\n![one ## 9. \\[or\\] two](figures/1-one-9-or-two.svg)\n" in text
    assert "section 2 of" in new(workspace, workspace / "bm_results").output


def test_findings_that_are_no_text_are_left_alone_and_said(workspace: Path) -> None:
    (workspace / "FINDINGS.md").write_bytes(b"\xff\xfe mine")
    result = new(workspace, workspace / "bm_results")
    assert result.exit_code != 0
    assert "is no UTF-8 text" in result.output
    assert (workspace / "FINDINGS.md").read_bytes() == b"\xff\xfe mine"
