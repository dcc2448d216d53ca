"""The network between two slots of a cluster, tested for a command; no session is recorded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.measure.preflight import preflight
from pdconsole.model import events as ev
from pdconsole.model.grid import Grid, Slot
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import Placement, parse_manual, place
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy, Workload
from pdconsole.profiles import Profiles
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.values import Inventory, News
from pdconsole.results import RunFacts
from pdconsole.results.facts import RunRecord
from pdconsole.runner.network_bench import (
    bench_and_write,
    bench_of,
    lines_of,
    refuse_untestable,
    result_dir,
)
from pdconsole.runner.nodes import SessionNodes, end_all, nodes_of
from pdconsole.runner.one_deployment import Say, to_the_end, undone
from pdconsole.runner.planning import grid_of
from pdconsole.runner.user_errors import UserError, refusal
from pdconsole.serving.run_rules import check_reach

TOKENS = 5000  # of a prompt whose KV is moved, if the model takes so many


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is tested, network by network."""

    workspace: Path
    cluster: ClusterProfile
    model: ModelProfile
    networks: Mapping[str, NetworkProfile]
    runs: tuple[RunPlan, ...]
    session: str
    say: Say


def network_test(
    workspace: Path,
    *,
    cluster: str,
    model: str,
    networks: Sequence[str],
    nodes: str,
    tokens: int | None,
    ignore_checks: bool,
    say: Say,
) -> list[dict[str, Any]]:
    """What each network reached, in the order asked. `nodes`: "a:0,b:0", whose memory is read and
    who reads it; empty: the first slots that the network joins.

    Raises the parts' own exceptions, each a sentence for people; nothing then still runs.
    """
    profiles = Profiles.open(workspace)
    on = profiles.cluster(cluster)
    served = profiles.model(model)
    workload = Workload(
        name="netbench", input_len=min(tokens or TOKENS, served.max_model_len), output_len=1
    )
    known = {name: profiles.network(name) for name in dict.fromkeys(networks)}
    asked = Asked(
        workspace=workspace,
        cluster=on,
        model=served,
        networks=known,
        runs=tuple(
            _run(str(n), network, _ends(on, network, nodes), served, workload, on)
            for n, network in enumerate(known.values(), 1)
        ),
        session=f"netbench-{os.getpid()}",
        say=say,
    )
    found = to_the_end(_over_each(asked, ignore_checks))
    return [_outcome(result) for result in found]


def _ends(cluster: ClusterProfile, network: NetworkProfile, nodes: str) -> Placement:
    grid = grid_of(cluster)
    if nodes:
        source, reader = _two_slots(nodes, grid)
        return parse_manual(f"P1={source} D1={reader}", grid)
    apart = len(cluster.nodes) > 1 and network.across_nodes is not False
    return place(parse_layout("1P-TP1+1D-TP1"), grid, "spread" if apart else "pack")


def _two_slots(text: str, grid: Grid) -> tuple[Slot, Slot]:
    """Raises UserError."""
    form = "write NODE:SLOT,NODE:SLOT such as node1:0,node2:0"
    named = [end.strip().rpartition(":") for end in text.split(",")]
    if len(named) != 2 or not all(node and index.isdecimal() for node, _, index in named):
        raise UserError(f"--nodes {text} names not two slots; {form}")
    source, reader = (Slot(node, int(index)) for node, _, index in named)
    sizes = {node.name: node.slots for node in grid.nodes}
    for slot in (source, reader):
        if slot.node not in sizes:
            known = ", ".join(islice(sizes, 8)) + (", ..." if len(sizes) > 8 else "")
            raise UserError(
                f"--nodes {text}: the cluster has no node {slot.node}; its nodes: {known}"
            )
        if slot.index >= sizes[slot.node]:
            last = sizes[slot.node] - 1
            has = f"slots 0 to {last}" if last else "slot 0 alone"
            raise UserError(f"--nodes {text}: there is no {slot}; node {slot.node} has {has}")
    if source == reader:
        raise UserError(f"--nodes {text} names one slot twice; {form}")
    return source, reader


def _run(
    number: str,
    network: NetworkProfile,
    placement: Placement,
    model: ModelProfile,
    workload: Workload,
    cluster: ClusterProfile,
) -> RunPlan:
    refuse_untestable(placement, cluster)
    run = RunPlan(
        id=number,
        placement=placement,
        network=network.name,
        workload=workload,
        points=(),
        result_dir=result_dir(model, placement, network.name),
    )
    check_reach(run, cluster, network)
    return run


async def _over_each(asked: Asked, ignore_checks: bool) -> list[ev.NetBenchResult]:
    def nothing(_news: News) -> None:
        return

    nodes = SessionNodes(asked.cluster, nodes_of(asked.cluster, asked.runs), asked.session, nothing)

    async with undone(lambda: end_all(nodes), asked.say):
        inventories = await nodes.open()
        _check(asked, inventories, ignore_checks)
        found = []
        for run in asked.runs:
            asked.say(f"testing {run.network}: {run.placement}")
            result = await _tested(asked, run, nodes.clients, inventories)
            for line in lines_of(result):
                asked.say(line)
            asked.say(f"  bm_results/{result.file}")
            found.append(result)
        return found


def _check(asked: Asked, inventories: Mapping[str, Inventory], ignore_checks: bool) -> None:
    checks = preflight(
        inventories,
        asked.runs,
        cluster=asked.cluster,
        model=asked.model,
        networks=asked.networks,
        session=asked.session,
    )
    # Neither router nor context matter to NIXL alone.
    refused = refusal(c for c in checks if c.check not in ("router", "context"))
    if refused and not ignore_checks:
        raise UserError(refused)


async def _tested(
    asked: Asked,
    run: RunPlan,
    clients: Mapping[str, NodeClient],
    inventories: Mapping[str, Inventory],
) -> ev.NetBenchResult:
    node = next(n for n in asked.cluster.nodes if n.name in run.placement.nodes)
    facts = RunFacts(
        session="",
        experiment="",
        cluster=asked.cluster.name,
        model=asked.model.source,
        simulated=False,
        policy=MeasurePolicy(),
        gpu_model=node.gpu_model,
        slot_kind=node.kind,
        command=(
            f"pdconsole netbench --cluster {asked.cluster.name} --model {asked.model.name} "
            f"--network {run.network} --nodes {_nodes(run)} --tokens {run.workload.input_len}"
        ),
        versions={
            name: dict(inventories[name].versions)
            for name in run.placement.nodes
            if name in inventories
        },
    )
    b = bench_of(
        run,
        cluster=asked.cluster,
        model=asked.model,
        network=asked.networks[run.network],
        session=asked.session,
    )
    record = RunRecord(plan=run, facts=facts)
    return await bench_and_write(b, record, clients, asked.workspace / "bm_results", say=asked.say)


def _nodes(run: RunPlan) -> str:
    return ",".join(str(a.slots[0]) for a in run.placement.assignments)


def _outcome(result: ev.NetBenchResult) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(result)
    for stamp in ("seq", "t", "wall", "type", "run"):
        found.pop(stamp, None)
    return found
