"""The load driver and `vllm bench serve` in turn on one simulated worker, whose speed is steady.

    nice -n -10 .venv/bin/python benchmarks/against_bench_serve_simulated.py OUT.json [arguments]

Starts `pdconsole.sim.worker` by hand, with the constants of gpt-oss-120b at TP2, on loopback, and
lets one_gpu/against_bench_serve.py take turns on it; `.engine` (sh tests/engine/install) has
`vllm bench serve`. Further arguments are those of that script, as --rounds 3. The server is a
model, no engine: what is compared are the two clients. Beside the figures OUT.json has what part
of a core the worker took, and how busy the machine was.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ENGINE_PYTHON = ROOT / ".engine/bin/python"
MODEL = "gpt-oss-120b"
TP = 2
READY_S = 60.0
COMPARE = (
    *("--vocab", "1000", "199997", "--input-len", "1000", "--output-len", "100"),
    *("--concurrency", "32", "8", "--rounds", "6", "--window-requests", "192"),
)


@contextmanager
def worker() -> Iterator[tuple[str, int]]:
    """The URL of a simulated worker that is ready, and its process id."""
    with socket.socket() as any_free:
        any_free.bind(("127.0.0.1", 0))
        port = any_free.getsockname()[1]
    profile = yaml.safe_load((ROOT / f"profiles/models/{MODEL}.yaml").read_text())
    env = os.environ | {"PDCONSOLE_SIM_ENGINE": json.dumps(profile["engine_model"])}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pdconsole.sim.worker", "serve", profile["source"]),
            *("--served-model-name", MODEL, "--port", str(port)),
            *("--tensor-parallel-size", str(TP), "--no-enable-prefix-caching"),
        ],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit(f"the simulated worker was not ready within {READY_S:g} s")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(arguments: list[str]) -> None:
    path = ROOT / "benchmarks/one_gpu/against_bench_serve.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(arguments)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit((__doc__ or "").partition("\n\n")[2].partition("\n\n")[0])
    out = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worker ends too
    if not ENGINE_PYTHON.exists():
        sys.exit("`vllm bench serve` is not here: sh tests/engine/install")
    with tempfile.TemporaryDirectory() as folder:
        # `vllm bench serve` wants a tokenizer, and counts nothing by it here.
        tiny = ROOT / "tests/engine/tiny_model.py"
        subprocess.run([ENGINE_PYTHON, tiny, folder], check=True, capture_output=True)
        print(f"simulated: {MODEL}, TP{TP}", flush=True)
        with worker() as (url, pid):
            before, began = cpu_s(pid), time.monotonic()
            compare(
                [
                    *(url, "--model", MODEL, "--tokenizer", folder, *COMPARE),
                    *("--engine-python", str(ENGINE_PYTHON), *sys.argv[2:], "--out", str(out)),
                ]
            )
            used = 100 * (cpu_s(pid) - before) / (time.monotonic() - began)
    document = json.loads(out.read_text())
    # Where it ran says nothing to others.
    for name in ("url", "tokenizer", "engine_python"):
        del document["asked"][name]
    server = f"pdconsole.sim.worker, {MODEL} TP{TP}"
    busy = {"cores": os.cpu_count(), "load_average": os.getloadavg()[2], "worker_cpu_pct": used}
    facts = {"simulated": True, "server": server, "machine": busy}
    out.write_text(json.dumps(facts | document, indent=1) + "\n")
    print(f"the worker took {used:.0f} % of a core on average, pauses included")


if __name__ == "__main__":
    main()
