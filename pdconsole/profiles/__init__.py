"""Finds, reads and checks the workspace's profile files."""

from pdconsole.profiles.experiment import (
    ExperimentProfile,
    ExperimentRun,
    PolicyProfile,
    QuickProfile,
)
from pdconsole.profiles.problem import KINDS, Kind, ProfileError, ProfileProblem
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
    RayPorts,
    RayProfile,
    SimLink,
    SshProfile,
    Thresholds,
    WorkloadProfile,
)
from pdconsole.profiles.workspace import Profiles, init_workspace, shipped_profiles

__all__ = [
    "KINDS",
    "ClusterProfile",
    "EngineModel",
    "EngineProfile",
    "EngineTp",
    "ExperimentProfile",
    "ExperimentRun",
    "Kind",
    "ModelProfile",
    "NetworkProfile",
    "NetworkThresholds",
    "NodeProfile",
    "PolicyProfile",
    "PortsProfile",
    "ProfileError",
    "ProfileProblem",
    "Profiles",
    "QuickProfile",
    "RayPorts",
    "RayProfile",
    "SimLink",
    "SshProfile",
    "Thresholds",
    "WorkloadProfile",
    "init_workspace",
    "shipped_profiles",
]
