"""Finds, reads and checks the workspace's profile files."""

from pdconsole.profiles.experiment import (
    ExperimentProfile,
    ExperimentRun,
    PolicyProfile,
    QuickProfile,
)
from pdconsole.profiles.schema import (
    ClusterProfile,
    EngineModel,
    EngineProfile,
    EngineTp,
    ModelProfile,
    NetworkProfile,
    NetworkThresholds,
    NodeProfile,
    PortsProfile,
    SimLink,
    SshProfile,
    Thresholds,
    WorkloadProfile,
)

__all__ = [
    "ClusterProfile",
    "EngineModel",
    "EngineProfile",
    "EngineTp",
    "ExperimentProfile",
    "ExperimentRun",
    "ModelProfile",
    "NetworkProfile",
    "NetworkThresholds",
    "NodeProfile",
    "PolicyProfile",
    "PortsProfile",
    "QuickProfile",
    "SimLink",
    "SshProfile",
    "Thresholds",
    "WorkloadProfile",
]
