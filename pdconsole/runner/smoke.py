"""One completion through a deployment that is made for it and taken down again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pdconsole.model.workload import Workload
from pdconsole.profiles import Profiles
from pdconsole.runner.one_deployment import Say, Wanted, deployed, to_the_end, wanted
from pdconsole.serving.smoke import smoke

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
    say: Say,
) -> dict[str, Any]:
    """Deploy, complete, take down; what came back and how long it took.

    Raises the parts' own exceptions, each a sentence for people; nothing then still runs.
    """
    what = wanted(
        Profiles.open(workspace),
        "smoke",
        layout=layout,
        cluster=cluster,
        model=model,
        network=network,
        placement=placement,
        ignore_checks=ignore_checks,
        workload=SMOKE_WORKLOAD,
        say=say,
    )
    return to_the_end(_smoke(what))


async def _smoke(what: Wanted) -> dict[str, Any]:
    async with deployed(what) as (plan, clients):
        answer = await smoke(plan, clients, what.model)
    what.say(f"{answer.output_tokens} tokens in {answer.elapsed_ms:.0f} ms: {answer.text!r}")
    return {
        "layout": what.run.placement.layout.slug,
        "placement": str(what.run.placement),
        "simulated": what.cluster.simulated,
        "elapsed_ms": answer.elapsed_ms,
        "output_tokens": answer.output_tokens,
        "text": answer.text,
    }
