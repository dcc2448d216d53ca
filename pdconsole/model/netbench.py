"""A network test: what is read, how fast it was, and what that says of the network. Pure.

NIXL moves a KV cache as vLLM lays it out: K and V of every layer are a region each, a region is an
array of blocks, and a block of one region is one descriptor. The blocks of a request have the same
numbers in every region.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pdconsole.model.events import NetBenchShape, Verdict
from pdconsole.model.statistics import percentiles

MIB = 1 << 20
GPU_BLOCK_TOKENS = 16  # what vLLM takes by itself
CPU_BLOCK_TOKENS = 128

# The shape that bandwidths of KV transfers are usually quoted for, and thresholds were made from.
CLASSIC = "classic"
CLASSIC_LAYERS, CLASSIC_POOL, CLASSIC_MOVED = 50, 3750, 512
LARGER_BLOCKS = 4  # times as many tokens

REPEATS = 50
BUDGET_S = 1.0  # a shape; at least three transfers are made all the same


class KvGeometry(msgspec.Struct, frozen=True, kw_only=True):
    """The KV cache of one rank."""

    layers: int
    block_tokens: int
    token_bytes: int  # of one token in one region: KV heads of the rank x head size x bytes

    @property
    def block_bytes(self) -> int:
        return self.block_tokens * self.token_bytes

    def blocks(self, tokens: int) -> int:
        return max(1, -(-tokens // self.block_tokens))


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What one transfer moves: `blocks` of each of 2 x `layers` regions of `pool_blocks` blocks."""

    name: str
    layers: int
    block_tokens: int
    block_bytes: int
    blocks: int
    pool_blocks: int
    scattered: bool  # at random places; else neighbours, which NIXL may merge
    regions: int
    note: str = ""

    @property
    def descriptors(self) -> int:
        return self.regions * self.blocks

    @property
    def bytes(self) -> int:
        return self.descriptors * self.block_bytes

    @property
    def pool_bytes(self) -> int:
        return self.regions * self.pool_blocks * self.block_bytes


def geometry(
    *, layers: int, kv_bytes_per_token: int, kv_heads: int, tp: int, block_tokens: int
) -> KvGeometry:
    """Of one rank of a replica; ranks beyond the number of KV heads hold copies."""
    shared_by = min(tp, kv_heads)
    return KvGeometry(
        layers=layers,
        block_tokens=block_tokens,
        token_bytes=max(1, kv_bytes_per_token // (2 * layers * shared_by)),
    )


def shapes(kv: KvGeometry, tokens: int, memory_bytes: int) -> tuple[Shape, ...]:
    """What is tried for prompts of `tokens`; each fits `memory_bytes` on either end.

    A shape that would not fit moves fewer blocks, and says so.
    """
    larger = msgspec.structs.replace(kv, block_tokens=LARGER_BLOCKS * kv.block_tokens)
    classic = msgspec.structs.replace(kv, layers=CLASSIC_LAYERS)
    request = _shape("request", kv, kv.blocks(tokens), memory_bytes)
    return (
        _shape("one block", kv, 1, memory_bytes),
        _shape("short prompt", kv, kv.blocks(-(-tokens // 8)), memory_bytes),
        request,
        _shape("request, scattered", kv, kv.blocks(tokens), memory_bytes, scattered=True),
        _shape("larger blocks", larger, larger.blocks(tokens), memory_bytes, scattered=True),
        _shape(CLASSIC, classic, CLASSIC_MOVED, memory_bytes),
        _one_piece(request),
    )


def _shape(
    name: str, kv: KvGeometry, blocks: int, memory_bytes: int, *, scattered: bool = False
) -> Shape:
    regions = 2 * kv.layers
    pool = max(2, min(max(CLASSIC_POOL, 2 * blocks), memory_bytes // (regions * kv.block_bytes)))
    # Some are left out, so that no region's blocks are neighbours of the next one's.
    moved = min(blocks, max(1, pool * 3 // 4))
    return Shape(
        name=name,
        layers=kv.layers,
        block_tokens=kv.block_tokens,
        block_bytes=kv.block_bytes,
        blocks=moved,
        pool_blocks=pool,
        scattered=scattered,
        regions=regions,
        note=f"{moved:,} of {blocks:,} blocks: memory for no more" if moved < blocks else "",
    )


def _one_piece(request: Shape) -> Shape:
    """As many bytes in one descriptor: what the transport itself can do."""
    return msgspec.structs.replace(
        request,
        name="one piece",
        block_bytes=request.bytes,
        blocks=1,
        pool_blocks=1,
        scattered=False,
        regions=1,
        note="",
    )


def measured(shape: Shape, record: Mapping[str, Any]) -> NetBenchShape:
    """A shape with the statistics of what the probe timed.

    GB/s is bytes over the median transfer: from posting it to its end, as vLLM counts.
    """
    p50, p99 = percentiles(record["transfer_ms"], (50, 99))
    return NetBenchShape(
        name=shape.name,
        layers=shape.layers,
        block_tokens=shape.block_tokens,
        block_bytes=shape.block_bytes,
        blocks=shape.blocks,
        pool_blocks=shape.pool_blocks,
        scattered=shape.scattered,
        descriptors=shape.descriptors,
        bytes=shape.bytes,
        transfers=len(record["transfer_ms"]),
        gbps=shape.bytes / (p50 / 1e3) / 1e9,
        transfer_p50_ms=p50,
        transfer_p99_ms=p99,
        post_p50_ms=percentiles(record["post_ms"], (50,))[0],
        make_p50_ms=percentiles(record["make_ms"], (50,))[0],
        first_ms=record["first_ms"],
        posted_descriptors=record["posted_descriptors"],
        checked_blocks=record["checked_blocks"],
        bad_blocks=record["bad_blocks"],
        first_bad=record["first_bad"],
        note=shape.note,
    )


# --- the transport that was used ---


class Protocol(msgspec.Struct, frozen=True):
    """What UCX does with reads of a range of sizes."""

    first: int
    last: float  # inf: no end
    how: str  # "zero-copy"
    by: str  # "cuda_ipc/cuda", "tcp/eth0", several with their shares

    @property
    def transports(self) -> tuple[str, ...]:
        """`rc_mlx5` of `50% on rc_mlx5/mlx5_0:1 and 50% on …`."""
        found = re.findall(r"([A-Za-z]\w*)/[\w.:-]+", self.by)
        return tuple(dict.fromkeys(found))


_STAMP = re.compile(r"^\[[\d.]+\]\s+\[[^\]]*\]\s*")
_RANGE = re.compile(r"^\|\s*(\d+)(?:\.\.(\d+|inf))?\s*\|\s*(.*?)\s*\|\s*(.*?)\s*\|$")


class Proof(msgspec.Struct, frozen=True):
    """What UCX printed about reads of the peer's memory."""

    protocols: tuple[Protocol, ...] = ()
    quote: tuple[str, ...] = ()  # its own lines, each table once

    def of_size(self, size: int) -> Protocol | None:
        return next((p for p in self.protocols if p.first <= size <= p.last), None)


def proof(printed: str) -> Proof:
    """From the output of UCX_PROTO_INFO=y: the tables of remote memory reads of another process."""
    tables: dict[tuple[str, ...], None] = {}
    for table in _tables(printed):
        title = " ".join(table[:2])
        if "remote memory read" in title and " self cfg" not in title:
            # The number of the configuration differs from thread to thread, the rest seldom does.
            tables[(re.sub(r"cfg#\d+", "cfg", table[0]), *table[1:])] = None
    quote = [line for table in tables for line in table]
    protocols = [p for line in quote if (p := _protocol(line)) is not None]
    return Proof(tuple(dict.fromkeys(protocols)), tuple(quote))


def _tables(printed: str) -> Iterable[list[str]]:
    """Each without its rulers: two lines of title, the header and a line for every range.

    A table without ranges has no ruler at its end: the next table's follows the header's.
    """
    rows: list[str] = []
    rulers = 0
    after_ruler = False
    for line in printed.splitlines():
        text = _STAMP.sub("", line).strip()
        if text.startswith("+-"):
            rulers += 1
            if rulers > 3:
                yield rows
                rows, rulers = [], int(after_ruler)
            after_ruler = True
        elif text.startswith("|"):
            rows.append(text)
            after_ruler = False
    if rulers > 2:
        yield rows


def _protocol(line: str) -> Protocol | None:
    match = _RANGE.match(line)
    if match is None:
        return None
    first, last, how, by = match.groups()
    end = float("inf") if last == "inf" else float(last or first)
    return Protocol(int(first), end, how, by)


# --- the verdict ---


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    message: str
    gbps: float | None
    transport: str  # that reads blocks of this cache
    advice: str = ""


def judge(
    found: Sequence[NetBenchShape],
    shown: Proof,
    *,
    network: str,
    good_gbps: float,
    bad_gbps: float,
    crosses_nodes: bool,
    in_gpu_memory: bool,
) -> Judgement:
    """Against the network's thresholds, which are for the classic shape. Damage fails it at any
    speed."""
    classic = next(shape for shape in found if shape.name == CLASSIC)
    used = shown.of_size(classic.block_bytes * classic.blocks) or shown.of_size(classic.block_bytes)
    names = used.transports if used else ()
    transport = f"{used.by} ({used.how})" if used else ""
    damaged = [shape for shape in found if shape.bad_blocks]
    if damaged:
        first = damaged[0]
        return Judgement(
            verdict="fail",
            message=f"{first.bad_blocks:,} of {first.checked_blocks:,} blocks of {first.name} came "
            f"damaged over {network}, the first {first.first_bad}",
            gbps=classic.gbps,
            transport=transport,
            advice="trust nothing that is measured on this network; try another transport or "
            "another version of NIXL and UCX",
        )
    speed = (
        f"{classic.gbps:.2f} GB/s over {network}, by {transport or 'a transport UCX did not name'}"
    )
    if classic.gbps >= good_gbps:
        return Judgement(
            verdict="ok",
            message=f"{speed}: good, at least {good_gbps:g}",
            gbps=classic.gbps,
            transport=transport,
        )
    slow = not names or any(name.startswith(_SLOW) for name in names)
    advice = _SOMETHING_ELSE
    if slow:
        advice = _advice(names, crosses_nodes=crosses_nodes, in_gpu_memory=in_gpu_memory)
    if classic.gbps < bad_gbps:
        wrong = "; this is another transport than the good one" if slow else ""
        return Judgement(
            verdict="fail",
            message=f"{speed}: bad, below {bad_gbps:g}{wrong}",
            gbps=classic.gbps,
            transport=transport,
            advice=advice,
        )
    return Judgement(
        verdict="warn",
        message=f"{speed}: doubtful, between {bad_gbps:g} and {good_gbps:g}",
        gbps=classic.gbps,
        transport=transport,
        advice=advice,
    )


# Fallbacks: what is named like these is never the fast way between two replicas.
_SLOW = ("tcp", "ud", "sockcm")
_SOMETHING_ELSE = (
    "that is not a fallback, so look for what takes its cores, memory, links or GPUs meanwhile, "
    "and measure again"
)


def _advice(used: Sequence[str], *, crosses_nodes: bool, in_gpu_memory: bool) -> str:
    if any(name.startswith("ud") for name in used):
        return (
            "ud_verbs is not what EFA is fast by: build NIXL against a UCX with SRD (1.20 or "
            "newer) and name srd and srd_x in UCX_TLS"
        )
    if crosses_nodes:
        return (
            "look for the fast devices on both nodes (fi_info -p efa, ibv_devinfo), UCX built with "
            "SRD (ucx_info -d), memlock unlimited, a security group that lets the nodes talk, and "
            "for UCX_TLS or UCX_NET_DEVICES that leave them out"
        )
    if in_gpu_memory:
        return (
            "name cuda_ipc and cuda_copy in UCX_TLS, let P and D share the IPC namespace of one "
            "host, and where UCX sees no NVLink set UCX_CUDA_IPC_ENABLE_GET_ZCOPY=on"
        )
    return (
        "name shm (or sm) in UCX_TLS: between processes of one node shared memory is several times "
        "as fast as TCP"
    )
