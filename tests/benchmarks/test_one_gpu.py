"""The kit for one GPU: its profiles, its ssh door, and the arithmetic of its comparison."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import asyncssh
import pytest

from pdconsole.profiles import Profiles

KIT = Path(__file__).parents[2] / "benchmarks/one_gpu"
MEASURED = Path(__file__).parents[2] / "docs/against-bench-serve"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"one_gpu_{name}", KIT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_profiles_have_no_fault(tmp_path: Path) -> None:
    shutil.copytree(KIT / "profiles", tmp_path / "profiles")
    assert not Profiles.open(tmp_path).check()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[int]:
    with socket.socket() as any_free:
        any_free.bind(("127.0.0.1", 0))
        port = any_free.getsockname()[1]
    command = [sys.executable, str(KIT / "ssh_door.py"), str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--env", "ENGINE=here"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "listening" in process.stdout.readline()
    yield port
    process.terminate()
    assert process.wait(10) == 0


async def test_a_login_has_the_environment_asked_for_and_the_door_checks_keys(
    door: int, tmp_path: Path
) -> None:
    where = {"host": "127.0.0.1", "port": door, "known_hosts": str(tmp_path / "known_hosts")}
    async with asyncssh.connect(**where, client_keys=[str(tmp_path / "client_key")]) as login:
        done = await login.run("echo $ENGINE; exit 3")
    assert (done.stdout, done.exit_status) == ("here\n", 3)
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(**where, client_keys=[stranger])


def test_the_window_leaves_out_start_and_tail() -> None:
    compare = module("against_bench_serve")
    # Two in flight for a second each, but for a slow first pair and a slow tail.
    ends = [3.0, 3.0, *(float(second) for second in range(4, 14) for _ in "ab"), 20.0, 20.0]
    requests = [compare.Request(end - 1, 0.25, 1.0, 4, True) for end in ends]
    found = compare.steady(requests, 2, 16)
    assert found.request_throughput == pytest.approx(2.0)
    assert found.median_ttft_ms == pytest.approx(250.0)
    assert found.median_tpot_ms == pytest.approx(250.0)


def test_a_difference_has_an_interval_once_there_are_two_rounds() -> None:
    compare = module("against_bench_serve")
    assert compare.difference([(101.0, 100.0)])["low"] is None
    two = compare.difference([(101.0, 100.0), (103.0, 100.0)])
    assert two["mean"] == pytest.approx(2.0)
    assert two["low"] < 0 < two["high"]


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_measured_says_what_its_rounds_say(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = module("against_bench_serve")
    for result in json.loads(path.read_text())["results"]:
        for view, by_name in result["differences"].items():
            if view == "floor":
                continue
            for name, difference in by_name.items():
                pairs = [(run["A"][view][name], run["B"][view][name]) for run in result["rounds"]]
                found = compare.difference(pairs)
                for key in difference:
                    assert found[key] == pytest.approx(difference[key])
    compare.main(["show", str(path)])
    assert "in flight" in capsys.readouterr().out
