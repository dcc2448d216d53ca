"""`pdconsole validate` where there is nothing to deploy for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pdconsole.cli import cli
from pdconsole.model import events as ev
from pdconsole.runner.validate import lines_of


def test_a_simulated_cluster_has_nothing_to_validate(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["-w", str(tmp_path), "validate", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["verdict"], found["simulated"]) == ("unknown", True)
    assert found["message"] == "simulated: nothing to validate"


@pytest.mark.parametrize(
    ("layout", "says"),
    [("2xTP1", "hands no KV"), ("1P-TP8+3D-TP8", "16"), ("nonsense", "nonsense")],
)
def test_a_layout_that_cannot_be_validated_is_refused_in_a_sentence(
    tmp_path: Path, layout: str, says: str
) -> None:
    done = CliRunner().invoke(cli, ["-w", str(tmp_path), "validate", layout])
    assert done.exit_code == 1
    assert done.output.startswith("pdconsole: ")
    assert says in done.output


def test_a_network_is_not_compared_with_itself(tmp_path: Path) -> None:
    asked = ["--network", "tcp", "--other-network", "tcp"]
    done = CliRunner().invoke(cli, ["-w", str(tmp_path), "validate", *asked])
    assert done.exit_code == 1
    assert "not compared with itself" in done.output


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("warn", 0), ("fail", 1), ("unknown", 1)])
def test_only_a_verdict_that_says_the_kv_is_right_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str, code: int
) -> None:
    outcome = {"verdict": verdict, "simulated": False}
    monkeypatch.setattr("pdconsole.runner.validate.validate_layout", lambda *_, **__: outcome)
    assert CliRunner().invoke(cli, ["-w", str(tmp_path), "validate"]).exit_code == code


def test_what_a_person_reads_names_the_smallest_corruption_and_what_was_missed() -> None:
    event = ev.KvValidated(
        run="1",
        verdict="ok",
        message="fine",
        reference="P1",
        pairs=("P1>D1",),
        prompts=8,
        lengths=(20, 4003),
        tolerance=0.147,
        self_deviation=0.049,
        control=7.1,
        caught=("a: 0.3",),
        missed=("b: 0.069",),
        smallest_caught="a: 0.3",
    )
    text = "\n".join(lines_of(event))
    for said in ("ok: fine", "20, 4,003 tokens", "at least 7.10", "caught: a: 0.3", "b: 0.069"):
        assert said in text
