"""GPUs through nvidia-smi, the node's own or a simulated one. No nvidia-smi: no GPUs."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple

from pdconsole.agent.patience import within

COMMAND = "nvidia-smi"
FORMAT = "--format=csv,noheader,nounits"
SAMPLED = "index,utilization.gpu,memory.used,temperature.gpu,power.draw"
LISTED = "index,name,memory.total,memory.used,uuid,driver_version"
RESIDENTS = "gpu_uuid,pid,process_name,used_memory"
TIMEOUT_S = 30.0


def number(text: str) -> Optional[float]:
    """What nvidia-smi cannot say ("[N/A]", "[Not Supported]") is None."""
    try:
        return float(text)
    except ValueError:
        return None


def fields(line: str) -> List[str]:
    return [field.strip() for field in line.split(",")]


def query(what: str, names: str) -> Tuple[List[List[str]], str]:
    """Rows of one query, and the first line of what went wrong."""
    try:
        done = subprocess.run(
            [COMMAND, f"--query-{what}={names}", FORMAT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError):
        return [], ""
    except subprocess.TimeoutExpired:
        return [], f"nvidia-smi does not answer within {TIMEOUT_S:.0f} s"
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        said = (text + done.stderr.decode("utf-8", "replace")).strip()
        return [], f"nvidia-smi failed ({done.returncode}): {said.splitlines()[0] if said else ''}"
    wanted = names.count(",") + 1
    rows = [fields(line) for line in text.splitlines() if line.strip()]
    return [row for row in rows if len(row) == wanted], ""


def listed() -> Tuple[List[Dict[str, Any]], str, str]:
    """The GPUs, the driver's version, and what is wrong with them."""
    rows, trouble = query("gpu", LISTED)
    gpus = [
        {
            "index": int(index),
            "name": name,
            "memory_mib": int(number(total) or 0),
            "memory_used_mib": int(number(used) or 0),
            "uuid": uuid,
        }
        for index, name, total, used, uuid, _ in rows
        if index.isdigit()
    ]
    return gpus, rows[0][5] if rows else "", trouble


def residents() -> List[Tuple[str, int, str, Optional[int]]]:
    """Compute processes: GPU uuid, pid, name, memory in MiB."""
    rows, _ = query("compute-apps", RESIDENTS)
    return [
        (uuid, int(pid), name, None if number(used) is None else int(float(used)))
        for uuid, pid, name, used in rows
        if pid.isdigit()
    ]


async def samples(interval_s: float) -> AsyncIterator[List[List[Any]]]:
    """Rows of [index, util_pct, memory_used_mib, temperature_c, power_w] every `interval_s`.

    One nvidia-smi that loops costs far less than one a sample; an nvidia-smi that cannot loop is
    run anew each time. Ends if there is none.
    """
    looped = False
    loop_option = f"--loop-ms={max(100, round(interval_s * 1000))}"
    async for batch in _batches([loop_option]):
        looped = True
        yield batch
    while True:
        found = False
        started = asyncio.get_running_loop().time()
        async for batch in _batches([]):
            found = True
            yield batch
        if not found and not looped:
            return
        spent = asyncio.get_running_loop().time() - started
        await asyncio.sleep(max(0.0, interval_s - spent))


async def _batches(options: Sequence[str]) -> AsyncIterator[List[List[Any]]]:
    try:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            f"--query-gpu={SAMPLED}",
            FORMAT,
            *options,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (FileNotFoundError, PermissionError):
        return
    assert process.stdout is not None
    try:
        batch: List[List[Any]] = []
        while True:
            line = await _line_soon(process.stdout, 0.1 if batch else None)
            if batch and not line:
                yield batch
                batch = []
            if line == b"":
                return
            row = fields(line.decode("utf-8", "replace")) if line else []
            if len(row) == 5 and row[0].isdigit():
                batch.append([int(row[0]), *map(number, row[1:])])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line_soon(stream: asyncio.StreamReader, patience_s: Optional[float]) -> Optional[bytes]:
    """A line, b"" at the end of the stream, None if none comes within the patience: the rows of
    one sample come together."""
    try:
        return await within(stream.readline(), patience_s)
    except asyncio.TimeoutError:
        return None
