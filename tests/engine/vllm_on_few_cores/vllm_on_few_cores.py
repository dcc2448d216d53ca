"""A vLLM plugin for machines with few cores: threads that spin there starve those that work.

Four faults are cured, seen with vLLM 0.32.0 and NIXL 1.5.1 on two cores:

* NIXL's Python API starts its progress thread without any pause. With two servers, two such
  threads take both cores. It gets a pause of a millisecond between looks.
* A reader of vLLM's shared-memory queue spins for a second after each message, then sleeps until
  a wake-up that is lost now and then, and a request hangs for seconds. It spins for 2 ms and looks
  by itself every 5 ms.
* Who waits at that queue yields in a tight loop. A D that waits for KV so takes both cores with
  calls of sched_yield, and where P's turn does not come its KV expires after 30 s. It sleeps for a
  tenth of a millisecond instead.
* On CPUs the NIXL connector pins the worker of every server to the same core, the machine's last,
  where a P that spins until D has fetched its KV keeps D from fetching it, for seconds. Workers
  stay where the kernel puts them.

vLLM loads it in each of its processes, through the entry point group `vllm.general_plugins`.
"""

from __future__ import annotations

import os
import time
from typing import Any

PROGRESS_PAUSE_US = 1000
SPIN_S = 0.002
LOOK_AGAIN_MS = 5
YIELD_S = 0.0001


def register() -> None:
    pause_the_progress_thread()
    look_again_soon()
    sleep_to_yield()
    pin_nobody()


def pause_the_progress_thread() -> None:
    # vLLM sets this against a leak in UCX, but only if it is the first to import NIXL.
    os.environ.setdefault("UCX_RCACHE_MAX_UNRELEASED", "1024")
    from nixl import _bindings

    original = _bindings.nixlAgent
    if getattr(original, "paused", False):
        return

    def agent(name: str, config: Any) -> Any:
        config.pthrDelay = PROGRESS_PAUSE_US
        return original(name, config)

    agent.paused = True  # type: ignore[attr-defined]
    _bindings.nixlAgent = agent


def look_again_soon() -> None:
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    original = SpinCondition.wait
    if getattr(original, "looks_again", False):
        return

    def wait(self: Any, timeout_ms: int | None = None) -> None:
        self.busy_loop_s = SPIN_S
        original(self, LOOK_AGAIN_MS if timeout_ms is None else min(timeout_ms, LOOK_AGAIN_MS))

    wait.looks_again = True  # type: ignore[attr-defined]
    SpinCondition.wait = wait


def sleep_to_yield() -> None:
    from vllm.distributed.device_communicators import shm_broadcast

    shm_broadcast.sched_yield = lambda: time.sleep(YIELD_S)


def pin_nobody() -> None:
    from vllm.platforms.cpu import CpuPlatform

    # The connector alone asks, and pins its worker to the last core of each NUMA node named.
    CpuPlatform.discover_numa_topology = classmethod(lambda cls: [])
