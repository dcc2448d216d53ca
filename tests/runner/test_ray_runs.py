"""What a session keeps of runs on Ray Serve, and what it cannot write for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.journal import JournalError, SessionDir
from pdconsole.model.request import RunRequest
from pdconsole.profiles import Profiles
from pdconsole.runner.export import export_experiment
from pdconsole.runner.planning import plan_experiment
from pdconsole.runner.recording import Recording
from pdconsole.runner.run_layout import process_tokens
from pdconsole.runner.user_errors import UserError

REQUEST = RunRequest(experiment="pd-ratio-sweep", cluster="p5-2node-ray")


def test_a_resume_keeps_ray_as_well(tmp_path: Path) -> None:
    planned = plan_experiment(Profiles.open(tmp_path), REQUEST)
    run = planned.plan.runs[0]
    tokens = process_tokens("s", run)
    assert f"s/{run.id}/ray-head" in tokens
    assert f"s/{run.id}/router" in tokens
    assert f"s/{run.id}/ray-{run.placement.nodes[-1]}" in tokens


def test_no_script_is_written_where_ray_serve_has_the_replicas(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Ray Serve has those of p5-2node-ray.*serve deploy"):
        export_experiment(tmp_path, REQUEST, tmp_path / "it.sh")
    assert not (tmp_path / "it.sh").exists()


async def test_what_serve_was_given_is_kept_in_the_session(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e")
    failures: list[JournalError] = []
    async with Recording(session, failures.append) as recording:
        assert recording.keep_serve_config("1", "a: 1\n") == "serve/1.yaml"
        assert (session.path / "serve" / "1.yaml").read_text() == "a: 1\n"
        session.serve_config_path("2").mkdir()
        recording.keep_serve_config("2", "a: 1\n")
    assert "cannot write" in str(failures[0])
