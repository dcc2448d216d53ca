"""How much the load driver costs, and how true its stamps are.

    python benchmarks/load_driver.py [--streams 256] [--rate 100] [--seconds 15] [--rounds 3]

A paced server (node, raw sockets) sends each stream a token every 1/rate s and stamps it just
before the write. The driver and its peers read the same streams one after the other, on the same
two cores, each in a process of its own with a server of its own:

* tokens per CPU second: tokens received / CPU time of the process; the driver's is all of it,
  with start-up, prompts, parsing and records (getrusage), its peers' ends with the last token;
* deviation of TTFT and ITL: |client's figure - server's figure| for the same token, in ms. The
  server's TTFT runs from the request read to the first token's write. What `bare` deviates is
  what the machine does to any reader. A peer without a figure (-) got several tokens in
  one read.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
DRIVE = "import sys; from pdconsole.agent.drive import main; sys.exit(main(sys.argv[1:]))"
PEERS = {"bare": "bare socket loop", "uvloop": "uvloop + httptools", "aiohttp": "aiohttp"}

Flight = tuple[str, float, list[float]]  # request id, ttft ms, gaps ms


class Result(NamedTuple):
    tokens: int
    cpu_s: float
    ttft_ms: list[float]  # deviations from the server, absolute
    itl_ms: list[float]

    @property
    def tokens_per_cpu_s(self) -> float:
        return self.tokens / self.cpu_s


@contextmanager
def paced_server(rate: float) -> Iterator[int]:
    """A fresh server; its port."""
    node = shutil.which("node")
    if node is None:
        sys.exit("this benchmark needs node (apt-get install nodejs)")
    command = [node, str(HERE / "paced_sse_server.mjs"), f"{rate:g}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().split()[1])
        finally:
            server.terminate()


def run_counted(command: list[str]) -> tuple[bytes, float]:
    """What the command printed, and its CPU seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[1:3]} ended with {process.returncode}")
    return printed, usage.ru_utime + usage.ru_stime


def deviations(port: int, flights: list[Flight]) -> tuple[list[float], list[float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stamps", timeout=60) as answer:
        truth = {row[0]: row[1:] for row in map(json.loads, answer)}
    ttft, itl = [], []
    for name, client_ttft, client_gaps in flights:
        arrived, *stamps = truth[name]
        ttft.append(abs(client_ttft - (stamps[0] - arrived) * 1e3))
        gaps = ((b - a) * 1e3 for a, b in pairwise(stamps))
        itl.extend(abs(ours - theirs) for ours, theirs in zip(client_gaps, gaps, strict=True))
    return ttft, itl


def run_peer(name: str, options: argparse.Namespace) -> Result:
    with paced_server(options.rate) as port:
        sizes = (port, options.streams, options.tokens, options.seconds, options.input_len)
        script = str(HERE / "load_driver_peers.py")
        printed, _ = run_counted([sys.executable, script, name, *map(str, sizes)])
        outcome = json.loads(printed)
        # The driver's window leaves its warm-up out; leave the first round out here too.
        flights = [
            (flight[0], (flight[2] - flight[1]) * 1e3, [(b - a) * 1e3 for a, b in pairwise(stamps)])
            for flight in outcome["flights"][options.streams :]
            if (stamps := flight[2:])
        ]
        return Result(outcome["tokens"], outcome["cpu_s"], *deviations(port, flights))


def read_gaps(path: Path) -> list[array[float]]:
    """The gap records of the driver's file, in their order."""
    data, position, records = path.read_bytes(), 0, []
    while position < len(data):
        _, count = struct.unpack_from("<II", data, position)
        records.append(array("f", data[position + 8 : position + 8 + 4 * count]))
        position += 8 + 4 * count
    return records


def run_driver(options: argparse.Namespace) -> Result:
    with paced_server(options.rate) as port, tempfile.TemporaryDirectory() as directory:
        spec = {
            "protocol": 1,
            "url": f"http://127.0.0.1:{port}/v1/completions",
            "model": "paced",
            "load": {"kind": "concurrency", "value": options.streams},
            "input_len": options.input_len,
            "output_len": options.tokens,
            "vocab": [100000, 200000],
            "seed": "benchmark",
            "warmup_requests": options.streams,
            "window_requests": 1,
            "min_window_s": max(1.0, options.seconds - 2 * options.tokens / options.rate),
        }
        path = Path(directory, "spec.json")
        path.write_text(json.dumps(spec))
        printed, cpu_s = run_counted([sys.executable, "-c", DRIVE, str(path)])
        lines = [json.loads(line) for line in printed.splitlines()]
        requests = [line for line in lines if line["kind"] == "request"]
        records = read_gaps(Path(directory, "gaps.bin"))
        flights: list[Flight] = [
            (request["request_id"], request["ttft_ms"], list(gaps))
            for request, gaps in zip(requests, records, strict=True)
            if request["phase"] == "window" and not request["error"]
        ]
        tokens = sum(request["output_tokens"] for request in requests)
        return Result(tokens, cpu_s, *deviations(port, flights))


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def print_row(label: str, results: list[Result], floor: list[Result]) -> None:
    ratios = [r.tokens_per_cpu_s / b.tokens_per_cpu_s for r, b in zip(results, floor, strict=True)]
    cells = [f"{median(r.tokens_per_cpu_s for r in results):9,.0f}", f"{median(ratios):6.0%}"]
    for kind in ("ttft_ms", "itl_ms"):
        for percent in (50, 99):
            values = [percentile(getattr(r, kind), percent) for r in results if getattr(r, kind)]
            cells.append(f"{median(values):8.3f}" if values else f"{'-':>8}")
    print(f"{label:20}", *cells, f"  {' '.join(f'{ratio:.0%}' for ratio in ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--rate", type=float, default=100, help="tokens a second and stream")
    parser.add_argument("--tokens", type=int, default=250, help="tokens a request")
    parser.add_argument("--input-len", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["uvloop", "aiohttp"], help="beside bare")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:2])  # inherited by the server and the readers
    names = ["bare", *(name for name in options.peers if importlib.util.find_spec(name))]
    results: dict[str, list[Result]] = {name: [] for name in ["driver", *names]}
    load = [os.getloadavg()[0]]
    for _ in range(options.rounds):
        for name in names:
            results[name].append(run_peer(name, options))
            if name == "bare":
                results["driver"].append(run_driver(options))
    load.append(os.getloadavg()[0])
    print(
        f"{platform.processor() or platform.machine()}, {len(cores)} cores, 2 used; "
        f"Python {platform.python_version()}; load average {load[0]:.1f} to {load[1]:.1f}"
    )
    print(
        f"{options.streams} streams x {options.rate:g} tokens/s, {options.tokens} tokens a "
        f"request, prompts of {options.input_len}, {options.seconds:g} s; "
        f"medians of {options.rounds} rounds"
    )
    print(f"{'':20} tokens/   of     TTFT deviation    ITL deviation")
    print(f"{'':20}   CPU s   bare   p50 ms   p99 ms   p50 ms   p99 ms   of bare, each round")
    for name, rows in results.items():
        print_row(PEERS.get(name, "pdconsole driver"), rows, results["bare"])


if __name__ == "__main__":
    main()
