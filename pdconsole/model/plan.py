"""An experiment, resolved: which runs, each with its placement, network, workload and points."""

from __future__ import annotations

from typing import Literal

import msgspec

from pdconsole.model import events as ev
from pdconsole.model.grid import SlotKind
from pdconsole.model.layout import Role
from pdconsole.model.placement import Placement, gpus_of
from pdconsole.model.regimes import Axis
from pdconsole.model.workload import MeasurePolicy, Mode, Point, Workload

What = Literal["total", "input", "output", "requests"]
Per = Literal["gpu", "node", "deployment"]


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One layout, placed, on one network under one workload, over all its points."""

    id: str  # unique in the session: "1", "2", ...
    placement: Placement
    network: str
    workload: Workload
    points: tuple[Point, ...]
    result_dir: str  # directory name under bm_results/

    @property
    def label(self) -> str:
        return f"{self.placement.layout} {self.placement.strategy} {self.network}"

    def gpus(self, kind: SlotKind) -> int:
        """GPUs of the layout; one that replicas share is one."""
        return gpus_of(self.placement.assignments, kind)

    def loaded_gpus(self, kind: SlotKind) -> int:
        """GPUs that the load goes to, the denominator of numbers per GPU: on a PD layout
        prefill-only goes to P alone and decode-only to D alone."""
        role = _LOADED_ALONE.get(self.workload.mode)
        if role is None or not self.placement.layout.is_pd:
            return self.gpus(kind)
        return gpus_of(self.placement.of(role), kind)


_LOADED_ALONE: dict[Mode, Role] = {"prefill-only": "prefill", "decode-only": "decode"}


def planned_run(run: RunPlan, kind: SlotKind = "gpu") -> ev.PlannedRun:
    """The run as the recording announces it."""
    return ev.PlannedRun(
        run=run.id,
        layout=run.placement.layout.slug,
        strategy=run.placement.strategy,
        network=run.network,
        workload=run.workload.name,
        input_len=run.workload.input_len,
        output_len=run.workload.output_len,
        mode=run.workload.mode,
        gpus=run.gpus(kind),
        points=tuple(point.id for point in run.points),
        result_dir=run.result_dir,
    )


class AnswerTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of regimes that the runs of an experiment feed: which layout wins where."""

    latency: str = ""  # as `compare --latency` takes it; "": median TPOT, or TTFT of prefill-only
    throughput: What = "total"
    per: Per = "gpu"
    over: Axis = "latency"
    modes: tuple[Mode, ...] = ()  # of the workload; () all


class ExperimentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a session will do, in order."""

    experiment: str
    question: str
    cluster: str
    model: str
    simulated: bool
    policy: MeasurePolicy
    runs: tuple[RunPlan, ...]
    expectation: str = ""
    answer: tuple[AnswerTable, ...] = (AnswerTable(),)
    baseline: str = ""  # the id of the run that others are set against
    slot_kind: SlotKind = "gpu"  # of the cluster's nodes
    kind: Literal["sweep", "netbench"] = "sweep"  # netbench: NIXL alone, no engine and no points


def result_dir_name(
    model_short_name: str, workload: Workload, strategy: str, network: str, layout_slug: str
) -> str:
    """The directory of a run, e.g. `gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d3xtp2`."""
    return f"{model_short_name}_{workload.slug}_{strategy}-{network}_{layout_slug}"
