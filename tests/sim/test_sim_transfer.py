from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.sim.constants import EngineConstants, LinkConstants
from pdconsole.sim.transfer import SharedLink, transfer_cost

RATE = 100.0


def test_two_transfers_share_and_the_later_catches_up() -> None:
    shared: SharedLink[str] = SharedLink(RATE)
    shared.start("a", 100.0, 0.0)
    assert shared.next_end() == 1.0
    shared.start("b", 100.0, 0.5)  # a has half to go: both run at half the rate
    assert shared.finish(1.0) == []
    assert shared.finish(1.5) == [(1.5, "a")]
    assert shared.finish(math.inf) == [(2.0, "b")]


@given(
    st.lists(
        st.tuples(st.floats(0, 5, allow_subnormal=False), st.floats(1, 500)),
        min_size=1,
        max_size=20,
    )
)
def test_the_link_is_never_idle_and_never_faster_than_its_rate(
    jobs: list[tuple[float, float]],
) -> None:
    shared: SharedLink[int] = SharedLink(RATE)
    ends: dict[int, float] = {}
    arrivals = sorted(jobs)
    for number, (start, size) in enumerate(arrivals):
        ends.update({key: when for when, key in shared.finish(start)})
        shared.start(number, size, start)
    ends.update({key: when for when, key in shared.finish(math.inf)})
    # Work that is done in order of arrival ends when work that is shared ends.
    free = 0.0
    for start, size in arrivals:
        free = max(free, start) + size / RATE
    assert max(ends.values()) == pytest.approx(free)
    for number, (start, size) in enumerate(arrivals):
        assert ends[number] >= start + size / RATE - 1e-6


def _cost(
    engine: EngineConstants, link: LinkConstants, p: int, d: int, merged: float
) -> tuple[float, float]:
    cost = transfer_cost(
        engine, link, tokens=5000, prefill_tp=p, decode_tp=d, merged=merged, layers=36
    )
    return cost.latency_s, cost.blocked_s


def test_unmerged_descriptors_cost_latency_and_stop_the_replica(
    engine: EngineConstants, link: LinkConstants
) -> None:
    assert _cost(engine, link, 2, 2, 1.0) == (pytest.approx(0.039), 0.0)
    assert _cost(engine, link, 2, 2, 0.0) == (pytest.approx(0.039 + 0.175), pytest.approx(0.08))
    assert _cost(engine, link, 2, 4, 1.0) == _cost(engine, link, 2, 2, 0.0)
