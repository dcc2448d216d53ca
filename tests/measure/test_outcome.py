import random

import numpy as np
import pytest

from pdconsole.measure.outcome import finished_within, pair_counts, peaks, point_result
from pdconsole.model.measurement import RequestRow


def row(index: int, *, sent: float, ttft: float, gaps: tuple[float, ...], **rest) -> RequestRow:
    e2el = ttft + sum(gaps)
    fields = {
        "index": index,
        "phase": "window",
        "in_window": True,
        "scheduled_node_t": sent,
        "sent_node_t": sent,
        "last_token_node_t": sent + e2el / 1e3,
        "ttft_ms": ttft,
        "tpot_ms": sum(gaps) / len(gaps) if gaps else None,
        "e2el_ms": e2el,
        "input_tokens": 100,
        "output_tokens": len(gaps) + 1,
        "gaps_ms": gaps,
    }
    return RequestRow(**{**fields, **rest})


def random_rows(seed: int) -> list[RequestRow]:
    rng = random.Random(seed)
    return [
        row(
            i,
            sent=rng.uniform(0, 9),
            ttft=rng.lognormvariate(4, 1),
            gaps=tuple(rng.uniform(1, 20) for _ in range(rng.randrange(0, 30))),
        )
        for i in range(60)
    ]


def result_of(rows, window_s=10.0, gpus=4):
    return point_result(
        rows, run="1", point="conc4", attempt=1, window_s=window_s, errors=0, gpus=gpus
    )


def test_figures_are_numpys_of_the_exact_values():
    rows = random_rows(1)
    result = result_of(rows)
    gaps = np.array([gap for r in rows for gap in r.gaps_ms])
    tpot = np.array([r.tpot_ms for r in rows if r.output_tokens > 1])
    for found, values in ((result.itl_ms, gaps), (result.tpot_ms, tpot)):
        assert found["mean"] == pytest.approx(values.mean())
        for name, q in (("p50", 50), ("p90", 90), ("p99", 99)):
            assert found[name] == pytest.approx(np.percentile(values, q))
    tokens = sum(r.output_tokens for r in rows)
    assert result.output_throughput == pytest.approx(tokens / 10)
    assert result.tokens_per_s_per_gpu == pytest.approx((6000 + tokens) / 10 / 4)


def test_what_is_outside_the_window_changes_nothing():
    rows = random_rows(2)
    outside = [
        row(90, sent=0, ttft=9e9, gaps=(9e9,), in_window=False, phase="warmup"),
        row(91, sent=0, ttft=9e9, gaps=(9e9,), in_window=False, error="HTTP 500"),
    ]
    assert result_of(rows + outside) == result_of(rows)


def test_a_window_without_requests_has_no_figures_rather_than_zeros():
    empty = result_of([])
    assert (empty.completed, empty.request_throughput, empty.ttft_ms) == (0, 0, {})


def test_pairs_need_both_names():
    rows = [
        row(0, sent=0, ttft=1, gaps=(), prefill="P2", decode="D1"),
        row(1, sent=0, ttft=1, gaps=(), prefill="P1", decode="D1"),
        row(2, sent=0, ttft=1, gaps=(), prefill="P1"),
    ]
    assert list(pair_counts(rows).items()) == [("P1>D1", 1), ("P2>D1", 1)]


def test_the_busiest_second():
    rows = [
        row(0, sent=10.0, ttft=100.0, gaps=(100.0, 1000.0)),  # tokens at 10.1, 10.2, 11.2
        row(1, sent=10.5, ttft=100.0, gaps=(500.0,)),  # tokens at 10.6, 11.1
        row(2, sent=5.0, ttft=100.0, gaps=()),  # long before the window
    ]
    assert peaks(rows, 10.0, 12.0) == (3.0, 2)
    assert peaks([], 10.0, 12.0) == (0.0, 0)


def test_requests_that_follow_one_another_are_not_in_flight_at_once():
    rows = [row(i, sent=10 + i / 4, ttft=250.0, gaps=()) for i in range(40)]
    assert peaks(rows, 10.0, 20.0) == (4.0, 1)


def test_an_overloaded_open_loop_has_the_rate_of_what_was_served():
    """10 requests/s for 10 s at a server that makes 2 a second, one after another."""
    rows = [row(i, sent=i / 10, ttft=(i + 1) / 2 * 1e3 - i * 100, gaps=()) for i in range(100)]
    served = finished_within(rows, 0.0, 10.0)
    result = point_result(
        rows, run="1", point="rr10", attempt=1, window_s=10.0, errors=0, gpus=2, served=served
    )
    assert (result.completed, result.request_throughput) == (100, pytest.approx(2.0))
    assert result.tokens_per_s_per_gpu == pytest.approx(2 * 101 / 2)
