"""`run --export-sh`: an experiment as a shell script, with the agent it needs beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from pdconsole.measure.driver_spec import driver_spec, prompt_seed, target_of
from pdconsole.model.plan import RunPlan
from pdconsole.model.request import RunRequest
from pdconsole.profiles import Profiles
from pdconsole.remote.archive import agent_archive
from pdconsole.runner.nodes import nodes_of, ssh_target
from pdconsole.runner.planning import Planned, plan_experiment
from pdconsole.runner.user_errors import UserError
from pdconsole.serving.planning import plan_deployment
from pdconsole.serving.shell_script import DrivenPoint, ScriptedRun, export_sh
from pdconsole.sim.embedded import ensure_embedded

MODE_EXECUTABLE = 0o755


def export_experiment(workspace: Path, request: RunRequest, output: Path | None) -> list[Path]:
    """Write the script, and the agent's zipapp for the load driver; the two paths.

    Nodes are not asked: an engine version of `auto` takes the newest rules, and the script says
    so. Raises UserError when a file is there already.
    """
    planned = plan_experiment(Profiles.open(workspace), request)
    if planned.plan.kind == "netbench":
        raise UserError(
            f"{planned.plan.experiment} starts no servers that a script could start; run it, or "
            "`pdconsole netbench`"
        )
    cluster = planned.cluster
    if cluster.orchestrator == "ray":
        raise UserError(
            f"a script would start the replicas itself, and Ray Serve has those of {cluster.name}; "
            "run it instead: its session keeps serve/<run>.yaml, which `serve deploy` takes"
        )
    if cluster.simulated:
        cluster = asyncio.run(ensure_embedded(cluster))
    script = output or Path(f"{planned.plan.experiment}.sh")
    agent = script.with_name(f"{script.stem}.agent.pyz")
    for path in (script, agent):
        if path.exists():
            raise UserError(f"{path} is there already; remove it, or name another with --output")
    used = nodes_of(cluster, planned.plan.runs)
    text = export_sh(
        planned.plan,
        [_scripted(planned, run) for run in planned.plan.runs],
        targets={n.name: ssh_target(cluster, n) for n in cluster.nodes if n.name in used},
        driver_node=cluster.driver_node,
        agent=agent.name,
        startup_timeout_s=cluster.startup_timeout_s,
    )
    agent.write_bytes(agent_archive().data)
    script.write_text(text, encoding="utf-8")
    script.chmod(MODE_EXECUTABLE)
    return [script, agent]


def _scripted(planned: Planned, run: RunPlan) -> ScriptedRun:
    plan = planned.plan
    deployment = plan_deployment(
        run,
        cluster=planned.cluster,
        model=planned.model,
        network=planned.networks[run.network],
        versions={},
        session=plan.experiment,
    )
    points = []
    for point in run.points:
        seed = prompt_seed(planned.seed or plan.experiment, point, 1, run.workload)
        spec = driver_spec(
            target=target_of(run.workload, deployment.workers, deployment.router_url),
            workers=deployment.workers,
            workload=run.workload,
            point=point,
            policy=plan.policy,
            served_name=planned.model.served_name,
            vocab=planned.model.vocab,
            seed=seed,
        )
        points.append(DrivenPoint(point.id, msgspec.json.encode(spec).decode()))
    return ScriptedRun(run=run, deployment=deployment, points=tuple(points))
