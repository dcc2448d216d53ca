"""What a result says about the session it comes from."""

from __future__ import annotations

import msgspec

from pdconsole import __version__
from pdconsole.model.grid import SlotKind
from pdconsole.model.layout import Role
from pdconsole.model.placement import gpus_of
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run beside its plan."""

    session: str
    experiment: str
    cluster: str
    model: str  # its source, as vLLM names it
    simulated: bool
    policy: MeasurePolicy
    gpu_model: str = ""
    slot_kind: SlotKind = "gpu"  # what a replica's rank occupies: gpu, gpu-share, cpu
    command: str = ""  # what reproduces it
    versions: dict[str, dict[str, str]] = {}  # node -> program -> version
    pdconsole: str = __version__


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run's plan and facts together: all that its result files need."""

    plan: RunPlan
    facts: RunFacts

    @property
    def gpus(self) -> int:
        return self.plan.gpus(self.facts.slot_kind)

    @property
    def loaded_gpus(self) -> int:
        return self.plan.loaded_gpus(self.facts.slot_kind)

    def gpus_of_role(self, role: Role) -> int:
        return gpus_of(self.plan.placement.of(role), self.facts.slot_kind)
