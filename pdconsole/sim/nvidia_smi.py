"""The `nvidia-smi` of a simulated node: a script that answers the usual queries.

It is run without site packages, so that it starts in a few milliseconds; it imports nothing of
pdconsole. What it says lies in the node's directory:

    gpus/inventory        a line for each GPU: index, uuid, memory in MiB, name, driver's version
    gpus/<index>/<pid>    a line of the process that uses it: see `Use`; dead processes count not
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as in typing, whose import takes longer than the rest of the start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

NODE_DIR_VARIABLE = "PDCONSOLE_SIM_NODE_DIR"
IDLE_MEMORY_MIB = 4
IDLE_POWER_W = 118.0
IDLE_TEMPERATURE_C = 31.0
POWER_LIMIT_W = 700.0


class Gpu:
    """A line of the inventory, with its uses added."""

    def __init__(self, line: str) -> None:
        index, self.uuid, memory, self.name, self.driver = line.strip().split(",")
        self.index = int(index)
        self.memory_mib = int(memory)
        self.uses: list[Use] = []

    @property
    def memory_used_mib(self) -> int:
        return IDLE_MEMORY_MIB + sum(use.memory_mib for use in self.uses)

    @property
    def utilization_pct(self) -> float:
        return min(100.0, sum(use.utilization_pct for use in self.uses))

    @property
    def power_w(self) -> float:
        return min(POWER_LIMIT_W, IDLE_POWER_W + sum(use.power_w for use in self.uses))

    @property
    def temperature_c(self) -> float:
        return max([IDLE_TEMPERATURE_C, *(use.temperature_c for use in self.uses)])


class Use:
    """What a process does to a GPU; `power_w` is beyond the idle power. Its line: `use_line`."""

    def __init__(self, pid: int, line: str) -> None:
        self.pid = pid
        born, memory, utilization, power, temperature, self.process = line.strip().split(",")
        self.born = int(born)  # start time of the process, clock ticks since boot
        self.memory_mib = int(memory)
        self.utilization_pct = float(utilization)
        self.power_w = float(power)
        self.temperature_c = float(temperature)


def use_line(
    process: str,
    born: int,
    *,
    memory_mib: int,
    utilization_pct: float,
    power_w: float,
    temperature_c: float,
) -> str:
    """The line of `Use`."""
    numbers = f"{born},{memory_mib},{utilization_pct:.0f},{power_w:.2f},{temperature_c:.0f}"
    return f"{numbers},{process}\n"


def born_at(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - no pathlib here: it is slow
            stat = file.read()
    except OSError:
        return None
    fields = stat[stat.rfind(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def read_gpus(node_dir: str) -> list[Gpu]:
    """The node's GPUs with the uses of living processes. Raises OSError without an inventory."""
    with open(f"{node_dir}/gpus/inventory") as file:  # noqa: PTH123
        gpus = [Gpu(line) for line in file if line.strip()]
    for gpu in gpus:
        gpu.uses = list(_uses(f"{node_dir}/gpus/{gpu.index}"))
    return gpus


def _uses(directory: str) -> Iterator[Use]:
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return
    for name in sorted(names):
        if not name.isdigit():
            continue
        try:
            with open(f"{directory}/{name}") as file:  # noqa: PTH123
                use = Use(int(name), file.read())
        except (OSError, ValueError):
            continue  # just written, or just removed
        if born_at(use.pid) == use.born:
            yield use


_GPU_FIELDS: dict[str, Callable[[Gpu, int], Any]] = {
    "index": lambda gpu, _: gpu.index,
    "name": lambda gpu, _: gpu.name,
    "gpu_name": lambda gpu, _: gpu.name,
    "uuid": lambda gpu, _: gpu.uuid,
    "gpu_uuid": lambda gpu, _: gpu.uuid,
    "count": lambda _, count: count,
    "driver_version": lambda gpu, _: gpu.driver,
    "memory.total": lambda gpu, _: (gpu.memory_mib, "MiB"),
    "memory.used": lambda gpu, _: (gpu.memory_used_mib, "MiB"),
    "memory.free": lambda gpu, _: (gpu.memory_mib - gpu.memory_used_mib, "MiB"),
    "utilization.gpu": lambda gpu, _: (round(gpu.utilization_pct), "%"),
    "temperature.gpu": lambda gpu, _: round(gpu.temperature_c),
    "power.draw": lambda gpu, _: (f"{gpu.power_w:.2f}", "W"),
    "power.limit": lambda _gpu, _: (f"{POWER_LIMIT_W:.2f}", "W"),
}
_APP_FIELDS: dict[str, Callable[[Gpu, Use], Any]] = {
    "gpu_uuid": lambda gpu, _: gpu.uuid,
    "gpu_name": lambda gpu, _: gpu.name,
    "pid": lambda _, use: use.pid,
    "process_name": lambda _, use: use.process,
    "name": lambda _, use: use.process,
    "used_memory": lambda _, use: (use.memory_mib, "MiB"),
    "used_gpu_memory": lambda _, use: (use.memory_mib, "MiB"),
}


def main(argv: list[str]) -> int:
    node_dir = os.environ.get(NODE_DIR_VARIABLE)
    if not node_dir:
        return _fail(f"{NODE_DIR_VARIABLE} is not set: this is no simulated node")
    options: dict[str, str] = {}
    for word in argv:
        name, _, value = word.partition("=")
        options[name] = value
    every_s = _loop_interval_s(options)
    while True:
        try:
            gpus = read_gpus(node_dir)
        except OSError as error:
            return _fail(f"no GPUs: {error}")
        try:
            text = _answer(options, gpus)
        except KeyError as error:
            return _fail(f'Field "{error.args[0]}" is not a valid field to query.', 2)
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(0)
        if every_s is None:
            return 0
        time.sleep(every_s)


def _loop_interval_s(options: dict[str, str]) -> float | None:
    if "--loop-ms" in options:
        return max(0.02, int(options["--loop-ms"]) / 1000)
    for name in ("--loop", "-l"):
        if name in options:
            return int(options[name] or 5)
    return None


def _answer(options: dict[str, str], gpus: list[Gpu]) -> str:
    if "-L" in options or "--list-gpus" in options:
        return "".join(f"GPU {gpu.index}: {gpu.name} (UUID: {gpu.uuid})\n" for gpu in gpus)
    layout = options.get("--format", "csv").split(",")
    if "--query-gpu" in options:
        names = options["--query-gpu"].split(",")
        getters = [_GPU_FIELDS[name.strip()] for name in names]
        rows = [[get(gpu, len(gpus)) for get in getters] for gpu in gpus]
        return _table(names, rows, layout)
    if "--query-compute-apps" in options:
        names = options["--query-compute-apps"].split(",")
        of_use = [_APP_FIELDS[name.strip()] for name in names]
        rows = [[get(gpu, use) for get in of_use] for gpu in gpus for use in gpu.uses]
        return _table(names, rows, layout)
    return "".join(
        f"| {gpu.index} {gpu.name} | {round(gpu.temperature_c)}C | {gpu.power_w:.0f}W |"
        f" {gpu.memory_used_mib}MiB / {gpu.memory_mib}MiB | {round(gpu.utilization_pct)}% |\n"
        for gpu in gpus
    )


def _table(names: list[str], rows: list[list[Any]], layout: list[str]) -> str:
    """A cell is a value, or a value and its unit."""
    units = "nounits" not in layout
    lines = []
    if "noheader" not in layout:
        lines.append(", ".join(name.strip() for name in names))
    for row in rows:
        cells = []
        for cell in row:
            value, unit = cell if isinstance(cell, tuple) else (cell, "")
            cells.append(f"{value} {unit}" if units and unit else str(value))
        lines.append(", ".join(cells))
    return "".join(line + "\n" for line in lines)


def _fail(message: str, code: int = 9) -> int:
    sys.stderr.write(f"nvidia-smi (simulated): {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
