import pytest

from pdconsole.measure.prometheus import (
    buckets,
    growth,
    labels_of,
    name_of,
    parse,
    quantile,
    total,
)

TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b} c"} 3.0
vllm:num_requests_running{engine="1",model_name="a b} c"} 4.0
vllm:num_requests_running_total{engine="0"} 100.0 1719000000000
vllm:ttft_seconds_bucket{engine="0",le="0.1"} 1.0
vllm:ttft_seconds_bucket{engine="0",le="+Inf"} 4.0
vllm:ttft_seconds_count{engine="0"} 4
vllm:ttft_seconds_sum{engine="0"} 2.5e-1
escaped{path="C:\\\\x\\n\\"y\\""} NaN
plain 7
this is not a sample
half a line{engine="0"
"""


def test_keys_values_and_labels():
    samples = parse(TEXT)
    assert samples["plain"] == 7
    assert samples['vllm:num_requests_running{engine="1",model_name="a b} c"}'] == 4
    escaped = next(key for key in samples if name_of(key) == "escaped")
    assert labels_of(escaped) == {"path": 'C:\\x\n"y"'}
    assert len(samples) == 9


def test_sums_are_over_engines_and_over_the_exact_name_only():
    samples = parse(TEXT)
    assert total(samples, "vllm:num_requests_running") == 7
    assert total(samples, "vllm:num_requests_running", engine="1") == 4
    assert total(samples, "vllm:num_requests") is None


def test_growth_leaves_gauges_out_and_survives_a_restart():
    before = {"a_total": 5.0, "reset_total": 9.0, "running": 3.0}
    after = {"a_total": 7.0, "reset_total": 2.0, "new_count": 1.0, "running": 1.0}
    assert growth(before, after) == {"a_total": 2.0, "reset_total": 2.0, "new_count": 1.0}


def scrape(*counts: float, bounds: tuple[str, ...] = ("0.1", "0.2", "+Inf")) -> dict[str, float]:
    return {f'x_bucket{{le="{bound}"}}': count for bound, count in zip(bounds, counts, strict=True)}


def test_a_fleet_is_merged_by_buckets():
    fast, slow = scrape(90, 90, 90), scrape(0, 10, 10)
    merged = buckets([fast, slow], "x")
    assert merged == [(0.1, 90), (0.2, 100), (float("inf"), 100)]
    assert quantile(merged, 0.5) == pytest.approx(0.1 * 50 / 90)
    assert quantile(merged, 0.95) == pytest.approx(0.15)


def test_bounds_that_not_all_expose_are_dropped():
    odd = scrape(1, 2, bounds=("0.15", "+Inf"))
    assert buckets([scrape(1, 2, 3), odd], "x") == [(float("inf"), 5)]


def test_quantiles_at_the_edges():
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0), (float("inf"), 0.0)], 0.5) is None
    assert quantile([(0.1, 0.0), (float("inf"), 5.0)], 0.5) == 0.1
