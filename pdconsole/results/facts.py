"""What a result says about the session it comes from."""

from __future__ import annotations

import msgspec

from pdconsole import __version__
from pdconsole.model.grid import SlotKind
from pdconsole.model.layout import Role
from pdconsole.model.placement import gpus_of
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy, Mode


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
        """GPUs of the layout; one that replicas share is one."""
        return gpus_of(self.plan.placement.assignments, self.facts.slot_kind)

    @property
    def loaded_gpus(self) -> int:
        """GPUs that the load went to, the denominator of numbers per GPU: on a PD layout
        prefill-only goes to P alone and decode-only to D alone."""
        role = _LOADED_ALONE.get(self.plan.workload.mode)
        if role is None or not self.plan.placement.layout.is_pd:
            return self.gpus
        return self.gpus_of_role(role)

    def gpus_of_role(self, role: Role) -> int:
        held = [each for each in self.plan.placement.assignments if each.role == role]
        return gpus_of(held, self.facts.slot_kind)


_LOADED_ALONE: dict[Mode, Role] = {"prefill-only": "prefill", "decode-only": "decode"}
