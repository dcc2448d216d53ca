"""One end of a network test: a NIXL agent that offers memory, or one that reads it as vLLM does.

It runs in the Python of the engine, which has NIXL and, where there are GPUs, torch. A JSON file
says what to do; what it found are JSON lines on its first stdout. Whatever NIXL and UCX print goes
to stderr.

The memory of the offering end holds at byte o the byte `o mod PERIOD` of a random pattern. PERIOD
is odd, so no two blocks of a cache look alike, and a block that is read from a wrong place, a wrong
offset or not at all has another checksum than the one it should have.
"""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import inspect
import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
import zlib
from typing import Any, Dict, List, Optional, Tuple

PERIOD = (1 << 20) + 7
LEAST_REPEATS = 3
TRANSFER_S = 120.0  # a transfer that takes longer hangs
NOTIFICATIONS_S = 0.05
UCX_THREADS = 4  # as vLLM asks for
FEW_CORES = 4
LOCAL = "NIXL_INIT_AGENT"

Message = Dict[str, Any]


class ProbeError(Exception):
    """What cannot be done; str() says why, and what to do."""


class HostMemory:
    """Memory of the node itself."""

    kind = "DRAM"
    device = 0

    def __init__(self, size: int) -> None:
        import ctypes

        self.size = size
        self._map = mmap.mmap(-1, size)
        self._view = memoryview(self._map)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def fill(self, pattern: bytes) -> None:
        for offset in range(0, self.size, len(pattern)):
            end = min(self.size, offset + len(pattern))
            self._view[offset:end] = pattern[: end - offset]

    def clear(self) -> None:
        self.fill(bytes(PERIOD))

    def read(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


class GpuMemory:
    """Memory of the first GPU that this process sees."""

    kind = "VRAM"
    device = 0

    def __init__(self, size: int) -> None:
        try:
            torch: Any = importlib.import_module("torch")
        except ImportError as e:
            raise ProbeError(f"GPU memory needs torch in the engine's Python: {e}") from e
        if not torch.cuda.is_available():
            raise ProbeError(
                "torch sees no GPU here; see nvidia-smi and the driver, or declare the node's "
                "slots as kind cpu"
            )
        self._torch = torch
        self.size = size
        try:
            self._tensor = torch.empty(size, dtype=torch.uint8, device="cuda:0")
        except RuntimeError as e:
            raise ProbeError(f"{size >> 20} MiB of GPU memory cannot be had: {e}") from e
        self.address = int(self._tensor.data_ptr())

    def fill(self, pattern: bytes) -> None:
        period = self._torch.frombuffer(bytearray(pattern), dtype=self._torch.uint8).cuda()
        for offset in range(0, self.size, len(pattern)):
            part = self._tensor[offset : offset + len(pattern)]
            part.copy_(period[: len(part)])
        self._torch.cuda.synchronize()

    def clear(self) -> None:
        self._tensor.zero_()
        self._torch.cuda.synchronize()

    def read(self, offset: int, length: int) -> memoryview:
        return memoryview(self._tensor[offset : offset + length].cpu().numpy())


def pattern(seed: str) -> bytes:
    return random.Random(seed).getrandbits(8 * PERIOD).to_bytes(PERIOD, "little")


class Expected:
    """The checksums of what the offering end holds."""

    def __init__(self, seed: str) -> None:
        self._pattern = pattern(seed)

    def checksum(self, offset: int, length: int) -> int:
        start = offset % PERIOD
        found = 0
        while length > 0:
            part = self._pattern[start : start + length]
            found = zlib.crc32(part, found)
            length -= len(part)
            start = 0
        return found


def main(argv: List[str]) -> int:
    """`argv`: the file that says what to do. 0: done; 1: it could not be, and a record says why."""
    records = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def tell(record: str, **fields: Any) -> None:
        records.write(json.dumps({"record": record, **fields}) + "\n")
        records.flush()

    try:
        with open(argv[0], encoding="utf-8") as file:
            spec = json.load(file)
        probe = Probe(spec)
        if spec["role"] == "offer":
            probe.offer(tell)
        else:
            probe.read_all(tell)
    except ProbeError as e:
        tell("fatal", message=str(e))
        return 1
    except Exception as e:  # noqa: BLE001 - whatever NIXL raises is told, and its trace is in the log
        traceback.print_exc()
        tell("fatal", message=f"{type(e).__name__}: {e}")
        return 1
    return 0


class Probe:
    """One agent with its memory, registered."""

    def __init__(self, spec: Message) -> None:
        self._spec = spec
        self._agent = _agent(spec["name"], spec["backend"], polls=spec["role"] == "read")
        made = GpuMemory if spec["memory"] == "VRAM" else HostMemory
        self._memory: Any = made(int(spec["bytes"]))
        began = time.monotonic()
        m = self._memory
        self._agent.register_memory(
            self._agent.get_reg_descs([(m.address, m.size, m.device, "")], m.kind),
            backends=[spec["backend"]],
        )
        self._register_ms = (time.monotonic() - began) * 1e3

    # -- the end that holds the data

    def offer(self, tell: Any) -> None:
        m = self._memory
        m.fill(pattern(self._spec["seed"]))
        tell(
            "ready",
            metadata=base64.b64encode(self._agent.get_agent_metadata()).decode(),
            address=m.address,
            device=m.device,
            memory=m.kind,
            bytes=m.size,
            register_ms=self._register_ms,
            nixl=_version(),
        )
        while True:  # until it is ended
            self._agent.get_new_notifs()
            time.sleep(NOTIFICATIONS_S)

    # -- the end that fetches it

    def read_all(self, tell: Any) -> None:
        remote = self._spec["remote"]
        peer = self._agent.add_remote_agent(base64.b64decode(remote["metadata"]))
        if isinstance(peer, bytes):
            peer = peer.decode()
        expected = Expected(self._spec["seed"])
        tell("reading", memory=self._memory.kind, register_ms=self._register_ms, nixl=_version())
        for shape in self._spec["shapes"]:
            tell("shape", **Reading(self._agent, self._memory, peer, remote, shape, expected).run())
        tell("done")


class Reading:
    """One shape: a cache of `regions` times `pool_blocks` blocks on both ends, of which `blocks` of
    every region are read at once, again and again."""

    def __init__(
        self,
        agent: Any,
        memory: Any,
        peer: str,
        remote: Message,
        shape: Message,
        expected: Expected,
    ) -> None:
        self._agent = agent
        self._memory = memory
        self._peer = peer
        self._remote = remote
        self._shape = shape
        self._expected = expected
        self._block_bytes = int(shape["block_bytes"])
        self._local_ids, self._remote_ids = descriptor_ids(shape)

    def run(self) -> Message:
        began = time.monotonic()
        local = self._prepared(LOCAL, self._memory.address, self._memory.device, self._memory.kind)
        remote = self._prepared(
            self._peer, self._remote["address"], self._remote["device"], self._remote["memory"]
        )
        prepare_ms = (time.monotonic() - began) * 1e3
        try:
            return {"prepare_ms": prepare_ms, **self._repeated(local, remote)}
        finally:
            for handle in (local, remote):
                self._agent.release_dlist_handle(handle)

    def _prepared(self, whose: str, address: int, device: int, kind: str) -> Any:
        count, size = self._shape["regions"] * self._shape["pool_blocks"], self._block_bytes
        blocks = [(address + i * size, size, device) for i in range(count)]
        return self._agent.prep_xfer_dlist(whose, self._agent.get_xfer_descs(blocks, kind))

    def _repeated(self, local: Any, remote: Any) -> Message:
        """The first transfer, which also connects, is kept apart; it and the last are checked."""
        self._memory.clear()
        first = self._transfer(local, remote)
        bad = self._damage()
        timed: List[Tuple[float, float, float]] = []
        merged: Optional[int] = first[3]
        began = time.monotonic()
        while len(timed) < self._shape["repeats"] and (
            len(timed) < LEAST_REPEATS or time.monotonic() - began < self._shape["budget_s"]
        ):
            timed.append(self._transfer(local, remote)[:3])
        self._memory.clear()
        self._transfer(local, remote)
        bad += self._damage()
        return {
            "name": self._shape["name"],
            "first_ms": first[2],
            "make_ms": [round(t[0], 4) for t in timed],
            "post_ms": [round(t[1], 4) for t in timed],
            "transfer_ms": [round(t[2], 4) for t in timed],
            "posted_descriptors": merged,
            "checked_blocks": 2 * len(self._local_ids),
            "bad_blocks": len(bad),
            "first_bad": bad[0] if bad else "",
        }

    def _transfer(self, local: Any, remote: Any) -> Tuple[float, float, float, Optional[int]]:
        """ms to make the request, ms until it is posted, ms from there to its end with the posting,
        and how many descriptors NIXL made of them if it tells."""
        began = time.monotonic()
        handle = self._agent.make_prepped_xfer(
            "READ", local, self._local_ids, remote, self._remote_ids, b"read"
        )
        made = time.monotonic()
        try:
            state = self._agent.transfer(handle)
            posted = time.monotonic()
            while state == "PROC":
                state = self._agent.check_xfer_state(handle)
                os.sched_yield()
                if state == "PROC" and time.monotonic() - posted > TRANSFER_S:
                    raise ProbeError(
                        f"a READ of {self._shape['name']} does not end within {TRANSFER_S:.0f} s; "
                        "the transport is there but moves nothing"
                    )
            ended = time.monotonic()
            if state != "DONE":
                raise ProbeError(f"a READ of {self._shape['name']} failed with state {state}")
            merged = self._posted_descriptors(handle)
        finally:
            self._agent.release_xfer_handle(handle)
        return (made - began) * 1e3, (posted - made) * 1e3, (ended - made) * 1e3, merged

    def _posted_descriptors(self, handle: Any) -> Optional[int]:
        try:
            return int(self._agent.get_xfer_telemetry(handle).descCount)
        except Exception:  # noqa: BLE001 - older versions have no telemetry; each fails its own way
            return None

    def _damage(self) -> List[str]:
        """What is wrong with what was read, block by block."""
        size, per_region = self._block_bytes, self._shape["pool_blocks"]
        bad = []
        for mine, theirs in zip(self._local_ids, self._remote_ids):
            found = zlib.crc32(self._memory.read(mine * size, size))
            if found != self._expected.checksum(theirs * size, size):
                region, block = divmod(theirs, per_region)
                bad.append(f"block {block} of region {region} into block {mine % per_region}")
        return bad


def descriptor_ids(shape: Message) -> Tuple[List[int], List[int]]:
    """Which descriptors are read, region by region as vLLM orders them: into which, from which."""
    pool, blocks = int(shape["pool_blocks"]), int(shape["blocks"])
    if shape["scattered"]:
        chance = random.Random(shape["name"])
        mine, theirs = chance.sample(range(pool), blocks), chance.sample(range(pool), blocks)
    else:
        # From other places into other places, as between two caches.
        mine, theirs = list(range(blocks)), list(range(pool - blocks, pool))
    regions = range(int(shape["regions"]))
    return (
        [region * pool + block for region in regions for block in mine],
        [region * pool + block for region in regions for block in theirs],
    )


def _agent(name: str, backend: str, *, polls: bool) -> Any:
    """As vLLM makes its own. On a machine of few cores threads that spin starve those that work:
    there is one then, of the end that does not poll by itself."""
    try:
        api: Any = importlib.import_module("nixl._api")
    except ImportError as e:
        raise ProbeError(f"the engine's Python {sys.executable} has no NIXL: {e}") from e
    few = (os.cpu_count() or 1) <= FEW_CORES
    asked: Message = {"capture_telemetry": True, "backends": [backend]}
    if few:
        asked["enable_prog_thread"] = not polls
    elif backend == "UCX":
        asked["num_threads"] = UCX_THREADS
    known = inspect.signature(api.nixl_agent_config).parameters
    config = api.nixl_agent_config(**{key: value for key, value in asked.items() if key in known})
    try:
        return api.nixl_agent(name, config)
    except Exception as e:  # each version of NIXL raises its own
        raise ProbeError(
            f"NIXL cannot make its {backend} backend here ({e}); see its log for what is missing: "
            "a device, a library, or tcp in UCX_TLS"
        ) from e


def _version() -> str:
    for package in ("nixl", "nixl-cu13", "nixl-cu12"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
