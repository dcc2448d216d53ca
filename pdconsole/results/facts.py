"""What a result says about the session it comes from."""

from __future__ import annotations

import msgspec

from pdconsole import __version__
from pdconsole.model.layout import Role
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
    slot_kind: str = "gpu"  # what a replica's rank occupies: gpu, gpu-share, cpu
    command: str = ""  # what reproduces it
    versions: dict[str, dict[str, str]] = {}  # node -> program -> version
    pdconsole: str = __version__


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run's plan and facts together: all that its result files need."""

    plan: RunPlan
    facts: RunFacts

    @property
    def loaded_gpus(self) -> int:
        """GPUs that the load went to, the denominator of numbers per GPU: on a PD layout
        prefill-only goes to P alone and decode-only to D alone."""
        layout, mode = self.plan.placement.layout, self.plan.workload.mode
        role = _LOADED_ALONE.get(mode) if layout.is_pd else None
        return sum(group.gpus for group in layout.groups if role in (None, group.role))


_LOADED_ALONE: dict[Mode, Role] = {"prefill-only": "prefill", "decode-only": "decode"}
