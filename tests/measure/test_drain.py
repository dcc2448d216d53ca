import asyncio

import pytest

from pdconsole.measure.drain import drain, until_idle
from pdconsole.measure.errors import MeasureError

RUNNING = 'vllm:num_requests_running{engine="0"}'
KV = 'vllm:kv_cache_usage_perc{engine="0"}'


class Worker:
    """Samples that follow each other; the last one stays. Its clock ticks once a poll."""

    def __init__(self, *samples: dict[str, float]) -> None:
        self.samples = list(samples)
        self.t = 0.0

    async def scrape(self, name: str) -> dict[str, float]:
        return self.samples.pop(0) if len(self.samples) > 1 else self.samples[0]

    async def sleep(self, seconds: float) -> None:
        self.t += seconds

    def clocked(self, timeout_s: float = 5.0, stop: bool = False):
        give_up = asyncio.Event()
        if stop:
            give_up.set()
        return {
            "timeout_s": timeout_s,
            "give_up": give_up,
            "now": lambda: self.t,
            "sleep": self.sleep,
        }


async def drained(worker: Worker, before: dict[str, float], **options):
    return await drain(["P1"], worker.scrape, before={"P1": before}, **worker.clocked(**options))


async def test_waits_for_requests_and_then_for_the_kv():
    worker = Worker({RUNNING: 2, KV: 0.4}, {RUNNING: 0, KV: 0.4}, {RUNNING: 0, KV: 0.0})
    assert await drained(worker, {KV: 0.0}) == ()
    assert worker.t == 0.5


async def test_what_was_in_use_before_the_point_may_stay():
    assert await drained(Worker({RUNNING: 0, KV: 0.4}), {KV: 0.4}) == ()


async def test_names_what_is_still_held_after_the_timeout():
    assert await drained(Worker({RUNNING: 0, KV: 0.4}), {}) == (
        "P1 still holds 40.0 % of its KV cache",
    )


async def test_a_stop_is_not_kept_waiting():
    assert await drained(Worker({RUNNING: 2}), {}, stop=True) is None


async def test_a_point_begins_only_on_idle_servers():
    worker = Worker({RUNNING: 1}, {RUNNING: 0, KV: 0.3})
    assert await until_idle(["P1"], worker.scrape, **worker.clocked()) == {
        "P1": {RUNNING: 0, KV: 0.3}
    }
    busy = Worker({RUNNING: 3})
    with pytest.raises(MeasureError, match="P1 has 3 requests running"):
        await until_idle(["P1"], busy.scrape, **busy.clocked())
