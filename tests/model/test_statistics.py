from __future__ import annotations

import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model import statistics as s
from pdconsole.model.events import HISTOGRAM_GROWTH

latencies = st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=200)
quantiles = st.floats(0, 100)


@given(latencies, quantiles)
def test_percentile_is_numpys(values: list[float], q: float) -> None:
    assert s.percentile(values, q) == pytest.approx(float(np.percentile(values, q)), rel=1e-12)


@given(latencies)
def test_mean_and_deviation_are_numpys(values: list[float]) -> None:
    assert s.mean(values) == pytest.approx(float(np.mean(values)))
    assert s.deviation(values) == pytest.approx(float(np.std(values)), rel=1e-6, abs=1e-9)


@given(latencies, quantiles)
def test_percentile_of_histogram_is_within_half_a_percent(values: list[float], q: float) -> None:
    found = s.percentile_of_histogram(s.histogram(values), q)
    assert found == pytest.approx(s.percentile(values, q), rel=0.0051)


@given(st.floats(1e-6, 1e9))
def test_a_bucket_holds_its_value(value: float) -> None:
    bucket = s.bucket_of(value)
    assert HISTOGRAM_GROWTH**bucket <= value * (1 + 1e-9)
    assert value <= HISTOGRAM_GROWTH ** (bucket + 1) * (1 + 1e-9)


@given(latencies, latencies)
def test_merging_is_counting_together(one: list[float], other: list[float]) -> None:
    merged = s.merge_histograms([s.histogram(one), s.histogram(other)])
    assert merged == s.histogram(one + other)
    assert s.count_of_histogram(merged) == len(one) + len(other)
    assert list(merged) == sorted(merged)


def test_zeros_and_negatives_are_counted_as_the_smallest() -> None:
    assert s.count_of_histogram(s.histogram([0.0, -1.0, 5.0])) == 3


def test_no_values_no_number() -> None:
    assert s.percentile_of_histogram((), 50) is None
    assert s.mean_of_histogram(()) is None
    assert s.summary([]) == {}
    assert s.mean_interval([1.0]) is None
    with pytest.raises(ValueError, match="no values"):
        s.percentile([], 50)


# Two-sided 95 % points of Student's t, from the printed tables.
@pytest.mark.parametrize(
    ("df", "expected"),
    [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980), (5000, 1.960)],
)
def test_t_quantiles_are_the_tables(df: int, expected: float) -> None:
    assert s.student_t_quantile(df, 0.975) == pytest.approx(expected, abs=6e-4)


def test_mean_interval_of_a_known_sample() -> None:
    # mean 5, sample deviation 2.7386, n 9: 5 +- 2.306 * 2.7386 / 3
    interval = s.mean_interval([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert interval is not None
    assert interval.low == pytest.approx(5 - 2.1051, abs=1e-4)
    assert interval.high == pytest.approx(5 + 2.1051, abs=1e-4)


def test_bootstrap_is_decided_by_its_seed() -> None:
    values = [float(i * i % 37) for i in range(60)]
    one = s.bootstrap_interval(values, s.mean, seed="s")
    assert one == s.bootstrap_interval(values, s.mean, seed="s")
    assert one != s.bootstrap_interval(values, s.mean, seed="other")
    assert one is not None
    assert one.low < s.mean(values) < one.high


def _in_rounds(seed: int, rounds: int = 10, size: int = 8) -> list[float]:
    """Values around 0 that share half of their scatter with the others of their round."""
    rng = random.Random(seed)
    return [
        shared + rng.gauss(0, 1)
        for shared in (rng.gauss(0, 1) for _ in range(rounds))
        for _ in range(size)
    ]


def test_intervals_of_values_that_hang_together_cover_what_they_should() -> None:
    def covered(block: int) -> tuple[int, int]:
        means = medians = 0
        for seed in range(200):
            values = _in_rounds(seed)
            of_mean = s.mean_interval(values, block=block)
            of_median = s.bootstrap_interval(
                values, statistics.median, seed=seed, resamples=100, block=block
            )
            assert of_mean is not None
            assert of_median is not None
            means += of_mean.low <= 0 <= of_mean.high
            medians += of_median.low <= 0 <= of_median.high
        return means, medians

    assert max(covered(1)) < 130  # of 200: as if independent, they are much too sure
    assert min(covered(8)) >= 170


def test_an_interval_by_blocks_is_never_narrower_and_needs_two() -> None:
    alike = [1.0, 2.0, 3.0, 4.0] * 5  # all blocks of four have the same mean
    assert s.mean_interval(alike, block=4) == s.mean_interval(alike)
    free = s.bootstrap_interval(alike, s.mean, seed=1)
    held = s.bootstrap_interval(alike, s.mean, seed=1, block=4)
    assert free is not None
    assert held is not None
    assert held.low <= free.low
    assert held.high >= free.high
    assert s.mean_interval(alike, block=11) is None
    assert s.bootstrap_interval(alike, s.mean, seed=1, block=11) is None


def test_a_block_is_as_many_as_are_in_flight() -> None:
    assert s.round_of("concurrency", 16, 2.5) == 16
    assert s.round_of("request_rate", 4, 2.5) == 10
    assert s.round_of("request_rate", 0.1, 2.5) == 1
    assert s.round_of("concurrency", None, 2.5) == 1
