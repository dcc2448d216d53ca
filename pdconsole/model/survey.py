"""What the runner sees of a cluster while nobody runs anything on it, and what it would start.

Values of the control socket: the console shows them, the runner makes them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pdconsole.model.events import CheckResult, LinkStatus
from pdconsole.model.layout import Role

Owner = Literal["free", "ours", "others", "unknown"]


class SurveyGpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A slot of a node. `holder` says who holds it, for people; empty where it is free."""

    index: int
    name: str = ""
    memory_mib: int = 0
    owner: Owner = "unknown"
    holder: str = ""
    util_pct: float | None = None
    memory_used_mib: float | None = None
    temperature_c: float | None = None


class SurveyNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """While `link` is not up, `message` says why and what to do, and `gpus` are the profile's."""

    name: str
    link: LinkStatus = "connecting"
    message: str = ""
    hostname: str = ""
    gpus: tuple[SurveyGpu, ...] = ()
    versions: dict[str, str] = {}
    nics: tuple[str, ...] = ()
    seen_wall: float = 0.0  # Unix time of what is said here; 0: never seen


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    simulated: bool
    fabric: str = ""
    nodes: tuple[SurveyNode, ...] = ()


class LaunchProcess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process as it would be started: exactly this command and environment."""

    name: str  # P1, D2, C3, router, ray-head or ray-<node>
    role: Role | Literal["router", "ray"]
    node: str
    tp: int = 0
    slots: tuple[int, ...] = ()
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    url: str = ""


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All processes of one planned run. `refused` says why it cannot be started, else empty."""

    run: str
    processes: tuple[LaunchProcess, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""


class Checking(msgspec.Struct, frozen=True, kw_only=True):
    """Checks asked for outside a session: what is known so far."""

    cluster: str
    busy: bool  # more is to come
    results: tuple[CheckResult, ...] = ()
    trouble: str = ""  # why it could not be checked at all
