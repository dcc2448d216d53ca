"""The cluster, model, workload and network that the Grid screen works with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdconsole.model.survey import Survey, SurveyGpu, SurveyNode
from pdconsole.profiles import (
    ClusterProfile,
    Kind,
    ModelProfile,
    NetworkProfile,
    ProfileError,
    Profiles,
    WorkloadProfile,
)

CHOSEN_KINDS: tuple[Kind, ...] = ("cluster", "model", "workload", "network")
# What is taken first where nobody has chosen; else the first by name.
_FIRST = {"cluster": "embedded", "workload": "itl5000-otl250", "network": "cuda-ipc"}


@dataclasses.dataclass(frozen=True)
class ChosenProfiles:
    """Names by kind; the profiles that could be read, and why the others could not."""

    names: Mapping[Kind, str] = dataclasses.field(default_factory=dict)
    cluster: ClusterProfile | None = None
    model: ModelProfile | None = None
    workload: WorkloadProfile | None = None
    network: NetworkProfile | None = None
    problems: Mapping[Kind, str] = dataclasses.field(default_factory=dict)

    def name(self, kind: Kind) -> str:
        return self.names.get(kind, "")


@dataclasses.dataclass(frozen=True)
class ProfileEntry:
    """A profile to choose: what it is, or why it cannot be used."""

    name: str
    about: str
    problem: str = ""


def read_chosen(workspace: Path, wanted: Mapping[str, str]) -> ChosenProfiles:
    """The profiles by name; a name that is not there is replaced by one that is."""
    profiles = Profiles.open(workspace)
    names = {kind: _name(profiles.names(kind), kind, wanted.get(kind, "")) for kind in CHOSEN_KINDS}
    problems: dict[Kind, str] = {}

    def read(kind: Kind, load: Callable[[str], Any]) -> Any:
        if not names[kind]:
            problems[kind] = (
                f"There is no {kind} profile; `pdconsole init` brings the shipped ones."
            )
            return None
        try:
            return load(names[kind])
        except ProfileError as e:
            problems[kind] = _from_here(str(e), workspace)
            return None

    return ChosenProfiles(
        names=names,
        cluster=read("cluster", profiles.cluster),
        model=read("model", profiles.model),
        workload=read("workload", profiles.workload),
        network=read("network", profiles.network),
        problems=problems,
    )


def read_entries(workspace: Path, kind: Kind) -> tuple[ProfileEntry, ...]:
    """Every profile of a kind, the broken ones with what is wrong with them."""
    profiles = Profiles.open(workspace)
    load: Callable[[str], Any] = getattr(profiles, kind)
    entries = []
    for name in profiles.names(kind):
        try:
            entries.append(ProfileEntry(name, _about(load(name))))
        except ProfileError as e:
            entries.append(ProfileEntry(name, "", _from_here(str(e), workspace)))
    return tuple(entries)


def profile_survey(cluster: ClusterProfile) -> Survey:
    """What the profile says of the cluster, while nobody has looked."""
    return Survey(
        cluster=cluster.name,
        simulated=cluster.simulated,
        fabric=cluster.fabric,
        nodes=tuple(
            SurveyNode(
                name=node.name,
                gpus=tuple(
                    SurveyGpu(index=i, name=node.gpu_model, memory_mib=node.gpu_memory_mib)
                    for i in range(node.gpus)
                ),
            )
            for node in cluster.nodes
        ),
    )


def _from_here(text: str, workspace: Path) -> str:
    """Files of the workspace are named as seen from it: there is little room."""
    return text.replace(f"{workspace}/", "")


def _name(known: list[str], kind: Kind, wanted: str) -> str:
    for name in (wanted, _FIRST.get(kind, "")):
        if name in known:
            return name
    return known[0] if known else ""


def _about(profile: Any) -> str:
    match profile:
        case ClusterProfile():
            sizes = f"{len(profile.nodes)} nodes, {profile.gpus} GPUs, {profile.fabric}"
            return _joined(profile.description, sizes)
        case ModelProfile():
            return f"{profile.source}, {profile.kv_heads} KV heads, {profile.max_model_len} tokens"
        case WorkloadProfile():
            sizes = f"{profile.input_len}:{profile.output_len}, {', '.join(profile.modes)}"
            return _joined(profile.description, sizes)
        case NetworkProfile():
            return _joined(profile.description or profile.backend, profile.warning)
        case _:
            return ""


def _joined(*parts: str) -> str:
    return "; ".join(" ".join(part.split()) for part in parts if part)
