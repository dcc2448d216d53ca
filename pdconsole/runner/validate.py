"""Deploys a layout to validate its KV transfers, over one network or two, and takes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from pdconsole.model import events as ev
from pdconsole.model.workload import Workload
from pdconsole.profiles import Profiles
from pdconsole.runner.kv_validation import SIMULATED, Validated, hands_kv_over, validate, without
from pdconsole.runner.one_deployment import Say, Wanted, deployed, to_the_end, wanted
from pdconsole.runner.user_errors import UserError

WORKLOAD = Workload(name="validate", input_len=300, output_len=32)
SEED = "validate"


def validate_layout(
    workspace: Path,
    *,
    layout: str,
    cluster: str,
    model: str,
    network: str,
    other_network: str | None,
    placement: Literal["pack", "spread"],
    ignore_checks: bool,
    say: Say,
) -> dict[str, Any]:
    """The verdict and all that it rests on.

    Raises the parts' own exceptions, each a sentence for people; nothing then still runs.
    """
    profiles = Profiles.open(workspace)
    if other_network == network:
        raise UserError(
            f"network {network} is not compared with itself; give --other-network another name"
        )
    networks = [name for name in (other_network, network) if name is not None]
    asked = [
        wanted(
            profiles,
            "validate",
            layout=layout,
            cluster=cluster,
            model=model,
            network=name,
            placement=placement,
            ignore_checks=ignore_checks,
            workload=WORKLOAD,
            say=say,
        )
        for name in networks
    ]
    if not hands_kv_over(asked[0].run):
        raise UserError(f"{layout} hands no KV from one replica to another; name a layout with P")
    if asked[0].cluster.simulated:
        say(SIMULATED)
        return _outcome(asked[-1], Validated(event=without("validate", SIMULATED), network=network))
    found = to_the_end(_over_each(asked))
    for line in lines_of(found.event):
        say(line)
    return _outcome(asked[-1], found)


async def _over_each(asked: list[Wanted]) -> Validated:
    """Of the last one, compared with the one before it."""
    found: Validated | None = None
    for what in asked:
        what.say(f"deploying {what.run.label}")
        async with deployed(what) as (plan, clients):
            found = await validate(
                plan, clients, what.model, what.network, SEED, earlier=found, say=what.say
            )
    assert found is not None
    return found


def lines_of(event: ev.KvValidated) -> list[str]:
    """What a person reads."""
    lines = [f"verdict    {event.verdict}: {event.message}"]
    if event.tolerance is None:
        return lines
    lengths = ", ".join(f"{length:,}" for length in event.lengths)
    lines += [
        f"transfers  {event.prompts} prompts of {lengths} tokens through {', '.join(event.pairs)},"
        f" {event.under_load} of them under load; scored by {event.reference} alone",
        f"rounding   {event.self_deviation:.3f} nats a token where nothing is handed over;"
        f" tolerance {event.tolerance:.3f}",
    ]
    if event.worst_token is not None:
        lines.append(f"worst      one token {event.worst_token:.3f} nats off")
    if event.control is not None:
        lines.append(f"control    another prompt's blocks: at least {event.control:.2f}")
    if event.smallest_caught:
        lines.append(f"smallest   corruption caught: {event.smallest_caught}")
    lines += [f"caught     {text}" for text in event.caught]
    lines += [f"missed     {text}" for text in event.missed]
    lines.append(f"took       {event.took_s:.0f} s")
    return lines


def _outcome(what: Wanted, found: Validated) -> dict[str, Any]:
    record = msgspec.to_builtins(found.event)
    for stamp in ("seq", "t", "wall", "type", "run"):
        record.pop(stamp, None)
    return {
        "layout": what.run.placement.layout.slug,
        "placement": str(what.run.placement),
        "simulated": what.cluster.simulated,
        "network": found.network,
        **record,
        "cases": [
            {**msgspec.to_builtins(case), "deviation": case.score.mean if case.score else None}
            for case in found.cases
        ],
    }
