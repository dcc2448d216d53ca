"""How far a node's monotonic clock is from ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from pdconsole.remote.values import ClockSeen


async def measure(
    node: str, ask: Callable[[], Awaitable[float]], *, rounds: int, now: Callable[[], float]
) -> ClockSeen:
    """The smallest of several round trips bounds the offset best: the node's answer was stamped
    somewhere within it (Cristian's method)."""
    best: ClockSeen | None = None
    for _ in range(rounds):
        sent = now()
        node_t = await ask()
        received = now()
        bound_s = (received - sent) / 2
        if best is None or bound_s < best.bound_s:
            best = ClockSeen(node, node_t - (sent + received) / 2, bound_s)
    assert best is not None
    return best


our_clock = time.monotonic
