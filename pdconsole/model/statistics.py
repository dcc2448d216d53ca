"""Numbers from samples: sparse logarithmic histograms, percentiles, means, 95 % intervals.

Plain Python, so that whoever imports the model pays nothing for it; every result is deterministic.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist

import msgspec

from pdconsole.model.events import HISTOGRAM_GROWTH, Histogram

# What is not above it (a zero, a negative by clock noise) counts as this: 1 ns in ms.
SMALLEST = 1e-6

_LOG_GROWTH = math.log(HISTOGRAM_GROWTH)


def bucket_of(value: float) -> int:
    """The bucket i with GROWTH**i <= value < GROWTH**(i+1)."""
    return math.floor(math.log(max(value, SMALLEST)) / _LOG_GROWTH)


def bucket_value(bucket: int) -> float:
    """What stands for a bucket's samples: its geometric middle, at most 0.5 % off."""
    return math.exp((bucket + 0.5) * _LOG_GROWTH)


class HistogramBuilder:
    """Collects samples and other histograms; `build()` gives the sparse form of the events."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, value: float, count: int = 1) -> None:
        """Count a sample (ms). Raises ValueError for NaN or infinity."""
        if not math.isfinite(value):
            raise ValueError(f"a histogram takes finite values, not {value}")
        bucket = bucket_of(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + count

    def merge(self, histogram: Iterable[Sequence[int]]) -> None:
        """Add another histogram's counts; its buckets may come in any order, or twice."""
        counts, known = self._counts, self._counts.get  # bound once: this is the hot loop of a fold
        for bucket, count in histogram:
            counts[bucket] = known(bucket, 0) + count

    def build(self) -> Histogram:
        return tuple(sorted(self._counts.items()))


def histogram(values: Iterable[float]) -> Histogram:
    """The histogram of some samples (ms)."""
    builder = HistogramBuilder()
    for value in values:
        builder.add(value)
    return builder.build()


def merge_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all; merging keeps every count, which averaging percentiles would not."""
    builder = HistogramBuilder()
    for each in histograms:
        builder.merge(each)
    return builder.build()


def count_of_histogram(histogram: Histogram) -> int:
    return sum(count for _, count in histogram)


def mean_of_histogram(histogram: Histogram) -> float | None:
    """The mean of the buckets' middles, within 0.5 % of the samples' own; None when empty."""
    total = count_of_histogram(histogram)
    if total == 0:
        return None
    return sum(bucket_value(bucket) * count for bucket, count in histogram) / total


def percentile_of_histogram(histogram: Histogram, q: float) -> float | None:
    """The q-th percentile (0 to 100), within 0.5 % of `percentile` of the samples; None when empty.

    Ranks and the interpolation between neighbours are those of `percentile`.
    """
    return percentiles_of_histogram(histogram, (q,))[0]


def percentiles_of_histogram(histogram: Histogram, qs: Sequence[float]) -> tuple[float | None, ...]:
    """Several percentiles, each as `percentile_of_histogram` gives it, for the price of one."""
    if not histogram:
        return (None,) * len(qs)
    buckets, counts = zip(*histogram, strict=True)
    reached = list(accumulate(counts))  # ranks below which a bucket and those before it lie

    def value_at(rank: int) -> float:
        return bucket_value(buckets[bisect_right(reached, rank)])

    last = reached[-1] - 1
    return tuple(_between(value_at, last * _fraction(q)) for q in qs)


def percentile(values: Iterable[float], q: float) -> float:
    """The q-th percentile (0 to 100) by linear interpolation, exactly as `numpy.percentile`.

    Raises ValueError when there are no values.
    """
    return percentiles(values, (q,))[0]


def percentiles(values: Iterable[float], qs: Sequence[float]) -> tuple[float, ...]:
    """Several percentiles of one sample, which is sorted once."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, no percentile")
    return tuple(_between(ordered.__getitem__, (len(ordered) - 1) * _fraction(q)) for q in qs)


def _fraction(q: float) -> float:
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {q}")
    return q / 100


def _between(value_at: Callable[[int], float], rank: float) -> float:
    """Linear interpolation between two ranks, from the nearer end as numpy does it."""
    below, above = math.floor(rank), math.ceil(rank)
    low, high = value_at(below), value_at(above)
    share = rank - below
    if share >= 0.5:
        return high - (high - low) * (1 - share)
    return low + (high - low) * share


def mean(values: Sequence[float]) -> float:
    """The mean. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("no values, no mean")
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of these values themselves (ddof 0, as `numpy.std`)."""
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values))


def summary(values: Sequence[float]) -> dict[str, float]:
    """mean, p50, p90, p99 of a sample as `PointResult` holds them; empty for no values."""
    if not values:
        return {}
    p50, p90, p99 = percentiles(values, (50, 90, 99))
    return {"mean": mean(values), "p50": p50, "p90": p90, "p99": p99}


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval."""

    low: float
    high: float
    level: float = 0.95

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def mean_interval(
    values: Sequence[float], level: float = 0.95, *, block: int = 1
) -> Interval | None:
    """Student's t interval of the mean; None for fewer than two values, or blocks.

    Values that hang together in their order have one of the means of `block` consecutive ones. It
    is never narrower than if they were independent: few blocks may be alike by chance.
    """
    n = len(values)
    if n < 2 or n // block < 2:
        return None
    middle = mean(values)
    reach = _reach_of_mean(values, level)
    if block > 1:
        reach = max(reach, _reach_of_mean([mean(part) for part in _parts(values, block)], level))
    return Interval(middle - reach, middle + reach, level)


def _reach_of_mean(values: Sequence[float], level: float) -> float:
    n = len(values)
    return student_t_quantile(n - 1, 0.5 + level / 2) * deviation(values) / math.sqrt(n - 1)


def _parts(values: Sequence[float], block: int) -> list[Sequence[float]]:
    """All values in parts of nearly equal length, none shorter than `block`."""
    k = len(values) // block
    borders = [len(values) * i // k for i in range(k + 1)]
    return [values[borders[i] : borders[i + 1]] for i in range(k)]


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float],
    *,
    seed: int | str,
    level: float = 0.95,
    resamples: int = 1000,
    block: int = 1,
) -> Interval | None:
    """Percentile bootstrap interval of any statistic; None for fewer than two values, or blocks.

    Of values that hang together in their order, blocks of consecutive ones are drawn, the last
    being before the first. As few blocks say little, what they give is widened by `few_blocks`,
    and it is never narrower than if values were independent. The seed decides the resamples, so
    that a reader who repeats it gets the same interval.
    """
    n = len(values)
    if n < 2 or n // block < 2:
        return None
    rng = random.Random(seed)  # resampling, not secrets
    found = [statistic(rng.choices(values, k=n)) for _ in range(resamples)]
    low, high = percentiles(found, (50 * (1 - level), 50 * (1 + level)))
    if block > 1:
        around = [*values, *values[: block - 1]]
        found = [statistic(_drawn(around, n, block, rng)) for _ in range(resamples)]
        ends = percentiles(found, (50 * (1 - level), 50 * (1 + level)))
        middle, wider = statistic(values), few_blocks(n // block, level)
        low = min(low, middle - wider * (middle - ends[0]))
        high = max(high, middle + wider * (ends[1] - middle))
    return Interval(low, high, level)


def _drawn(around: Sequence[float], n: int, block: int, rng: random.Random) -> list[float]:
    found: list[float] = []
    for start in rng.choices(range(n), k=math.ceil(n / block)):
        found += around[start : start + block]
    return found[:n]


def round_of(kind: str, load: float | None, request_s: float | None) -> int:
    """How many requests are in flight together: the block for intervals over requests.

    `load` is the concurrency of a closed loop or the rate of an open one, where by Little's law it
    is times the life of a request.
    """
    if load is None:
        return 1
    if kind == "concurrency":
        return max(1, round(load))
    return max(1, round(load * (request_s or 0.0)))


def few_blocks(blocks: int, level: float = 0.95) -> float:
    """How much wider an interval must be that was drawn from so few blocks: as Student's t is."""
    normal = NormalDist().inv_cdf(0.5 + level / 2)
    t = student_t_quantile(blocks - 1, 0.5 + level / 2)
    return t / normal * math.sqrt(blocks / (blocks - 1))


@lru_cache(maxsize=1024)
def student_t_quantile(df: int, probability: float) -> float:
    """The quantile of Student's t for whole degrees of freedom, by bisection of its exact CDF.

    Abramowitz and Stegun 26.7.3 and 26.7.4; above 1000 degrees 26.7.5, good to 1e-9 there.
    """
    if df < 1 or not 0 < probability < 1:
        raise ValueError(f"no t quantile for df={df}, probability={probability}")
    if probability < 0.5:
        return -student_t_quantile(df, 1 - probability)
    if df > 1000:
        x = NormalDist().inv_cdf(probability)
        return x + (x**3 + x) / (4 * df) + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * df**2)
    within = 2 * probability - 1  # P(|T| < t)
    low, high = 0.0, 1.0
    while _t_within(df, high) < within:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(df, middle) < within else (low, middle)
    return (low + high) / 2


def _t_within(df: int, t: float) -> float:
    """P(|T| < t) with df degrees of freedom."""
    angle = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    if df % 2:
        if df == 1:
            return 2 * angle / math.pi
        term = total = cosine
        for k in range(3, df - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        return 2 / math.pi * (angle + sine * total)
    term = total = 1.0
    for k in range(2, df - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return sine * total
