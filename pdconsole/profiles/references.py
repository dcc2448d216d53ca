"""Whether an experiment fits the profiles it names: cluster, model, workload, networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pdconsole.model.layout import Layout, parse_layout
from pdconsole.profiles.document import Document, FieldPath
from pdconsole.profiles.experiment import ExperimentProfile, ExperimentRun
from pdconsole.profiles.problem import ProfileProblem
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, WorkloadProfile


class Named(msgspec.Struct, frozen=True):
    """The profiles that an experiment names; None where one cannot be loaded itself."""

    cluster: ClusterProfile | None
    model: ModelProfile | None
    workload: WorkloadProfile | None
    networks: Mapping[str, NetworkProfile | None]


def network_fields(experiment: ExperimentProfile) -> Iterator[tuple[FieldPath, str]]:
    """Every place of an experiment that names a network."""
    yield ("network",), experiment.network
    for index, run in enumerate(experiment.runs):
        if run.network is not None:
            yield ("runs", index, "network"), run.network


def misfits(
    experiment: ExperimentProfile, document: Document, named: Named
) -> Iterator[ProfileProblem]:
    """What cannot be carried out as written."""
    if named.workload is not None:
        yield from _workload_misfits(experiment, document, named.workload, named.model)
    for index, run in enumerate(experiment.runs):
        path: FieldPath = ("runs", index)
        layout = parse_layout(run.layout)
        network = named.networks.get(experiment.network_of(run))
        if named.cluster is not None:
            yield from _too_large(layout, path, document, named.cluster)
        if network is not None:
            yield from _network_misfits(run, layout, path, document, network)
        if named.cluster is not None and named.cluster.simulated:
            yield from _not_simulated(layout, path, document, named.model, network)


def _workload_misfits(
    experiment: ExperimentProfile,
    document: Document,
    workload: WorkloadProfile,
    model: ModelProfile | None,
) -> Iterator[ProfileProblem]:
    for index, mode in enumerate(experiment.modes):
        if mode not in workload.modes:
            yield document.problem(
                ("modes", index),
                f"workload {workload.name} has no mode {mode}",
                f"write {' or '.join(workload.modes)}, or add the mode to the workload",
            )
    tokens = workload.input_len + workload.output_len
    if model is not None and tokens > model.max_model_len:
        yield document.problem(
            ("workload",),
            f"{tokens} tokens a request are more than {model.name} is served with"
            f" (max_model_len {model.max_model_len})",
            f"name a shorter workload, or raise max_model_len in the model to {tokens} or more",
        )


def _too_large(
    layout: Layout, path: FieldPath, document: Document, cluster: ClusterProfile
) -> Iterator[ProfileProblem]:
    if layout.gpus > cluster.gpus:
        yield document.problem(
            (*path, "layout"),
            f"{layout} takes {layout.gpus} GPUs, cluster {cluster.name} has {cluster.gpus}",
            "write a smaller layout or name a larger cluster",
        )


def _network_misfits(
    run: ExperimentRun,
    layout: Layout,
    path: FieldPath,
    document: Document,
    network: NetworkProfile,
) -> Iterator[ProfileProblem]:
    if not layout.is_pd or run.placement == "manual":
        return
    if run.placement == "spread" and network.across_nodes is False:
        yield document.problem(
            (*path, "placement"),
            f"spread puts P and D on different nodes, and network {network.name} works within one",
            "write placement: pack, or give the run a network that crosses nodes",
        )


def _not_simulated(
    layout: Layout,
    path: FieldPath,
    document: Document,
    model: ModelProfile | None,
    network: NetworkProfile | None,
) -> Iterator[ProfileProblem]:
    """What the simulated cluster has no constants for."""
    if network is not None and network.sim is None:
        yield document.problem(
            path,
            f"network {network.name} has no simulated link",
            "add to it sim: {gbps: 10, latency_ms: 39, handshake_s: 0.15}, or name another network",
        )
    if model is None:
        return
    if model.engine_model is None:
        yield document.problem(
            ("model",),
            f"{model.name} has no engine_model, so it cannot be simulated",
            "add one to the model profile, or name a cluster that is not simulated",
        )
        return
    for tp in sorted({group.tp for group in layout.groups} - model.engine_model.tp.keys()):
        yield document.problem(
            (*path, "layout"),
            f"the engine model of {model.name} has no constants for TP{tp}",
            f"use TP {', '.join(map(str, sorted(model.engine_model.tp)))},"
            f" or add tp.{tp} to its engine_model",
        )
