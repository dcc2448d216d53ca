"""What the runner does besides for runs on Ray: the token, the config file, the tokens to keep."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pdconsole.runner.ray_token import KEY_FILE, secrets_of
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess


def plan_of(session: str, *secrets: str) -> DeploymentPlan:
    head = PlannedProcess(
        name="ray-head",
        role="ray",
        node="a",
        argv=("ray",),
        env={},
        secrets=secrets,
        url="",
        health_url="",
        metrics_url="",
        stage=0,
    )
    return DeploymentPlan(run="1", session=session, processes=(head,), router_url="")


def test_one_session_has_one_token_and_another_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(tmp_path))
    plan = plan_of("s1", "RAY_AUTH_TOKEN")
    first = secrets_of(plan)["RAY_AUTH_TOKEN"]
    assert len(first) == 64
    assert secrets_of(msgspec.structs.replace(plan, run="2"))["RAY_AUTH_TOKEN"] == first
    assert secrets_of(plan_of("s2", "RAY_AUTH_TOKEN"))["RAY_AUTH_TOKEN"] != first
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_plan_without_secrets_makes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(tmp_path))
    assert secrets_of(plan_of("s1")) == {}
    assert list(tmp_path.iterdir()) == []
