"""Two NIXL agents on nodes, one reading the other's memory; nothing of an engine is started.

Both run in the engine's own Python, under the same supervision as everything else. The first tells
what the second needs to find it, so nothing but their data goes over the network under test.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pdconsole.measure.errors import MeasureError
from pdconsole.model import events as ev
from pdconsole.model import netbench
from pdconsole.model.grid import Slot
from pdconsole.profiles.schema import ClusterProfile, NetworkProfile, NodeProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import ProcessInfo, ProcessSpec
from pdconsole.serving.engine_python import engine_command, in_python_of
from pdconsole.serving.worker_command import device_env

SOURCE, READER = "source", "reader"
UCX_LOG = "ucx.log"
LOG_BYTES = 8 << 20
POLL_S = 0.2
READY_S = 120.0  # importing torch and registering gigabytes
SILENT_S = 600.0  # between two shapes
LAST_LINES = 3


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What is tested."""

    run: str
    session: str
    source: Slot  # whose memory is read
    reader: Slot
    cluster: ClusterProfile
    network: NetworkProfile
    shapes: tuple[netbench.Shape, ...]

    def node(self, slot: Slot) -> NodeProfile:
        return next(node for node in self.cluster.nodes if node.name == slot.node)

    @property
    def memory(self) -> str:
        return "DRAM" if self.node(self.reader).kind == "cpu" else "VRAM"

    def token(self, end: str) -> str:
        return f"{self.session}/{self.run}/{end}"


Follow = Callable[[str, str], int]  # node, token -> byte offset to follow its log from


async def bench(
    b: Bench,
    nodes: Mapping[str, NodeClient],
    *,
    say: Callable[[str], object] = lambda _: None,
    log_offset: Follow | None = None,
) -> ev.NetBenchResult:
    """The result, judged. Raises MeasureError or RemoteError; nothing of it then still runs."""
    began = time.monotonic()
    try:
        source = _End(b, SOURCE, b.source, nodes[b.source.node])
        reader = _End(b, READER, b.reader, nodes[b.reader.node])
        await _stop(b, nodes)  # what an earlier attempt left would answer with its own numbers
        await source.start({"role": "offer"}, log_offset)
        ready = await source.next("ready", READY_S)
        remote = {key: ready[key] for key in ("metadata", "address", "device", "memory")}
        asked = [_asked(shape) for shape in b.shapes]
        await reader.start({"role": "read", "remote": remote, "shapes": asked}, log_offset)
        await reader.next("reading", READY_S)
        found: list[ev.NetBenchShape] = []
        for shape in b.shapes:
            record = await reader.next("shape", SILENT_S)
            found.append(netbench.measured(shape, record))
            say(line_of(found[-1]))
        await reader.next("done", READY_S)
        await reader.until_ended(READY_S)  # what UCX printed is in its file then
        shown = netbench.proof(await reader.printed_by_ucx())
    finally:
        await _stop(b, nodes)
    return _result(b, found, shown, ready["nixl"], time.monotonic() - began)


def _result(
    b: Bench, found: list[ev.NetBenchShape], shown: netbench.Proof, nixl: str, took_s: float
) -> ev.NetBenchResult:
    good, bad = b.network.thresholds.good_gbps, b.network.thresholds.bad_gbps
    judged = netbench.judge(
        found,
        shown,
        network=b.network.name,
        good_gbps=good,
        bad_gbps=bad,
        crosses_nodes=b.source.node != b.reader.node,
        in_gpu_memory=b.memory == "VRAM",
    )
    return ev.NetBenchResult(
        run=b.run,
        network=b.network.name,
        backend=b.network.backend,
        source=str(b.source),
        reader=str(b.reader),
        memory=b.memory,
        verdict=judged.verdict,
        message=judged.message,
        advice=judged.advice,
        gbps=judged.gbps,
        good_gbps=good,
        bad_gbps=bad,
        transport=judged.transport,
        proof=shown.quote,
        nixl=nixl,
        shapes=tuple(found),
        took_s=round(took_s, 1),
    )


def _asked(shape: netbench.Shape) -> dict[str, Any]:
    """A shape in the words of the probe."""
    return {
        "name": shape.name,
        "regions": shape.regions,
        "pool_blocks": shape.pool_blocks,
        "block_bytes": shape.block_bytes,
        "blocks": shape.blocks,
        "scattered": shape.scattered,
        "repeats": netbench.REPEATS,
        "budget_s": netbench.BUDGET_S,
    }


def line_of(shape: ev.NetBenchShape) -> str:
    """What a person reads about one shape."""
    size = f"{shape.descriptors:,} x {shape.block_bytes / 1024:,.0f} KiB"
    note = f"; {shape.note}" if shape.note else ""
    return (
        f"{shape.name:<18} {size:>20}  {shape.gbps:8.2f} GB/s  p50 {shape.transfer_p50_ms:,.2f}"
        f"  p99 {shape.transfer_p99_ms:,.2f}  posting {shape.post_p50_ms:,.2f} ms"
        f"  ({shape.transfers} transfers{note})"
    )


async def _stop(b: Bench, nodes: Mapping[str, NodeClient]) -> None:
    """Both ends, and their slots free again; an end that never started is passed over."""
    for name in {b.source.node, b.reader.node}:
        await nodes[name].stop([b.token(READER), b.token(SOURCE)], grace_s=2.0)
        slots = [slot.index for slot in (b.source, b.reader) if slot.node == name]
        await nodes[name].unlock(slots)


class _End:
    """One of the two processes, read record by record."""

    def __init__(self, b: Bench, name: str, slot: Slot, client: NodeClient) -> None:
        self._b = b
        self._name = name
        self._slot = slot
        self._client = client
        self._token = b.token(name)
        self._offset = 0
        self._rest = b""
        self._records: list[dict[str, Any]] = []

    async def start(self, role: dict[str, Any], log_offset: Follow | None) -> None:
        b = self._b
        spec = {
            **role,
            "name": f"{self._name}-{b.run}",
            "backend": b.network.backend,
            "memory": b.memory,
            "bytes": max(shape.pool_bytes for shape in b.shapes),
            "seed": f"{b.session}/{b.run}",
        }
        await self._client.start(
            ProcessSpec(
                token=self._token,
                session=b.session,
                argv=in_python_of(
                    engine_command(b.cluster)[0], "@agent@", "nixl-probe", "@dir@/spec.json"
                ),
                env=self._env(),
                slots=(self._slot.index,),
                files={"spec.json": json.dumps(spec)},
                records=True,
            )
        )
        if log_offset is not None:
            offset = log_offset(self._client.node, self._token)
            await self._client.follow(self._token, log_offset=offset)

    def _env(self) -> dict[str, str]:
        b = self._b
        return {
            "NIXL_LOG_LEVEL": "INFO",
            **b.cluster.env,
            **b.network.env,
            **device_env(b.node(self._slot), (self._slot.index,)),
            "UCX_PROTO_INFO": "y",
            "UCX_LOG_FILE": f"@dir@/{UCX_LOG}",
        }

    async def next(self, kind: str, wait_s: float) -> dict[str, Any]:
        """The next record, which has to be of this kind."""
        give_up = time.monotonic() + wait_s
        while not self._records:
            ended = await self._ended()  # before reading: its last words are then there
            await self._read()
            if self._records:
                break
            if ended is not None:
                raise MeasureError(f"{self._who} {await self._death(ended)}")
            if time.monotonic() > give_up:
                raise MeasureError(
                    f"{self._who} has said nothing for {wait_s:.0f} s; see its log, and whether "
                    f"{self._client.node} is overloaded"
                )
            await asyncio.sleep(POLL_S)
        record = self._records.pop(0)
        if record["record"] == "fatal":
            raise MeasureError(f"{self._who} gave up: {record['message']}{await self._ucx_said()}")
        if record["record"] != kind:
            raise MeasureError(f"{self._who} said {record['record']} where {kind} was due")
        return record

    async def until_ended(self, wait_s: float) -> None:
        """Also where it does not end: then it is ended by force, and its last bytes may lack."""
        give_up = time.monotonic() + wait_s
        while time.monotonic() < give_up:
            if await self._ended() is not None:
                return
            await asyncio.sleep(POLL_S)

    async def printed_by_ucx(self) -> str:
        printed = b""
        try:
            while len(printed) < LOG_BYTES:
                more = await self._client.read(self._token, UCX_LOG, len(printed))
                if not more:
                    break
                printed += more
        except RemoteError as e:
            if e.kind != "missing":
                raise
            # Another backend than UCX, or one that did not come so far.
        return printed.decode(errors="replace")

    @property
    def _who(self) -> str:
        b = self._b
        return f"Network test over {b.network.name}: its {self._name} on {self._slot}"

    async def _read(self) -> None:
        data = await self._client.read(self._token, "records", self._offset)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._records += [json.loads(line) for line in lines]

    async def _ended(self) -> ProcessInfo | None:
        infos = await self._client.processes()
        info = next((info for info in infos if info.token == self._token), None)
        return info if info is not None and info.state != "running" else None

    async def _death(self, info: ProcessInfo) -> str:
        lines = [line.strip() for line in info.last_log.splitlines() if line.strip()]
        said = f"; its last lines: {' / '.join(lines[-LAST_LINES:])}" if lines else ""
        how = info.reason or f"ended with exit code {info.exit_code}"
        return f"{how}{said}{await self._ucx_said()}"

    async def _ucx_said(self) -> str:
        """Its last complaints."""
        printed = await self.printed_by_ucx()
        complaints = [x.strip() for x in printed.splitlines() if " ERROR " in x or " WARN " in x]
        return f"; UCX said: {' / '.join(complaints[-LAST_LINES:])}" if complaints else ""
