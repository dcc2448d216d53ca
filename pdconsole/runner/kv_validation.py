"""Validates the KV transfers of what is deployed, and says so in the words of the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pdconsole.measure.validation import try_transfers
from pdconsole.model import events as ev
from pdconsole.model.plan import RunPlan
from pdconsole.model.validation import CHECK, Case, Judgement, compare, judge
from pdconsole.profiles.schema import ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.serving.complaints import complaints_of
from pdconsole.serving.plan import DeploymentPlan

SIMULATED = "simulated: nothing to validate"
NOT_ASKED = "not validated, as asked for by --no-validate"


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """What was found over one network, kept to be compared with what another does."""

    event: ev.KvValidated
    network: str
    cases: tuple[Case, ...] = ()


def hands_kv_over(run: RunPlan) -> bool:
    """Whether this run's requests move KV from one replica to another."""
    roles = {assignment.role for assignment in run.placement.assignments}
    return "prefill" in roles and run.workload.mode == "mixed"


def without(run: str, why: str) -> ev.KvValidated:
    """The record of a run whose transfers were not validated."""
    return ev.KvValidated(run=run, verdict="unknown", message=why)


async def validate(
    plan: DeploymentPlan,
    nodes: Mapping[str, NodeClient],
    model: ModelProfile,
    network: NetworkProfile,
    seed: str,
    *,
    earlier: Validated | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Validated:
    """Try the transfers of a deployment that serves and judge them, and against `earlier`: the
    same layout on another network. Raises MeasureError or RemoteError where it cannot be tried."""
    began = time.monotonic()
    complaints = complaints_of(plan, nodes)
    await complaints.listen()
    tried = await try_transfers(plan, nodes, model, seed, say=say)
    cases = tried.cases
    backend = f"{network.backend} on {network.name}"
    event = _event(plan, cases, judge(cases, backend, tried.load), backend)
    if earlier is not None and earlier.network != network.name:
        event = _compared(event, cases, earlier)
    if event.verdict == "fail" and (said := await complaints.heard()):
        message = f"{event.message.rstrip('.')}. {said}"
        event = msgspec.structs.replace(event, message=message)
    event = msgspec.structs.replace(event, took_s=round(time.monotonic() - began, 1))
    return Validated(event=event, network=network.name, cases=cases)


def _event(
    plan: DeploymentPlan, cases: Sequence[Case], found: Judgement, backend: str
) -> ev.KvValidated:
    transfers = [case for case in cases if case.kind == "transfer"]
    return ev.KvValidated(
        run=plan.run,
        verdict=found.verdict,
        message=found.message,
        backend=backend,
        reference=next(p.name for p in plan.workers if p.role == "prefill"),
        pairs=tuple(dict.fromkeys(case.who for case in transfers)),
        prompts=len(transfers),
        under_load=sum(case.loaded for case in transfers),
        lengths=tuple(sorted({case.length for case in transfers})),
        deviation=found.deviation,
        tolerance=found.tolerance,
        self_deviation=found.self_deviation,
        worst_token=found.worst_token,
        control=found.control,
        caught=found.caught,
        missed=found.missed,
        smallest_caught=found.smallest_caught,
    )


def _compared(event: ev.KvValidated, cases: Sequence[Case], earlier: Validated) -> ev.KvValidated:
    if earlier.event.verdict not in ("ok", "warn"):
        # What is wrong itself tells nothing of what differs from it.
        found = "is wrong" if earlier.event.verdict == "fail" else "could not be judged"
        return msgspec.structs.replace(
            event,
            message=f"{event.message}. Not compared with {earlier.network}, which {found} itself:"
            f" {earlier.event.message}",
            other_network=earlier.network,
        )
    difference = compare(cases, earlier.cases)
    if difference is None or event.tolerance is None:
        return event
    apart = not difference.deviation <= event.tolerance
    message = (
        f"{event.message}. Against {earlier.network}: {difference.equal} of {difference.prompts}"
        f" prompts give the same tokens, {difference.deviation:.3f} nats a token apart at worst"
        f"{', more than the tolerance' if apart else ''}"
    )
    return msgspec.structs.replace(
        event,
        verdict="fail" if apart else event.verdict,
        message=message,
        other_network=earlier.network,
        other_deviation=difference.deviation,
    )


def check_of(event: ev.KvValidated, node: str) -> ev.CheckResult:
    """The same as a check, of the node of the first D."""
    advice = {
        "fail": "trust no number of this layout; try another network, equal TP on P and D or "
        "another vLLM, and see the logs of the replicas named",
        "warn": "see docs/validation.md for what this check can and cannot see",
        "unknown": "run `pdconsole validate` for this layout before its numbers are used",
    }.get(event.verdict, "")
    threshold = "" if event.tolerance is None else f"{event.tolerance:.3f} nats a token"
    return ev.CheckResult(
        node=node,
        check=CHECK,
        verdict=event.verdict,
        value=event.message,
        threshold=threshold,
        advice=advice,
        hard=True,
    )
