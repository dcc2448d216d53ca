from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.events import NetBenchShape
from pdconsole.model.netbench import (
    CLASSIC,
    MIB,
    Proof,
    geometry,
    judge,
    measured,
    proof,
    shapes,
)

GPT_OSS = geometry(layers=36, kv_bytes_per_token=73728, kv_heads=8, tp=1, block_tokens=16)

# What UCX 1.21 prints with UCX_PROTO_INFO=y, shortened.
TABLES = """\
[1795522792.768047] [vm:13557:0]   +--------+-------------+-----------------------------------+
[1795522792.768047] [vm:13557:0]   | I self cfg#0                                             |
[1795522792.768047] [vm:13557:0]   | remote memory read by ucp_get* into host memory from host |
[1795522792.768047] [vm:13557:0]   +--------+-------------+-----------------------------------+
[1795522792.768047] [vm:13557:0]   | Range  | Description |              Config               |
[1795522792.768047] [vm:13557:0]   +--------+-------------+-----------------------------------+
[1795522792.768047] [vm:13557:0]   | 0..inf | zero-copy   | self/memory                       |
[1795522792.768047] [vm:13557:0]   +--------+-------------+-----------------------------------+
[1795522792.783359] [vm:13557:0]   +------------+--------------------+---------------+
[1795522792.783359] [vm:13557:0]   | I intra-node cfg#1                              |
[1795522792.783359] [vm:13557:0]   | active message by ucp_am_send* from host memory |
[1795522792.783359] [vm:13557:0]   +------------+--------------------+---------------+
[1795522792.783359] [vm:13557:0]   |   Range    |    Description     |    Config     |
[1795522792.783359] [vm:13557:0]   +------------+--------------------+---------------+
[1795522792.783359] [vm:13557:0]   |          0 | short              | tcp/lo        |
[1795522792.783359] [vm:13557:0]   |   1..16515 | zero-copy          | tcp/lo        |
[1795522792.783359] [vm:13557:0]   | 16516..inf | multi-frag copy-in | tcp/lo        |
[1795522792.783359] [vm:13557:0]   +------------+--------------------+---------------+
"""
READS = """\
[1795522793.554285] [vm:13557:{thread}]   +--------+-------------+--------------+
[1795522793.554285] [vm:13557:{thread}]   | I inter-node cfg#{thread}           |
[1795522793.554285] [vm:13557:{thread}]   | remote memory read by ucp_get*(multi) into cuda/GPU0 |
[1795522793.554285] [vm:13557:{thread}]   +--------+-------------+--------------+
[1795522793.554285] [vm:13557:{thread}]   | Range  | Description | Config       |
[1795522793.554285] [vm:13557:{thread}]   +--------+-------------+--------------+
[1795522793.554285] [vm:13557:{thread}]   | 0..8191 | software emulation | tcp/eth0 |
[1795522793.554285] [vm:13557:{thread}]   | 8192..inf | zero-copy | {by} |
[1795522793.554285] [vm:13557:{thread}]   +--------+-------------+--------------+
"""

# What UCX 1.23 prints on 1 x H100 80GB, VRAM to VRAM over cuda_ipc, shortened: its tables of
# active messages have no range there, and so no ruler at their end.
ON_A_GPU = """\
[1795531594.505545] [vm:974  :0]   +-------+-------------+---------------------------+
[1795531594.505545] [vm:974  :0]   | reader-1 self cfg#0                             |
[1795531594.505545] [vm:974  :0]   | active message by ucp_am_send* from host memory |
[1795531594.505545] [vm:974  :0]   +-------+-------------+---------------------------+
[1795531594.505545] [vm:974  :0]   | Range | Description |          Config           |
[1795531594.505545] [vm:974  :0]   +-------+-------------+---------------------------+
[1795531594.718126] [vm:946  :0]   +--------+-------------+------------------------------------------------+
[1795531594.718126] [vm:946  :0]   | reader-1 intra-node cfg#2                                             |
[1795531594.718126] [vm:946  :0]   | remote memory read by ucp_get*(multi) into cuda/GPU0 from cuda/dev[1] |
[1795531594.718126] [vm:946  :0]   +--------+-------------+------------------------------------------------+
[1795531594.718126] [vm:946  :0]   | Range  | Description |                     Config                     |
[1795531594.718126] [vm:946  :0]   +--------+-------------+------------------------------------------------+
[1795531594.718126] [vm:946  :0]   | 0..inf | zero-copy   | cuda_ipc/cuda                                  |
[1795531594.718126] [vm:946  :0]   +--------+-------------+------------------------------------------------+
"""  # noqa: E501


def test_the_transport_is_the_one_of_reads_from_the_peer() -> None:
    by = "50% on srd/rdmap0:1 and 50% on srd/rdmap1:1"
    shown = proof(TABLES + READS.format(thread=1, by=by) + READS.format(thread=2, by=by))
    assert len(shown.quote) == 5, "each table once, whichever thread printed it"
    large, small = shown.of_size(16384), shown.of_size(100)
    assert large is not None
    assert (large.how, large.by, large.transports) == ("zero-copy", by, ("srd",))
    assert small is not None
    assert small.transports == ("tcp",)


def test_a_table_without_ranges_hides_none_of_those_after_it() -> None:
    used = proof(ON_A_GPU).of_size(16384)
    assert used is not None
    assert (used.how, used.transports) == ("zero-copy", ("cuda_ipc",))


def test_nothing_printed_proves_nothing() -> None:
    assert proof("") == Proof()
    assert proof(TABLES).of_size(16384) is None


def test_a_descriptor_is_a_block_of_one_region() -> None:
    # 16 tokens x 8 KV heads x head size 64 x 2 bytes, of K or of V of one layer.
    assert GPT_OSS.block_bytes == 16384
    by_name = {shape.name: shape for shape in shapes(GPT_OSS, 5000, 8 << 30)}
    request = by_name["request"]
    assert (request.regions, request.blocks) == (72, 313)
    assert request.bytes == 313 * 16 * 73728
    classic = by_name[CLASSIC]
    assert (classic.layers, classic.pool_blocks, classic.blocks) == (50, 3750, 512)
    assert classic.note == ""
    assert by_name["one piece"].descriptors == 1
    assert by_name["one piece"].bytes == request.bytes


def test_ranks_share_the_heads_as_far_as_there_are_heads() -> None:
    def token_bytes(tp: int) -> int:
        return geometry(
            layers=36, kv_bytes_per_token=73728, kv_heads=8, tp=tp, block_tokens=16
        ).token_bytes

    assert [token_bytes(tp) for tp in (1, 2, 8, 16)] == [1024, 512, 128, 128]


@given(
    tokens=st.integers(1, 200_000),
    memory_mib=st.integers(64, 16_384),
    layers=st.integers(1, 100),
    block_tokens=st.sampled_from([16, 64, 128]),
)
def test_every_shape_fits_and_says_what_it_left_out(
    tokens: int, memory_mib: int, layers: int, block_tokens: int
) -> None:
    kv = geometry(
        layers=layers,
        kv_bytes_per_token=layers * 1024,
        kv_heads=4,
        tp=1,
        block_tokens=block_tokens,
    )
    for shape in shapes(kv, tokens, memory_mib * MIB):
        assert 1 <= shape.blocks <= shape.pool_blocks
        if shape.regions * 2 * shape.block_bytes <= memory_mib * MIB:
            assert shape.pool_bytes <= memory_mib * MIB
        if shape.name != "one piece":
            assert shape.regions == 2 * shape.layers


RECORD = {
    "transfer_ms": [2.0, 1.0, 4.0],
    "post_ms": [0.5, 0.5, 0.5],
    "make_ms": [0.1, 0.1, 0.1],
    "first_ms": 900.0,
    "posted_descriptors": 100,
    "checked_blocks": 200,
    "bad_blocks": 0,
    "first_bad": "",
}


def found(**changes: Any) -> list[NetBenchShape]:
    made = [measured(shape, RECORD) for shape in shapes(GPT_OSS, 5000, 8 << 30)]
    return [
        msgspec.structs.replace(shape, **changes) if shape.name == CLASSIC else shape
        for shape in made
    ]


def judged(by: str = "srd/rdmap0:1", **changes: Any) -> Any:
    return judge(
        found(**changes),
        proof(READS.format(thread=1, by=by)),
        network="srd",
        good_gbps=10.0,
        bad_gbps=1.0,
        crosses_nodes=True,
        in_gpu_memory=True,
    )


def test_bandwidth_is_bytes_over_the_median_transfer() -> None:
    classic = next(shape for shape in found() if shape.name == CLASSIC)
    assert classic.bytes == 2 * 50 * 512 * 16384
    assert classic.gbps == pytest.approx(classic.bytes / 2e-3 / 1e9)


@pytest.mark.parametrize(
    ("gbps", "verdict"), [(10.0, "ok"), (9.99, "warn"), (1.0, "warn"), (0.99, "fail")]
)
def test_the_verdict_follows_the_thresholds(gbps: float, verdict: str) -> None:
    said = judged(gbps=gbps)
    assert said.verdict == verdict
    assert "srd/rdmap0:1" in said.message
    assert bool(said.advice) == (verdict != "ok")


def test_a_fallback_is_called_another_transport() -> None:
    said = judged(by="tcp/ens32", gbps=0.5)
    assert "another transport" in said.message
    assert "UCX_TLS" in said.advice
    assert "SRD" in judged(by="ud_verbs/rdmap0:1", gbps=0.5).advice
    busy = judged(gbps=0.5)
    assert "another transport" not in busy.message
    assert "meanwhile" in busy.advice


def test_damage_fails_at_any_speed() -> None:
    said = judged(gbps=50.0, bad_blocks=3, first_bad="block 7 of region 2 into block 9")
    assert said.verdict == "fail"
    assert "block 7 of region 2" in said.message
