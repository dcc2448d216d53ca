"""How long `pdconsole --help` takes, beside a bare Python and Python with click alone.

    python benchmarks/startup.py

CPU time (user + system) of the process, the best and the median of RUNS, after one run that
leaves byte code behind. The aim: --help within 150 ms.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

RUNS = 15
AIM_MS = 150.0


def cpu_ms(argv: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Installed programs have their byte code; an environment that forbids writing it would not.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1e3


def main() -> None:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "pdconsole --help": [sys.executable, "-m", "pdconsole", "--help"],
        "pdconsole run --help": [sys.executable, "-m", "pdconsole", "run", "--help"],
        "pdconsole sessions": [sys.executable, "-m", "pdconsole", "sessions"],
    }
    print(f"{'command':<28} {'best ms':>8} {'median ms':>10} {'of the aim':>11}")
    for name, argv in commands.items():
        cpu_ms(argv)
        spent = [cpu_ms(argv) for _ in range(RUNS)]
        middle = statistics.median(spent)
        print(f"{name:<28} {min(spent):>8.0f} {middle:>10.0f} {middle / AIM_MS:>10.0%}")


if __name__ == "__main__":
    main()
