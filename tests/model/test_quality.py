import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.quality import Evidence, Limits, chi_square_tail, quality_flags

PAIRS = ("P1>D1", "P1>D2", "P2>D1", "P2>D2")

CLEAN = Evidence(
    completed=320,
    errors=0,
    wanted_requests=320,
    input_len=5000,
    output_len=250,
    wrong_input_lens=0,
    wrong_output_lens=0,
    ttft_p50_ms=300.0,
    ttft_p99_ms=900.0,
    prefix_query_tokens=3.2e6,
    prefix_hit_tokens=0.0,
    preemptions=0.0,
    decode_prompt_tokens=1.6e6,
    decode_local_compute_tokens=320.0,
    pairs={"P1>D1": 85, "P1>D2": 75, "P2>D1": 76, "P2>D2": 84},
    expected_pairs=PAIRS,
    driver_cpu_pct=12.0,
    router_cpu_pct=4.0,
    simulated_late_ms=0.8,
    drained=True,
)


def changed(**fields: object) -> Evidence:
    return Evidence(**{**{f: getattr(CLEAN, f) for f in CLEAN.__struct_fields__}, **fields})


def names(evidence: Evidence) -> list[str]:
    return [flag.name for flag in quality_flags(evidence)]


def test_a_clean_point_and_an_unknown_one_raise_nothing():
    assert names(CLEAN) == []
    assert names(Evidence()) == []


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"completed": 0, "errors": 9}, "no-requests"),
        ({"errors": 1, "first_error": "HTTP 500"}, "errors"),
        ({"completed": 300}, "short-window"),
        ({"completed": 99, "wanted_requests": 20}, "few-requests"),
        ({"wrong_input_lens": 2}, "prompt-tokens"),
        ({"wrong_output_lens": 2}, "output-tokens"),
        ({"prefix_hit_tokens": 1e5}, "prefix-cache-hits"),
        ({"prefix_hit_tokens": 1e5, "prompts_fixed": True}, "prefix-cache-hits"),
        ({"handshakes": 1.0}, "handshakes"),
        ({"ttft_p99_ms": 2660.0}, "ttft-tail"),
        ({"preemptions": 3.0}, "preemptions"),
        ({"decode_local_compute_tokens": 10640.0}, "re-prefill"),
        ({"stale_reads": 1.0}, "stale-kv"),
        ({"expired_requests": 2.0}, "kv-expired"),
        ({"failed_transfers": 1.0}, "failed-transfers"),
        ({"pairs": {"P1>D1": 160, "P2>D2": 160}}, "skewed-pairs"),  # round robin in lockstep
        ({"late_ms_p99": 25.0}, "driver-late"),
        ({"driver_cpu_pct": 93.0}, "driver-cpu"),
        ({"router_cpu_pct": 93.0}, "router-cpu"),
        ({"simulated_late_ms": 40.0}, "simulated-late"),
        ({"drained": False, "drain_detail": "P1 holds 3 % of its KV"}, "not-drained"),
        ({"without_usage": 4}, "no-usage"),
    ],
)
def test_each_rule_speaks_of_its_own_evidence_only(fields, flag):
    assert flag in names(changed(**fields))
    assert [n for n in names(changed(**fields)) if n not in {flag, "errors"}] == []


def test_hits_are_expected_where_decode_alone_answers_from_the_cache():
    wanted = changed(decode_only_by_prefix_cache=True, prefix_hit_tokens=3.2e6 * 4992 / 5000)
    assert names(wanted) == ["decode-by-prefix-cache"]
    missed = changed(decode_only_by_prefix_cache=True, prefix_hit_tokens=2.9e6)
    assert names(missed) == ["prefix-cache-misses", "decode-by-prefix-cache"]


def test_the_gravest_flag_comes_first_and_reads_as_a_sentence():
    flags = quality_flags(changed(completed=50, errors=50, first_error="HTTP 503", drained=False))
    assert [flag.weight for flag in flags] == ["bad", "warn", "warn", "info"]
    assert str(flags[0]) == "errors: 50 of 100 requests failed; first: HTTP 503"


def test_computing_the_last_token_of_a_prompt_on_decode_is_no_prefill():
    for of_each in (0.0, 1.0):
        assert names(changed(decode_local_compute_tokens=of_each * 320)) == []
        one_of_them = changed(decode_local_compute_tokens=of_each * 319 + 5000)
        assert names(one_of_them) == ["re-prefill"]


def test_the_limits_are_the_cluster_profiles():
    busy = changed(driver_cpu_pct=60.0)
    assert names(busy) == []
    assert [f.name for f in quality_flags(busy, Limits(driver_cpu_pct=50.0))] == ["driver-cpu"]


@given(st.integers(0, 2**32), st.integers(20, 400))
def test_random_pairing_is_hardly_ever_called_skewed(seed, n):
    rng = random.Random(seed)
    skewed = 0
    for _ in range(20):
        pairs: dict[str, int] = {}
        for _ in range(n):
            pair = rng.choice(PAIRS)
            pairs[pair] = pairs.get(pair, 0) + 1
        skewed += "skewed-pairs" in names(changed(pairs=pairs))
    assert skewed <= 2


@pytest.mark.parametrize(
    ("statistic", "df", "tail"),
    [(3.841, 1, 0.05), (10.828, 1, 0.001), (16.266, 3, 0.001), (24.996, 15, 0.05)],
)
def test_chi_square_tail_against_the_printed_table(statistic, df, tail):
    assert chi_square_tail(statistic, df) == pytest.approx(tail, abs=0.003)


def test_gaps_of_several_tokens_at_once_are_no_stalls() -> None:
    told = Evidence(kv_handed_over=True, itl_p50_ms=0.02, itl_p99_ms=60.0, tpot_p50_ms=15.0)
    assert quality_flags(told) == ()
    (flag,) = quality_flags(msgspec.structs.replace(told, itl_p99_ms=160.0))
    assert flag.evidence == "p99 ITL 160 ms is 11 times median TPOT on replicas that only decode"
    chunks = msgspec.structs.replace(told, itl_mean_ms=45.0, itl_p99_ms=160.0)
    assert quality_flags(chunks) == ()
    assert quality_flags(Evidence(kv_handed_over=True, itl_p50_ms=0.0, itl_p99_ms=160.0)) == ()
