"""How fast many result files are compared: from the paths to the text of table, chart and regimes.

    python benchmarks/compare.py [FILES]        default 1,000; the aim is 1.5 s after imports

The files are as `vllm bench serve` writes them, six points a directory: layouts on two networks,
packed or spread, each three times. Imports are timed apart, then five comparisons, of which the
middle one counts, with and without charts.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

AIM_S = 1.5
RUNS = 5
CONCURRENCY = (4, 8, 16, 32, 48, 64)
LAYOUTS = (
    *("8xtp1", "4xtp2", "2xtp4", "1xtp8"),
    *("p1xtp2-d1xtp2", "p1xtp2-d2xtp2", "p1xtp2-d3xtp2", "p2xtp2-d2xtp2", "p3xtp2-d1xtp2"),
    *("p1xtp4-d1xtp4", "p2xtp2-d1xtp4", "p4xtp1-d2xtp2", "p2xtp4-d2xtp4", "p1xtp8-d1xtp8"),
)


def write_results(root: Path, files: int) -> int:
    """Directories of six points until there are enough files; returns how many were written."""
    written = 0
    for i in range(math.ceil(files / len(CONCURRENCY))):
        layout = LAYOUTS[i % len(LAYOUTS)]
        rest = i // len(LAYOUTS)
        network, placement = ("srd", "tcp")[rest % 2], ("pack", "spread")[rest // 2 % 2]
        name = f"m_itl5000_otl250_mixed_{placement}-{network}_{layout}_r{rest // 4 + 1}"
        directory = root / name
        directory.mkdir()
        for concurrency in CONCURRENCY:
            point = a_point(concurrency, speed=1 + i % 13 / 10)
            (directory / f"conc{concurrency}.json").write_text(json.dumps(point))
            written += 1
    return written


def a_point(concurrency: int, speed: float) -> dict[str, object]:
    tpot, ttft = 5 + concurrency / 9 / speed, 150 + 8 * concurrency / speed
    e2el = ttft + 249 * tpot
    rate = concurrency / e2el * 1000
    requests = concurrency * 60
    latencies: dict[str, float] = {}
    for name, value in (("ttft", ttft), ("tpot", tpot), ("itl", tpot), ("e2el", e2el)):
        latencies |= {
            f"mean_{name}_ms": value,
            f"median_{name}_ms": value * 0.98,
            f"std_{name}_ms": value * 0.1,
            f"p99_{name}_ms": value * 1.4,
        }
    return {
        "date": f"20270115-08{concurrency % 60:02d}00",
        "model_id": "m",
        "num_prompts": requests,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": concurrency,
        "duration": requests / rate,
        "completed": requests,
        "total_input_tokens": 5000 * requests,
        "total_output_tokens": 250 * requests,
        "request_throughput": rate,
        "output_throughput": rate * 250,
        "total_token_throughput": rate * 5250,
        **latencies,
    }


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    start = time.perf_counter()
    from pdconsole.results import comparison

    _import_plotext()
    imports = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as root:
        written = write_results(Path(root), files)
        read, whole = [], []
        for _ in range(RUNS):
            start = time.perf_counter()
            found = comparison.compare([Path(root)])
            table = found.text(120, chart=False)
            read.append(time.perf_counter() - start)
            found.text(120)
            whole.append(time.perf_counter() - start)
    if found.skipped or len(found.rows) != written:
        sys.exit(f"{len(found.rows)} of {written} files were read")
    print(f"{written:,} files in {written // len(CONCURRENCY)} directories")
    print(f"imports                            {imports:6.3f} s")
    print(
        f"to the table, {len(table.splitlines()):5,} lines         {statistics.median(read):6.3f} s"
    )
    print(f"and chart, frontier, regimes       {statistics.median(whole):6.3f} s, aim {AIM_S} s")


def _import_plotext() -> None:
    import plotext

    plotext.build()


if __name__ == "__main__":
    main()
