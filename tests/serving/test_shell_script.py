"""The exported script: sound bash, the plan's own command lines, and it works."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving_cases import MODEL, P5, SESSION, placed, planned, run_of

from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.workload import MeasurePolicy
from pdconsole.profiles.schema import ClusterProfile, ModelProfile
from pdconsole.remote.values import SshTarget
from pdconsole.serving.errors import ServingError
from pdconsole.serving.shell_script import DrivenPoint, ScriptedRun, export_sh, ssh_words

STUB = Path(__file__).with_name("stub_server.py")
ADDRESS = f"127.78.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
TARGETS = {
    "p5-a": SshTarget(
        node="p5-a", user="ubuntu", port=2222, identity=("~/.ssh/my key.pem",), jump="hop"
    ),
    "p5-b": SshTarget(node="p5-b", host="10.0.0.12", known_hosts="/etc/hosts of mine"),
}


def scripted(
    run: RunPlan, cluster: ClusterProfile = P5, model: ModelProfile = MODEL
) -> ScriptedRun:
    points = tuple(
        DrivenPoint(p.id, json.dumps({"protocol": 1, "seed": "it's a seed", "point": p.id}))
        for p in run.points
    )
    return ScriptedRun(run, planned(run, cluster=cluster, model=model), points)


def script_of(*runs: ScriptedRun, targets: dict[str, SshTarget] | None = None) -> str:
    plan = ExperimentPlan(
        experiment="pd-ratio-sweep",
        question="Which ratio wins,\nand when?",
        cluster="p5-2node",
        model="gpt-oss-120b",
        simulated=False,
        policy=MeasurePolicy(),
        runs=tuple(each.run for each in runs),
    )
    return export_sh(
        plan,
        runs,
        targets=TARGETS if targets is None else targets,
        driver_node="p5-a",
        agent="pdconsole-agent.pyz",
        startup_timeout_s=20.0,
    )


def both() -> str:
    return script_of(
        scripted(run_of(placed("2P-TP2+2D-TP2", "spread"), "srd", run_id="1")),
        scripted(run_of(placed("4xTP2"), run_id="2")),
    )


def test_it_is_sound_bash(tmp_path: Path) -> None:
    file = tmp_path / "sweep.sh"
    file.write_text(both())
    subprocess.run(["bash", "-n", file], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_it_runs_the_plans_own_commands() -> None:
    run = run_of(placed("2P-TP2+2D-TP2", "spread"), "srd")
    text = script_of(scripted(run)).replace("\\\n", " ")
    started = {
        words[2]: words[3:]
        for words in map(shlex.split, re.findall(r"^  start .*$", text, re.MULTILINE))
    }
    plan = planned(run)
    assert list(started) == [process.name for process in plan.processes]
    for process in plan.processes:
        env = [f"{name}={value}" for name, value in process.env.items()]
        assert started[process.name] == ["env", *env, *process.argv]


def test_ssh_goes_the_way_the_profile_says() -> None:
    assert " ".join(ssh_words(TARGETS["p5-a"])) == (
        "ssh -o ConnectTimeout=10 -i ~/.ssh/my key.pem -J hop -p 2222 ubuntu@p5-a"
    )
    text = both()
    assert "-i ~/'.ssh/my key.pem'" in text
    assert "'UserKnownHostsFile=/etc/hosts of mine'" in text


def test_a_node_without_a_target_is_named() -> None:
    run = scripted(run_of(placed("1P-TP4+1D-TP4", "spread"), "srd"))
    with pytest.raises(ServingError, match="reach p5-b by ssh"):
        script_of(run, targets={"p5-a": TARGETS["p5-a"]})


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_it_starts_drives_and_stops(tmp_path: Path, broken: bool) -> None:
    """With an `ssh` that runs the command here, stub servers, and a stub of the load driver."""
    programs = tmp_path / "bin"
    write(programs / "ssh", 'export HOME="$NODE_HOME" && cd && exec sh -c "${@: -1}"')
    serve = f"exec {sys.executable} {STUB}"
    home = tmp_path / "home"
    home.mkdir()
    write(
        home / "my engine" / "vllm",
        "echo out of luck; exit 3"
        if broken
        else f'[ "$2" = "$HOME/model" ] || exit 4; shift 2; {serve} "$@"',
    )
    write(programs / "vllm-router", f'{serve} "$@"')
    (tmp_path / "pdconsole-agent.pyz").write_text(
        "import sys\nprint('drove', sys.argv[1], open(sys.argv[2]).read().strip())\n"
    )
    # Paths that begin with ~/ are the node's: here, another home than the script's own.
    cluster = on_loopback(engine={"vllm": ["~/my engine/vllm", "serve"], "version": "0.33.0"})
    model = MODEL.model_copy(update={"source": "~/model"})
    run = run_of(placed("2xTP4", cluster=cluster))
    file = tmp_path / "sweep.sh"
    file.write_text(
        script_of(scripted(run, cluster, model), targets={"p5-a": SshTarget(node="p5-a")})
    )
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": "/nowhere",
        "NODE_HOME": str(home),
    }
    done = subprocess.run(
        ["bash", file], env=environment, capture_output=True, text=True, timeout=60
    )
    steps = re.findall(r"^\S+ (start|ready|drive|stop) (\w+)", done.stdout, re.MULTILINE)
    if broken:
        assert done.returncode == 1
        assert "C1 on p5-a did not come up" in done.stderr
        assert "out of luck" in done.stdout
        assert ("start", "router") not in steps
    else:
        assert done.returncode == 0, done.stderr
        assert steps == [
            *(("start", name) for name in ("C1", "C2")),
            *(("ready", name) for name in ("C1", "C2")),
            *(("start", "router"), ("ready", "router"), ("drive", "conc4"), ("drive", "conc16")),
            *(("stop", name) for name in ("router", "C2", "C1")),
        ]
        result = tmp_path / "results" / run.result_dir / "conc16.jsonl"
        assert result.read_text().startswith("drove drive {")
        assert "it's a seed" in result.read_text()
    assert SESSION not in done.stdout
    for pid_file in home.rglob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)


def write(path: Path, body: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def on_loopback(**fields: object) -> ClusterProfile:
    nodes = [{**node.model_dump(), "address": ADDRESS} for node in P5.nodes[:1]]
    return ClusterProfile.model_validate({**P5.model_dump(), "nodes": nodes, **fields})
