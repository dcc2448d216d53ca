from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdconsole.sim import nvidia_smi
from pdconsole.sim.gpus import GpuMemoryError, GpuUse

CSV = "--format=csv,noheader,nounits"
NAME = "NVIDIA H100 80GB HBM3 (simulated)"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "gpus").mkdir()
    lines = [f"{i},GPU-{i},81559,{NAME},570.1\n" for i in range(3)]
    (tmp_path / "gpus" / "inventory").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def used(node: Path) -> GpuUse:
    """GPUs 1 and 2, by this process, half of the last second busy with decoding."""
    use = GpuUse({"PDCONSOLE_SIM_NODE_DIR": str(node), "CUDA_VISIBLE_DEVICES": "1,2"}, 2)
    use.occupy(70_000)
    use.publish(10.0, 0.0, 0.0)
    use.publish(11.0, 0.5, 0.0)
    return use


def ask(node: Path, *argv: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", nvidia_smi.__file__, *argv],
        env={"PDCONSOLE_SIM_NODE_DIR": str(node)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.usefixtures("used")
def test_fields_come_in_the_order_asked(node: Path) -> None:
    fields = "index,name,uuid,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw"
    assert ask(node, f"--query-gpu={fields},driver_version", CSV) == [
        f"0, {NAME}, GPU-0, 81559, 4, 0, 31, 118.00, 570.1",
        f"1, {NAME}, GPU-1, 81559, 71214, 50, 41, 288.00, 570.1",
        f"2, {NAME}, GPU-2, 81559, 71214, 50, 41, 288.00, 570.1",
    ]
    assert ask(node, "--query-gpu=memory.used,index", "--format=csv") == [
        "memory.used, index",
        "4 MiB, 0",
        "71214 MiB, 1",
        "71214 MiB, 2",
    ]
    assert ask(node, "-L")[0] == f"GPU 0: {NAME} (UUID: GPU-0)"


@pytest.mark.usefixtures("used")
def test_processes_are_those_that_live(node: Path) -> None:
    query = "--query-compute-apps=gpu_uuid,pid,used_memory,process_name"
    me = os.getpid()
    assert ask(node, query, CSV) == [
        f"GPU-1, {me}, 71210, VLLM::Worker_TP0 (simulated)",
        f"GPU-2, {me}, 71210, VLLM::Worker_TP1 (simulated)",
    ]
    mine = node / "gpus" / "1" / str(me)
    born, _, rest = mine.read_text().partition(",")
    mine.write_text(f"{int(born) - 1},{rest}")  # as if the pid had been another process's
    assert len(ask(node, query, CSV)) == 1


def test_use_ends_with_its_process(node: Path, used: GpuUse) -> None:
    used.clear()
    assert ask(node, "--query-gpu=memory.used", CSV) == ["4", "4", "4"]


def test_it_repeats_until_it_is_ended(node: Path) -> None:
    argv = [sys.executable, "-I", "-S", "-E", nvidia_smi.__file__, "--query-gpu=index", CSV]
    with subprocess.Popen(
        [*argv, "--loop-ms=20"],
        env={"PDCONSOLE_SIM_NODE_DIR": str(node)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(7)] == list("0120120")
        process.stdout.close()
        assert process.wait(10) == 0


def test_an_unknown_field_is_an_error(node: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        ask(node, "--query-gpu=index,colour", CSV)
    assert 'Field "colour" is not a valid field to query' in failed.value.stderr


@pytest.mark.usefixtures("used")
def test_a_gpu_in_use_has_too_little_memory_for_another(node: Path) -> None:
    second = GpuUse({"PDCONSOLE_SIM_NODE_DIR": str(node), "CUDA_VISIBLE_DEVICES": "0,1"}, 2)
    with pytest.raises(GpuMemoryError, match=r"Free memory on device cuda:1 \(10.10/79.65 GiB\)"):
        second.check_free(0.9)
