"""Which versions of vLLM, NIXL, UCX and the router are known to work together."""

from __future__ import annotations

import re

import msgspec


class EngineStack(msgspec.Struct, frozen=True, kw_only=True):
    """A combination that was tried. `python`: oldest and newest minor version of Python 3."""

    name: str
    vllm: str
    nixl: str
    ucx: str
    router: str
    ray: str = ""  # only where its orchestrator was used too
    python: tuple[int, int] = (10, 13)
    # The UCX inside NIXL's wheel is too old for SRD as it was measured, so both are built there.
    builds_nixl: bool = False


TODAY = EngineStack(
    name="today", vllm="0.33.0", nixl="1.5.1", ucx="1.23.0", router="0.1.17", python=(10, 13)
)
# What 2025's measurements of P/D on EFA were made with; its wheel of NIXL brings UCX 1.19.0.
V0_11 = EngineStack(
    name="0.11",
    vllm="0.11.0",
    nixl="0.6.1",
    ucx="1.20.0",
    router="0.1.17",
    ray="2.51.0",
    python=(10, 12),
    builds_nixl=True,
)
STACKS = (TODAY, V0_11)
# What `ray[llm]` of a release names, and what was used with it: Ray Serve has no vllm-router.
RAY_2_60 = EngineStack(
    name="ray-2.60",
    vllm="0.29.0",
    nixl="1.3.2",
    ucx="1.21.0",
    router="",
    ray="2.60.0",
    python=(11, 13),
)
RAY_STACKS = (RAY_2_60,)
# The first UCX with EFA's SRD transport as it was measured.
SRD_UCX = (1, 20)


def stack_of(vllm: str) -> EngineStack | None:
    """The known combination with exactly this vLLM; what follows `+` does not matter."""
    release = vllm.split("+")[0]
    return next((stack for stack in STACKS if stack.vllm == release), None)


def ray_stack_of(ray: str) -> EngineStack | None:
    """The known combination with exactly this Ray."""
    return next((stack for stack in RAY_STACKS if stack.ray == ray), None)


def number(version: str) -> tuple[int, ...]:
    """1.23.0 as (1, 23, 0); empty if it is none."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()
