"""One completion through a deployment that is made for it and taken down again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pdconsole.measure.preflight import preflight
from pdconsole.model import events as ev
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import Workload
from pdconsole.profiles import Profiles
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import News
from pdconsole.runner.nodes import SessionNodes, nodes_of
from pdconsole.runner.planning import grid_of
from pdconsole.runner.user_errors import UserError, refusal
from pdconsole.serving import deployment
from pdconsole.serving.planning import plan_deployment
from pdconsole.serving.smoke import smoke
from pdconsole.sim.embedded import ensure_embedded

SMOKE_WORKLOAD = Workload(name="smoke", input_len=64, output_len=8)


def smoke_test(
    workspace: Path,
    *,
    layout: str,
    cluster: str,
    model: str,
    network: str,
    placement: Literal["pack", "spread"],
    ignore_checks: bool,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Deploy, complete, take down; what came back and how long it took.

    Raises the parts' own exceptions, each a sentence for people; nothing then still runs.
    """
    profiles = Profiles.open(workspace)
    placed = place(parse_layout(layout), grid_of(profiles.cluster(cluster)), placement)
    run = RunPlan(
        id="smoke",
        placement=placed,
        network=network,
        workload=SMOKE_WORKLOAD,
        points=(),
        result_dir="",
    )
    return asyncio.run(_smoke(profiles, cluster, model, run, ignore_checks, say))


async def _smoke(
    profiles: Profiles,
    cluster_name: str,
    model_name: str,
    run: RunPlan,
    ignore_checks: bool,
    say: Callable[[str], object],
) -> dict[str, Any]:
    cluster = profiles.cluster(cluster_name)
    model = profiles.model(model_name)
    network = profiles.network(run.network)
    if cluster.simulated:
        cluster = await ensure_embedded(cluster)
    session = f"smoke-{os.getpid()}"

    def show(event: ev.Event) -> None:
        if isinstance(event, ev.ProcessState) and event.status in ("ready", "failed"):
            say(f"{event.process} on {event.node} {event.status}")

    def nothing(_news: News) -> None:
        return

    nodes = SessionNodes(cluster, nodes_of(cluster, [run]), session, nothing)
    try:
        inventories = await nodes.open()
        checks = preflight(
            inventories,
            [run],
            cluster=cluster,
            model=model,
            networks={network.name: network},
            session=session,
        )
        refused = refusal(checks)
        if refused and not ignore_checks:
            raise UserError(refused)
        plan = plan_deployment(
            run,
            cluster=cluster,
            model=model,
            network=network,
            versions={name: inv.versions for name, inv in inventories.items()},
            session=session,
        )
        await deployment.start(
            plan, nodes.clients, show, startup_timeout_s=cluster.startup_timeout_s
        )
        try:
            answer = await smoke(plan, nodes.clients, model)
        finally:
            await deployment.stop(plan, nodes.clients, show)
    finally:
        failures: list[RemoteError] = await nodes.end()
        if failures:
            raise failures[0]
    say(f"{answer.output_tokens} tokens in {answer.elapsed_ms:.0f} ms: {answer.text!r}")
    return {
        "layout": run.placement.layout.slug,
        "placement": str(run.placement),
        "simulated": cluster.simulated,
        "elapsed_ms": answer.elapsed_ms,
        "output_tokens": answer.output_tokens,
        "text": answer.text,
    }
