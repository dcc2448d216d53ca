"""The probe with a NIXL of paper: does it see what a transfer did wrong?"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdconsole.agent import nixl_probe
from pdconsole.agent.nixl_probe import PERIOD, Expected, HostMemory, descriptor_ids, pattern

BLOCK = 4096
SHAPES = [
    {"name": "near", "regions": 4, "pool_blocks": 8, "block_bytes": BLOCK, "blocks": 5},
    {"name": "far", "regions": 2, "pool_blocks": 300, "block_bytes": BLOCK, "blocks": 100},
]
SIZE = 2 * 300 * BLOCK

Copy = Callable[[list[int], list[int]], list[tuple[int, int]]]


class PaperNixl:
    """Two memories of this process; a READ is done by `copies`, at once or wrongly."""

    def __init__(self, memory: HostMemory, theirs: bytes, copies: Copy) -> None:
        self._memory, self._theirs, self._copies = memory, theirs, copies

    def get_xfer_descs(self, blocks: list[tuple[int, int, int]], _kind: str) -> Any:
        return blocks

    def prep_xfer_dlist(self, _whose: str, blocks: Any) -> Any:
        return blocks

    def release_dlist_handle(self, _handle: Any) -> None: ...

    def release_xfer_handle(self, _handle: Any) -> None: ...

    def make_prepped_xfer(
        self, kind: str, local: Any, mine: list[int], remote: Any, theirs: list[int], _notif: bytes
    ) -> Any:
        assert kind == "READ"
        assert len(mine) == len(theirs)
        return local, remote, self._copies(mine, theirs)

    def transfer(self, handle: Any) -> str:
        local, remote, copies = handle
        for mine, theirs in copies:
            at, size, _ = local[mine]
            offset = remote[theirs][0]
            at -= self._memory.address
            self._memory._view[at : at + size] = self._theirs[offset : offset + size]
        return "PROC"

    def check_xfer_state(self, _handle: Any) -> str:
        return "DONE"

    def get_xfer_telemetry(self, _handle: Any) -> Any:
        raise RuntimeError("no telemetry")


def read(copies: Copy, shape: dict[str, Any]) -> dict[str, Any]:
    memory = HostMemory(SIZE)
    whole = pattern("seed")
    theirs = (whole * (SIZE // PERIOD + 1))[:SIZE]
    reading = nixl_probe.Reading(
        PaperNixl(memory, theirs, copies),
        memory,
        "peer",
        {"address": 0, "device": 0, "memory": "DRAM"},
        {**shape, "scattered": shape["name"] == "far", "repeats": 4, "budget_s": 0.0},
        Expected("seed"),
    )
    return reading.run()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s["name"])
def test_a_healthy_transfer_is_whole(shape: dict[str, Any]) -> None:
    record = read(lambda mine, theirs: list(zip(mine, theirs, strict=True)), shape)
    assert record["bad_blocks"] == 0
    assert record["checked_blocks"] == 2 * shape["regions"] * shape["blocks"]
    assert len(record["transfer_ms"]) == nixl_probe.LEAST_REPEATS
    assert record["posted_descriptors"] is None


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s["name"])
def test_two_blocks_swapped_are_seen(shape: dict[str, Any]) -> None:
    def swapped(mine: list[int], theirs: list[int]) -> list[tuple[int, int]]:
        return list(zip(mine, [theirs[1], theirs[0], *theirs[2:]], strict=True))

    record = read(swapped, shape)
    assert record["bad_blocks"] == 4  # in the first and in the last transfer
    assert "region 0" in record["first_bad"]


def test_a_block_that_did_not_come_is_seen_though_it_came_before() -> None:
    calls = []

    def forgetful(mine: list[int], theirs: list[int]) -> list[tuple[int, int]]:
        calls.append(1)
        pairs = list(zip(mine, theirs, strict=True))
        last = len(calls) == 1 + nixl_probe.LEAST_REPEATS + 1
        return pairs[:-1] if last else pairs

    assert read(forgetful, SHAPES[0])["bad_blocks"] == 1


def test_blocks_of_a_request_have_the_same_numbers_in_every_region() -> None:
    for scattered in (False, True):
        mine, theirs = descriptor_ids({**SHAPES[1], "scattered": scattered})
        for ids in (mine, theirs):
            assert len(set(ids)) == 200
            assert [i - 300 for i in ids[100:]] == ids[:100]
        assert mine != theirs


def test_without_nixl_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nixl", types.ModuleType("nixl"))
    spec = {"role": "offer", "name": "x", "backend": "UCX", "memory": "DRAM", "bytes": 4096}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(nixl_probe.os, "dup2", lambda *_: None)
    monkeypatch.setattr(nixl_probe.signal, "signal", lambda *_: None)
    assert nixl_probe.main([str(tmp_path / "spec.json")]) == 1
    record = json.loads(capfd.readouterr().out)
    assert record["record"] == "fatal"
    assert "has no NIXL" in record["message"]
