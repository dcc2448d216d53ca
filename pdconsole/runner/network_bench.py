"""From a placed run to a test of its network: which ends, which shapes, and where it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pdconsole.measure.netbench import Bench, Follow, bench
from pdconsole.model import events as ev
from pdconsole.model import netbench
from pdconsole.model.placement import Placement
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.remote.client import NodeClient
from pdconsole.results.facts import RunRecord
from pdconsole.results.network_tests import write_network_test
from pdconsole.runner.ad_hoc import PlanError

CHECK = "netbench"
HOST_MEMORY_BYTES = 256 << 20  # on either end
GPU_MEMORY_BYTES = 8 << 30
GPU_SHARE = 4  # of a slot's memory at most this part


def no_network(cluster: ClusterProfile) -> str:
    """Why the network of a simulated cluster is not tested."""
    return (
        f"{cluster.name} is simulated: there is no NIXL and no network to test; name a cluster of "
        "real nodes with --cluster"
    )


def refuse_untestable(placement: Placement, cluster: ClusterProfile) -> None:
    """Raises PlanError."""
    if cluster.simulated:
        raise PlanError(no_network(cluster))
    if not placement.layout.is_pd:
        raise PlanError(
            f"{placement.layout} passes no KV on; a network test needs a P and a D, such as "
            "1P-TP1+1D-TP1"
        )


def result_dir(model: ModelProfile, placement: Placement, network: str) -> str:
    """The directory of a run's network tests under bm_results/."""
    where = f"{placement.strategy}-{network}_{placement.layout.slug}"
    return f"{model.short_name}_netbench_{where}"


def bench_of(
    run: RunPlan,
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    network: NetworkProfile,
    session: str,
) -> Bench:
    """Between the first ranks of the run's first P and first D; D reads."""
    p, d = run.placement.of("prefill")[0], run.placement.of("decode")[0]
    node = next(n for n in cluster.nodes if n.name == d.node)
    kv = netbench.geometry(
        layers=model.layers,
        kv_bytes_per_token=model.kv_bytes_per_token,
        kv_heads=model.kv_heads,
        tp=max(p.tp, d.tp),
        block_tokens=_block_tokens(model, node),
    )
    tokens = min(run.workload.input_len, model.max_model_len)
    return Bench(
        run=run.id,
        session=session,
        source=p.slots[0],
        reader=d.slots[0],
        cluster=cluster,
        network=network,
        shapes=netbench.shapes(kv, tokens, _memory_bytes(node)),
    )


def _block_tokens(model: ModelProfile, node: NodeProfile) -> int:
    asked = model.engine_args.get("block-size")
    if isinstance(asked, int) and asked > 0:
        return asked
    return netbench.CPU_BLOCK_TOKENS if node.kind == "cpu" else netbench.GPU_BLOCK_TOKENS


def _memory_bytes(node: NodeProfile) -> int:
    if node.kind == "cpu":
        return HOST_MEMORY_BYTES
    return min(GPU_MEMORY_BYTES, (node.gpu_memory_mib << 20) // GPU_SHARE)


async def bench_and_write(
    b: Bench,
    record: RunRecord,
    nodes: Mapping[str, NodeClient],
    results_root: Path,
    *,
    say: Callable[[str], object] = lambda _: None,
    log_offset: Follow | None = None,
) -> ev.NetBenchResult:
    """Measured, judged and written. Raises MeasureError, RemoteError or ResultError."""
    result = await bench(b, nodes, say=say, log_offset=log_offset)
    path = write_network_test(results_root, record, result, time.time())
    return msgspec.structs.replace(result, file=f"{path.parent.name}/{path.name}")


def check_of(result: ev.NetBenchResult) -> ev.CheckResult:
    """The same as a check, of the node that read."""
    return ev.CheckResult(
        node=result.reader.rpartition(":")[0],
        check=f"{CHECK} {result.network}",
        verdict=result.verdict,
        value=result.message,
        threshold=f">= {result.good_gbps:g} GB/s",
        advice=result.advice,
    )


def lines_of(result: ev.NetBenchResult) -> list[str]:
    """The verdict and what it rests on, for people."""
    lines = [
        f"{result.network}: {result.verdict}, {result.message}",
        f"  {result.reader} read {result.memory} of {result.source} by NIXL {result.nixl}, "
        f"{result.backend}; every block of the first and the last transfer was checked",
    ]
    lines += [f"  UCX said {line}" for line in result.proof]
    if result.advice:
        lines.append(f"  {result.advice}")
    return lines
