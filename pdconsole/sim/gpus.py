"""What a simulated worker does to its GPUs, published for the node's nvidia-smi."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pdconsole.sim import nvidia_smi

# An H100: numbers as its nvidia-smi shows them.
MEMORY_MIB = 81559
DRIVER_VERSION = "570.172.08"
RUNTIME_MIB = 1210  # CUDA context and NCCL, beside what vLLM counts as its own
DECODE_POWER_W = 340.0  # beyond idle: decoding is bound by memory, prefill by arithmetic
PREFILL_POWER_W = 570.0
WARMEST_C = 66.0
# gpt-oss-120b in MXFP4, all ranks together; only the log and the loading memory show it.
WEIGHTS_MIB = 62770


class GpuMemoryError(Exception):
    """A GPU has too little free memory for the worker; the message is vLLM's."""


class GpuUse:
    """The GPUs of one worker. Does nothing outside a simulated node."""

    def __init__(self, env: Mapping[str, str], tp: int) -> None:
        node = env.get(nvidia_smi.NODE_DIR_VARIABLE)
        visible = env.get("CUDA_VISIBLE_DEVICES", "")
        indices = [int(word) for word in visible.split(",") if word.strip().isdigit()]
        self.indices = (indices or list(range(tp)))[:tp]
        self._node = Path(node) if node else None
        self._born = nvidia_smi.born_at(os.getpid()) or 0
        self._memory_mib = 0
        self._busy = (0.0, 0.0, 0.0)
        for index in self.indices if self._node else ():
            self._path(index).parent.mkdir(parents=True, exist_ok=True)

    def check_free(self, utilization: float) -> None:
        """Raises GpuMemoryError where other processes leave too little."""
        if self._node is None:
            return
        gpus = {gpu.index: gpu for gpu in nvidia_smi.read_gpus(str(self._node))}
        for rank, index in enumerate(self.indices):
            gpu = gpus.get(index)
            if gpu is None:
                raise GpuMemoryError("CUDA error: invalid device ordinal")
            free_mib = gpu.memory_mib - gpu.memory_used_mib
            wanted_mib = gpu.memory_mib * utilization
            if free_mib < wanted_mib:
                raise GpuMemoryError(
                    f"Free memory on device cuda:{rank} ({free_mib / 1024:.2f}/"
                    f"{gpu.memory_mib / 1024:.2f} GiB) on startup is less than desired GPU memory"
                    f" utilization ({utilization}, {wanted_mib / 1024:.2f} GiB)."
                )

    def occupy(self, memory_mib: float) -> None:
        """This much memory of each GPU, beside the runtime's, from now on."""
        self._memory_mib = round(memory_mib) + RUNTIME_MIB
        self._write(0.0, 0.0)

    def publish(self, now: float, busy_s: float, prefill_s: float) -> None:
        """Busy seconds since the start, and those of them with prompt tokens; once a second."""
        then, busy_then, prefill_then = self._busy
        self._busy = (now, busy_s, prefill_s)
        span = max(now - then, 1e-9)
        self._write(
            min(1.0, (busy_s - busy_then) / span), min(1.0, (prefill_s - prefill_then) / span)
        )

    def _write(self, busy: float, prefill: float) -> None:
        if self._node is None:
            return
        power_w = DECODE_POWER_W * (busy - prefill) + PREFILL_POWER_W * prefill
        idle_c = nvidia_smi.IDLE_TEMPERATURE_C
        for rank, index in enumerate(self.indices):
            line = nvidia_smi.use_line(
                f"VLLM::Worker_TP{rank} (simulated)",
                self._born,
                memory_mib=self._memory_mib,
                utilization_pct=100 * busy,
                power_w=power_w,
                temperature_c=idle_c + (WARMEST_C - idle_c) * power_w / PREFILL_POWER_W,
            )
            path = self._path(index)
            part = path.with_suffix(".part")
            part.write_text(line)
            part.replace(path)

    def clear(self) -> None:
        if self._node is not None:
            for index in self.indices:
                self._path(index).unlink(missing_ok=True)

    def _path(self, index: int) -> Path:
        assert self._node is not None
        return self._node / "gpus" / str(index) / str(os.getpid())
