"""Files of network tests beside those of points."""

from __future__ import annotations

import json
from pathlib import Path

from pdconsole.model.events import NetBenchResult
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy, Workload
from pdconsole.results import RunFacts, read_directory
from pdconsole.results.facts import RunRecord
from pdconsole.results.network_tests import write_network_test

GRID = Grid(nodes=(GridNode(name="a", slots=2),))


def written(root: Path, wall: float) -> Path:
    run = RunPlan(
        id="1",
        placement=place(parse_layout("1P-TP1+1D-TP1"), GRID, "pack"),
        network="shm",
        workload=Workload(name="w", input_len=300, output_len=1),
        points=(),
        result_dir="tiny_netbench_pack-shm_p1xtp1-d1xtp1",
    )
    facts = RunFacts(
        session="s",
        experiment="network-bandwidth-test",
        cluster="c",
        model="m",
        simulated=False,
        policy=MeasurePolicy(),
    )
    result = NetBenchResult(
        run="1",
        network="shm",
        backend="UCX",
        source="a:0",
        reader="a:1",
        memory="DRAM",
        verdict="ok",
        message="2.50 GB/s over shm",
        gbps=2.5,
        good_gbps=2.0,
        bad_gbps=1.0,
    )
    return write_network_test(root, RunRecord(plan=run, facts=facts), result, wall)


def test_each_test_has_a_file_of_its_own(tmp_path: Path) -> None:
    first, second = written(tmp_path, 0.0), written(tmp_path, 61.0)
    assert first.name == "netbench_shm_19700101T000000Z.json"
    assert first.parent == second.parent
    assert first != second
    document = json.loads(first.read_text())
    assert document["network_test"] == 1
    assert document["gbps"] == 2.5
    assert document["placement"]["replicas"] == "P1=a:0 D1=a:1"


def test_readers_of_points_pass_them_over(tmp_path: Path) -> None:
    directory = written(tmp_path, 0.0).parent
    assert read_directory(directory) == ([], [])
