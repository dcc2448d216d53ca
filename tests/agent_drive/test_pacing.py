"""When requests are due."""

from __future__ import annotations

from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest

from pdconsole.agent.drive.pacing import (
    ERROR_PAUSE_S,
    ClosedLoop,
    OpenLoop,
    poisson_offsets,
    until_enough,
)


def test_the_schedule_is_the_same_for_the_same_seed_on_every_python() -> None:
    first = list(islice(poisson_offsets(4.0, "session/rr4/1"), 4))
    assert first == pytest.approx([0.402591, 0.588731, 0.708884, 0.769624], abs=1e-6)
    assert first != list(islice(poisson_offsets(4.0, "session/rr4/2"), 4))


def test_the_schedule_is_a_poisson_process() -> None:
    offsets = list(islice(poisson_offsets(20.0, "seed"), 20000))
    gaps = [b - a for a, b in pairwise([0.0, *offsets])]
    assert min(gaps) > 0
    assert fmean(gaps) == pytest.approx(1 / 20, rel=0.03)
    assert pstdev(gaps) == pytest.approx(1 / 20, rel=0.03)


def test_an_open_loop_never_waits_for_an_answer() -> None:
    loop = OpenLoop(100.0, iter([0.5, 0.7, 9.0]))
    assert [loop.take(), loop.take()] == [100.5, 100.7]
    loop.on_over(103.0, False)
    assert loop.due == 109.0
    loop.take()
    assert loop.due is None


def test_a_closed_loop_replaces_what_is_over_at_once_and_a_failure_after_a_pause() -> None:
    loop = ClosedLoop(100.0, 2)
    assert [loop.take(), loop.take()] == [100.0, 100.0]
    assert loop.due is None
    loop.on_over(103.0, False)
    loop.on_over(103.01, True)
    assert loop.take() == 103.01
    assert loop.take() == pytest.approx(103.0 + ERROR_PAUSE_S)


def test_an_open_window_is_as_long_as_its_requests_need() -> None:
    def closes(requests: int, min_s: float, max_s: float) -> float:
        offsets = iter([float(second) for second in range(1, 1000)])
        return until_enough(offsets, opens=5.0, requests=requests, min_s=min_s, max_s=max_s)

    assert closes(10, 1, 600) == 15  # those due at 6, 7, ... 15
    assert closes(10, 30, 600) == 35
    assert closes(500, 1, 60) == 65
