"""Which requests count, with made-up completions."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.agent.drive.window import (
    ClosedWindow,
    Interval,
    OpenWindow,
    WholeWindow,
    Window,
    t_quantile,
)

START = 1000.0


def closed(**changes: object) -> ClosedWindow:
    settings: dict[str, object] = {
        "concurrency": 4,
        "warmup_requests": 8,
        "window_requests": 20,
        "min_s": 0.0,
        "max_s": 600.0,
    }
    return ClosedWindow(START, **{**settings, **changes})  # type: ignore[arg-type]


def finish(window: Window, times: list[float], e2el_ms: float | None = 100.0) -> list[str]:
    return [window.on_over(t, START, e2el_ms) for t in times]


def test_a_closed_window_opens_and_closes_at_completions() -> None:
    window = closed()
    phases = finish(window, [START + i for i in range(1, 31)])
    assert phases == ["warmup"] * 8 + ["window"] * 20 + ["drain"] * 2
    assert (window.t0, window.t1, window.phase) == (START + 8, START + 28, "drain")


def test_a_closed_window_waits_for_its_least_time_and_then_for_a_whole_round() -> None:
    window = closed(min_s=21.5)
    phases = finish(window, [START + i for i in range(1, 41)])
    assert phases.count("window") == 24
    assert window.t1 == START + 32


def test_a_closed_window_ends_at_its_most_time() -> None:
    window = closed(max_s=5.0)
    finish(window, [START + i for i in range(1, 9)])
    assert window.deadline == START + 13
    window.on_time(START + 12.9)
    assert window.phase == "window"
    window.on_time(START + 13.2)
    assert (window.t1, window.deadline) == (START + 13, None)
    # What ended in time counts, although it is told of late.
    assert finish(window, [START + 8, START + 12.9, START + 13, START + 13.1]) == [
        *("warmup", "window", "window", "drain")
    ]
    assert finish(window, [START + 13.1]) == ["drain"]


def test_errors_neither_warm_up_nor_fill_a_window() -> None:
    window = closed(warmup_requests=2, window_requests=4)
    assert finish(window, [START + 1] * 5, None) == ["warmup"] * 5
    finish(window, [START + 2, START + 3])
    assert window.t0 == START + 3
    assert finish(window, [START + 4] * 9, None) == ["window"] * 9
    assert window.phase == "window"


@given(
    concurrency=st.integers(1, 64),
    rounds=st.integers(1, 6),
    spread=st.floats(0, 0.05),
    phase_seed=st.integers(0, 1000),
)
def test_lockstep_does_not_bias_the_rate(
    concurrency: int, rounds: int, spread: float, phase_seed: int
) -> None:
    """Requests that end in bunches, a second apart: the rate is right but for a bunch's width."""
    window = closed(
        concurrency=concurrency,
        warmup_requests=2 * concurrency,
        window_requests=max(1, rounds * concurrency - concurrency // 2),
    )
    chance = random.Random(phase_seed)
    counted = 0
    for bunch in range(1, 40):
        offsets = sorted(chance.uniform(0, spread) for _ in range(concurrency))
        counted += finish(window, [START + bunch + offset for offset in offsets]).count("window")
    assert window.t0 is not None
    assert window.t1 is not None
    assert counted / concurrency == pytest.approx(window.t1 - window.t0, abs=spread)


def test_an_open_window_counts_what_is_scheduled_in_it_whenever_it_finishes() -> None:
    window = OpenWindow(opens=START + 5, closes=START + 15, min_s=10)
    assert window.on_over(START + 4, START + 1, 100.0) == "warmup"
    assert window.deadline == START + 5
    assert window.on_over(START + 7, START + 5, 100.0) == "warmup"  # (t0, t1]
    assert window.on_over(START + 7, START + 5.1, 100.0) == "window"
    window.on_time(START + 15.2)
    assert (window.t0, window.t1, window.phase) == (START + 5, START + 15, "drain")
    assert window.awaits(START + 15)
    assert not window.awaits(START + 15.1)
    assert window.on_over(START + 99, START + 15, None) == "window"
    assert window.on_over(START + 99, START + 15.1, 100.0) == "drain"


def test_the_older_way_counts_everything() -> None:
    window = WholeWindow(START, requests=3, max_s=60)
    assert (window.phase, window.budget) == ("window", 3)
    assert finish(window, [START + 1, START + 2]) == ["window"] * 2
    assert finish(window, [START + 4], None) == ["window"]
    assert (window.t0, window.t1) == (START, START + 4)
    late = WholeWindow(START, requests=3, max_s=60)
    late.on_time(START + 61)
    assert finish(late, [START + 60, START + 60.1]) == ["window", "drain"]


def test_a_window_closes_early_when_the_interval_is_narrow_and_goes_on_while_it_is_wide() -> None:
    def counted(spread_ms: float) -> int:
        window = closed(interval=Interval(4, 0.05), window_requests=60, max_s=1000.0)
        chance = random.Random(7)
        phases = [
            window.on_over(START + i, START, chance.uniform(500 - spread_ms, 500 + spread_ms))
            for i in range(1, 800)
        ]
        return phases.count("window")

    assert counted(10) == 20  # five rounds, the fewest that tell
    assert 100 < counted(400) < 750
    narrow = OpenWindow(opens=START, closes=START + 900, min_s=30, interval=Interval(2, 0.05))
    finish_open = [narrow.on_over(START + i, START + i - 0.5, 100.0) for i in range(1, 60)]
    assert narrow.t1 == START + 30
    assert finish_open[:30] == ["window"] * 30
    assert finish_open[-1] == "drain"


def test_the_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    chance = random.Random(11)
    inside = 0
    for _ in range(400):
        means = [fmean(chance.gauss(100, 20) for _ in range(4)) for _ in range(8)]
        middle = fmean(means)
        spread = (sum((m - middle) ** 2 for m in means) / 7) ** 0.5
        inside += abs(middle - 100) <= t_quantile(7) * spread / 8**0.5
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.parametrize(("freedom", "exact"), [(4, 2.776), (9, 2.262), (30, 2.042), (999, 1.962)])
def test_students_t(freedom: int, exact: float) -> None:
    assert t_quantile(freedom) == pytest.approx(exact, rel=0.01)
