"""Waiting for no longer than so long."""

from __future__ import annotations

import asyncio
from typing import Coroutine, Optional, TypeVar

T = TypeVar("T")


async def within(work: Coroutine[object, object, T], seconds: Optional[float]) -> T:
    """What `work` returns; raises asyncio.TimeoutError where that takes longer.

    asyncio.wait_for does so too, but before Python 3.12 it returns the result and forgets a
    cancellation that comes at the very moment at which the work ends; asyncio.timeout is of 3.11.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # nobody wants it any more
        raise
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()
