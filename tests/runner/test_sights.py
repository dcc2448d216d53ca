"""Who holds a GPU, from what a node tells."""

from __future__ import annotations

from typing import Any

import pytest

from pdconsole.model.events import GpuSample
from pdconsole.model.grid import Slot
from pdconsole.model.survey import SurveyNode
from pdconsole.profiles.schema import ClusterProfile
from pdconsole.remote.values import (
    GpuProcess,
    GpusSeen,
    Inventory,
    LinkChanged,
    NodeGpu,
    SlotLock,
)
from pdconsole.runner.sights import Sights


def sights(kind: str = "gpu", **inventory: Any) -> Sights:
    cluster = ClusterProfile.model_validate(
        {
            "name": "c",
            "fabric": "ethernet",
            "nodes": [
                {"name": "a", "gpus": 2, "gpu_model": "H100", "gpu_memory_mib": 81559, "kind": kind}
            ],
        }
    )
    made = Sights(cluster, wall=lambda: 1000.0)
    gpus = tuple(
        NodeGpu(index=i, name="NVIDIA H100", memory_mib=81559, memory_used_mib=4) for i in (0, 1)
    )
    fields: dict[str, Any] = {"gpus": gpus, "user": "me", "versions": {"vllm": "0.33.0"}}
    found = Inventory(node="a", hostname="host-a", python="3.10", **{**fields, **inventory})
    made.take(LinkChanged("a", "up"))
    made.take_inventory(found, with_versions=True)
    return made


def only(made: Sights) -> SurveyNode:
    return made.survey().nodes[0]


def process(**fields: Any) -> NodeGpu:
    resident = GpuProcess(pid=7, name="python", user="eve", **fields)
    return NodeGpu(index=0, name="H100", memory_mib=81559, processes=(resident,))


@pytest.mark.parametrize(
    ("inventory", "owner", "holder"),
    [
        ({}, "free", ""),
        ({"locks": (SlotLock(slot=0, session="s", user="me"),)}, "ours", "session s"),
        ({"locks": (SlotLock(slot=0, session="s", user="eve"),)}, "others", "session s of eve"),
        ({"gpus": (process(),)}, "others", "process 7 (python) of user eve"),
        ({"gpus": (process(token="s/1/P1"),)}, "ours", "session s"),
        (
            {"gpus": (NodeGpu(index=0, name="H", memory_mib=9, memory_used_mib=70000),)},
            "others",
            "70000 MiB in use by a process not seen here",
        ),
        ({"gpus": (), "gpu_trouble": "nvidia-smi failed (9)"}, "unknown", "nvidia-smi failed (9)"),
    ],
)
def test_owners(inventory: dict[str, Any], owner: str, holder: str) -> None:
    gpu = only(sights(**inventory)).gpus[0]
    assert (gpu.owner, gpu.holder) == (owner, holder)


def test_a_share_of_a_gpu_is_held_by_its_lock_alone() -> None:
    made = sights("gpu-share", gpus=(process(token="s/1/P1"),), locks=(SlotLock(slot=1, user="x"),))
    assert [gpu.owner for gpu in only(made).gpus] == ["free", "others"]


def test_what_the_runners_own_session_uses_is_ours_whatever_is_known() -> None:
    made = sights()
    made.take(LinkChanged("a", "lost", "the connection broke"))
    node = made.survey({Slot("a", 1): "P1 of s"}).nodes[0]
    assert [(g.owner, g.holder) for g in node.gpus] == [("unknown", ""), ("ours", "P1 of s")]


def test_a_node_that_is_tried_again_goes_on_saying_why_it_failed() -> None:
    made = sights()
    made.take(GpusSeen("a", 1.0, (GpuSample(index=0, util_pct=40.0, memory_used_mib=9.0),)))
    assert only(made).gpus[0].util_pct == 40.0
    made.take(LinkChanged("a", "unreachable", "no route"))
    made.take(LinkChanged("a", "connecting"))
    node = only(made)
    assert (node.link, node.message) == ("unreachable", "no route")
    assert node.gpus[0].util_pct is None
    assert node.gpus[0].memory_mib == 81559
    assert made.unreachable() == {"a": "no route"}
    made.take(LinkChanged("a", "up"))
    assert only(made).message == ""


def test_versions_that_were_not_asked_for_stay() -> None:
    made = sights()
    cheap = Inventory(node="a", hostname="host-a", python="3.10", versions={"driver": "570"})
    made.take_inventory(cheap, with_versions=False)
    assert made.versions() == {"a": {"vllm": "0.33.0", "driver": "570"}}
