"""Waiting for no longer than so long, on every Python that the agent runs on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from agent_node import pythons

import pdconsole

CHECKS = """
import asyncio
from pdconsole.agent.patience import within

async def late(log):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        log.append("undone")
        raise

async def value(x):
    return x

async def broken():
    raise ValueError("it broke")

async def raised(work):
    try:
        return await work
    except (ValueError, asyncio.TimeoutError, asyncio.CancelledError) as e:
        return type(e)

async def main():
    log = []
    assert await within(value(7), 5) == 7
    assert await within(value(8), None) == 8
    assert await raised(within(broken(), 5)) is ValueError
    assert await raised(within(late(log), 0.01)) is asyncio.TimeoutError
    assert log == ["undone"]

    # Cancelled while it waits: the work is over too when that is through.
    task = asyncio.ensure_future(raised(within(late(log), None)))
    await asyncio.sleep(0.01)
    task.cancel()
    assert await task is asyncio.CancelledError
    assert log == ["undone"] * 2

    # Cancelled at the very moment at which the work ends.
    done = asyncio.get_running_loop().create_future()
    async def work():
        return await done
    task = asyncio.ensure_future(raised(within(work(), 5)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done.set_result(9)
    await asyncio.sleep(0)
    task.cancel()
    assert await task is asyncio.CancelledError, await task
    print("ok")

asyncio.run(main())
"""


@pytest.mark.parametrize("python", pythons())
def test_neither_results_nor_cancellations_are_lost(python: str) -> None:
    root = Path(pdconsole.__file__).parent.parent
    done = subprocess.run(
        [python, "-c", CHECKS], capture_output=True, text=True, cwd=root, timeout=60
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")
