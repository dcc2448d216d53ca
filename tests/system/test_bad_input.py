"""Mistakes and faults: a clear sentence, an exit code, nothing left running or half-made."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from console import Console

pytestmark = pytest.mark.slow

ONE = (
    "pd-ratio-sweep",
    "--quick",
    "--layout=1P-TP1+1D-TP1",
    "--concurrency=1",
    "--min-window=1",
)


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode not in (0, 2), done.stdout
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    for word in says:
        assert word in text, text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "pd-ratio-sweep", "--layout", "3Q-TP2"), ("3Q-TP2",)),
        (("run", "pd-ratio-sweep", "--layout", "8P-TP4+1D-TP4"), ("GPUs",)),
        (("run", "pd-ratio-swep"), ("pd-ratio-sweep",)),
        (("run", "pd-ratio-sweep", "--cluster", "nowhere"), ("nowhere", "embedded")),
        (("run", "pd-ratio-sweep", "--network", "srdd"), ("srd",)),
        (("run", "network-bandwidth-test"), ("NIXL",)),
        (("run", "--resume", "nothing"), ("no sessions",)),
        (("watch", "nothing"), ("sessions",)),
        (("stop",), ("nothing is running",)),
        (("compare", "nowhere"), ("nowhere",)),
        (("-w", "/nonexistent", "sessions"), ("/nonexistent", "init")),
    ],
)
def test_words_that_cannot_be(
    console: Console, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    refused(console.run(*words), *says)
    assert not list(console.workspace.glob("sessions/*"))
    assert not list(console.workspace.glob("bm_results/*"))


def test_a_profile_with_a_mistake_names_file_line_and_field(console: Console) -> None:
    console.change("clusters", "embedded", lease_secs=3)
    done = console.run("run", *ONE)
    refused(done, "embedded.yaml", "lease_secs", "lease_s")
    checked = console.run("profiles", "check")
    refused(checked, "embedded.yaml", "lease_s")


def test_a_node_that_does_not_answer_is_named(console: Console) -> None:
    node = {"name": "far", "host": "127.0.0.1", "port": 1, "gpus": 8}
    node |= {"gpu_model": "NVIDIA H100 80GB HBM3", "gpu_memory_mib": 81559}
    console.change("clusters", "embedded", simulated=False, nodes=[node])
    done = console.run("run", *ONE)
    refused(done, "far", "refused")
    assert done.returncode == 3
    listed = json.loads(console.run("sessions", "--json").stdout)
    assert [s["status"] for s in listed] == ["failed"]


@pytest.mark.parametrize("fault", ["die", "oom"])
def test_a_worker_that_dies_at_start_shows_its_last_words(console: Console, fault: str) -> None:
    console.change("clusters", "embedded", env={"PDCONSOLE_SIM_FAULT": fault})
    done = console.run("run", *ONE, "--plain")
    refused(done, "node1", "failed")
    assert done.returncode == 3
    assert console.ours() == {}
    assert not list(console.workspace.glob("bm_results/*"))


def test_an_occupied_gpu_names_its_holder(console: Console, tmp_path: Path) -> None:
    console.small_requests()
    assert console.run("run", *ONE, "--min-window=20", "--detach").returncode == 0
    console.wait_for(lambda _: console.ours())
    other = tmp_path / "other"
    other.mkdir()
    done = console.run("-w", str(other), "run", *ONE)
    refused(done, "node1", "GPU", "pd-ratio-sweep")
    assert console.ours(), "the session that held the GPUs must not suffer"
    console.run("stop", "--now")


def test_a_full_disk_ends_the_session_and_leaves_whole_files(console: Console) -> None:
    console.small_requests()
    assert console.run("clean").returncode == 0  # the nodes are up, and have room
    # A limit on the size of any one file stands for a disk that fills up.
    limit = 60_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = console.start("run", *ONE, "--min-window=60", preexec_fn=small_files)
    out, err = process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert "Traceback" not in out + err
    assert "events.jsonl" in out + err
    assert console.ours() == {}
    recorded = (console.session() / "events.jsonl").read_bytes()
    assert recorded.endswith(b"\n")
    assert all(json.loads(line) for line in recorded.splitlines())


def test_output_that_cannot_be_written_is_a_sentence(console: Console) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pdconsole", "sessions"],
            cwd=console.workspace,
            env=console.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "pdconsole: No space left on device: standard output\n"
