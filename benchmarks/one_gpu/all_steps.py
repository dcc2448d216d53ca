"""The console's own path end to end on this one machine: `python all_steps.py gpu|cpu OUT`.

Starts the ssh door, makes a workspace in OUT, and carries out, each step with a time limit of its
own and whatever became of the one before it: facts of the machine, check, one completion, the
experiment (P+D against collocated), validation over two networks, the network test, `vllm bench
serve` on a server of the console, and on a GPU with time left the shape of gpt-oss-120b. OUT/steps
has a log of each, OUT/steps.jsonl a line of each. Run again, with what --only names, it goes on in
the same workspace.

HOME must hold what the profiles beside this file name: pdconsole-engine/random-llama on a GPU
(make_model.py); pdconsole-engine/bin and /tiny for the rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PORT = 2222


class Hardware(NamedTuple):
    cluster: str
    model: str
    network: str
    other_network: str
    experiment: str
    beside: str
    url: str  # of the first worker
    compare: tuple[str, ...]  # arguments of against_bench_serve.py


class Step(NamedTuple):
    name: str
    argv: list[str]
    limit_s: float
    needs_left_s: float = 0.0  # skipped where less of the whole time is left


HARDWARE = {
    "gpu": Hardware(
        cluster="one-gpu",
        model="random-llama",
        network="cuda-ipc",
        other_network="tcp",
        experiment="one-gpu",
        beside="one-gpu-beside-bench-serve",
        url="http://127.0.0.1:8100",
        compare=(
            *("--model", "random-llama", "--tokenizer", "~/pdconsole-engine/random-llama"),
            *("--vocab", "3", "31999", "--input-len", "1000", "--output-len", "100"),
            *("--concurrency", "32", "8", "--rounds", "6", "--window-requests", "480"),
            *("--budget-s", "250"),
        ),
    ),
    "cpu": Hardware(
        cluster="one-cpu",
        model="tiny",
        network="shm",
        other_network="tcp",
        experiment="one-cpu",
        beside="one-cpu-beside-bench-serve",
        url="http://127.0.0.1:8100",
        compare=(
            *("--model", "tiny", "--tokenizer", "~/pdconsole-engine/tiny"),
            *("--vocab", "2", "1023", "--input-len", "300", "--output-len", "16"),
            *("--concurrency", "2", "--rounds", "3", "--window-requests", "16"),
            *("--budget-s", "240"),
        ),
    ),
}


def steps(kind: str, workspace: Path, out: Path, engine_python: str) -> list[Step]:
    hw = HARDWARE[kind]
    console = [sys.executable, "-m", "pdconsole", "-w", str(workspace)]
    where = ["--cluster", hw.cluster, "--model", hw.model]
    compare = [
        *(sys.executable, str(HERE / "against_bench_serve.py"), hw.url, *hw.compare),
        *("--engine-python", engine_python, "--out", str(out / "against_bench_serve.json")),
    ]
    beside = [sys.executable, str(HERE / "while_paused.py"), str(workspace), hw.beside, *compare]
    networks = ["--network", hw.network, "--network", hw.other_network]
    found = [
        Step("facts", ["sh", "-c", FACTS], 60),
        Step("check", [*console, "check", hw.experiment, "--all"], 120),
        Step("experiment", [*console, "run", hw.experiment, "--plain"], 900),
        Step(
            "validate",
            [
                *(*console, "validate", "1P-TP1+1D-TP1", *where, "--network", hw.network),
                *("--other-network", hw.other_network, "--json"),
            ],
            420,
        ),
        Step("netbench", [*console, "netbench", *where, *networks, "--json"], 180),
        Step("beside-bench-serve", beside, 780),
    ]
    if kind == "gpu":
        found.append(Step("gpt-oss-shape", [*console, "run", "gpt-oss-shape", "--plain"], 260, 200))
    return found


FACTS = """
uname -a; nproc; free -g; df -h /tmp; python3 --version
nvidia-smi; nvidia-smi topo -m
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,power.limit --format=csv
ulimit -a; env | cut -d= -f1 | sort | tr '\\n' ' '
"""


@contextmanager
def door(logins: list[str], log: Path) -> Iterator[None]:
    command = [sys.executable, str(HERE / "ssh_door.py"), str(Path.home() / "pdconsole-door")]
    command += [word for change in logins for word in ("--env", change)]
    if _listens():
        sys.exit(f"something listens at port {PORT} already: a door that is still open?")
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while not _listens():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the ssh door did not open: {log.read_text()[-1000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def make_workspace(workspace: Path) -> None:
    workspace.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "profiles", workspace / "profiles", dirs_exist_ok=True)


class Carried:
    """Carries steps out one after the other, and writes down how each went."""

    def __init__(self, out: Path, workspace: Path, cluster: str, whole_s: float) -> None:
        self._out = out
        self._console = [sys.executable, "-m", "pdconsole", "-w", str(workspace)]
        self._cluster = cluster
        self._until = time.monotonic() + whole_s

    def out(self, step: Step) -> None:
        left_s = self._until - time.monotonic()
        if left_s < max(step.needs_left_s, 20.0):
            self._tell(step, outcome=f"skipped: {left_s:.0f} s left")
            return
        self._tell(step, outcome="begun")
        began = time.monotonic()
        code = self._run(step.name, step.argv, min(step.limit_s, left_s))
        outcome = "timed out" if code is None else f"exit {code}"
        self._tell(step, outcome=outcome, seconds=round(time.monotonic() - began, 1))
        if code != 0:
            self._run(f"{step.name}.stop", [*self._console, "stop", "--now"], 60)
        if step.name not in ("facts", "check"):
            self._run(
                f"{step.name}.clean",
                [*self._console, "clean", self._cluster, "--live", "--yes"],
                60,
            )

    def _run(self, name: str, argv: list[str], limit_s: float) -> int | None:
        """The exit status; None where it took too long and was ended."""
        with (self._out / "steps" / f"{name}.log").open("ab") as log:
            log.write(f"$ {shlex.join(argv)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            return None

    def _tell(self, step: Step, **facts: object) -> None:
        line = json.dumps({"step": step.name, "at": time.strftime("%H:%M:%S"), **facts})
        print(line, flush=True)
        with (self._out / "steps.jsonl").open("a") as file:
            file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=sorted(HARDWARE))
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", help="these steps")
    parser.add_argument("--whole-s", type=float, default=3600.0, help="for all steps")
    parser.add_argument("--login-env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--engine-python", default="python3", help="a command with vLLM in it")
    asked = parser.parse_args()
    out = asked.out.resolve()
    (out / "steps").mkdir(parents=True, exist_ok=True)
    workspace = out / "workspace"
    make_workspace(workspace)
    wanted = steps(asked.kind, workspace, out, asked.engine_python)
    if asked.only:
        wanted = [step for step in wanted if step.name in asked.only]
    carried = Carried(out, workspace, HARDWARE[asked.kind].cluster, asked.whole_s)
    with door(asked.login_env, out / "door.log"):
        for step in wanted:
            carried.out(step)
    print("all steps done", flush=True)


if __name__ == "__main__":
    main()
