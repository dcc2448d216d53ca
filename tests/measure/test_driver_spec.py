import heapq
import random
from pathlib import Path
from statistics import fmean

import fake_measuring as fake
import pytest

from pdconsole.agent.drive.spec import parse_spec
from pdconsole.agent.drive.window import ClosedWindow
from pdconsole.measure.driver_spec import (
    driver_spec,
    prompt_seed,
    target_of,
    wanted_requests,
    warmup_requests,
)
from pdconsole.model.workload import MeasurePolicy, Point


def spec_of(layout: str, mode: str, point: Point = fake.POINT, made_up_kv: bool = False):
    run = fake.run_plan(layout, mode)
    deployment = fake.deployment_of(run)
    target = target_of(
        run.workload, deployment.workers, deployment.router_url, made_up_kv=made_up_kv
    )
    raw = driver_spec(
        target=target,
        workers=deployment.workers,
        workload=run.workload,
        point=point,
        policy=MeasurePolicy(),
        served_name="m",
        vocab=(1000, 30000),
        seed="x",
    )
    return target, parse_spec(raw, Path("/dir"))


ROUTER = "http://10.0.0.1:8000/v1/completions"
FIRST, SECOND = "http://10.0.0.1:8100", "http://10.0.0.1:8101"


@pytest.mark.parametrize("mode", ["mixed", "prefill-only", "decode-only"])
def test_with_ray_all_load_goes_through_serve(mode: str) -> None:
    run = fake.run_plan("2P-TP2+1D-TP4", mode)
    deployment = fake.deployment_of(run)
    target = target_of(
        run.workload, deployment.workers, "http://s:8000", made_up_kv=True, by_ray=True
    )
    assert target.urls == ("http://s:8000",)
    assert target.warm_pairs == (mode == "mixed")


@pytest.mark.parametrize(
    ("layout", "mode", "urls", "gpus", "warms"),
    [
        ("2P-TP2+1D-TP4", "mixed", [ROUTER], 8, True),
        ("2P-TP2+1D-TP4", "prefill-only", [FIRST, SECOND], 4, False),
        ("1P-TP2+1D-TP4", "decode-only", [SECOND + "/v1/completions"], 4, False),
        ("2xTP2", "mixed", [ROUTER], 4, False),
        ("2xTP2", "prefill-only", [ROUTER], 4, False),
        ("2xTP2", "decode-only", [FIRST, SECOND], 4, False),
    ],
)
def test_whom_each_mode_loads(layout, mode, urls, gpus, warms):
    target, spec = spec_of(layout, mode)
    assert list(spec.urls) == urls
    assert fake.run_plan(layout, mode).loaded_gpus("gpu") == gpus
    assert (spec.warm_pairs is not None) == warms
    assert spec.max_tokens == (1 if mode == "prefill-only" else 3)
    assert target.by_prefix_cache == (mode == "decode-only")
    assert spec.fills_caches == (mode == "decode-only")


def test_made_up_kv_needs_no_prompt_to_be_primed():
    target, spec = spec_of("1P-TP2+1D-TP4", "decode-only", made_up_kv=True)
    assert list(spec.urls) == [SECOND + "/v1/completions"]
    assert (target.made_up_kv, target.by_prefix_cache, spec.fills_caches) == (True, False, False)
    assert not spec_of("2xTP2", "mixed", made_up_kv=True)[0].made_up_kv


def test_the_driver_reads_what_it_is_told():
    _, spec = spec_of("1P-TP1+1D-TP1", "mixed")
    assert (spec.concurrency, spec.warmup_requests, spec.window_requests) == (2, 5, 20)
    assert spec.replicas == {"10.0.0.1:8100": "P1", "10.0.0.1:8101": "D1"}
    _, spec = spec_of("1P-TP1+1D-TP1", "mixed", Point("request_rate", 0.5))
    assert (spec.kind, spec.value, spec.window_requests) == ("request_rate", 0.5, 20)


def test_prompts_are_fresh_at_every_point_and_attempt_but_not_by_layout():
    fresh, fixed = fake.run_plan().workload, fake.run_plan(prompts="fixed").workload
    points = [Point("concurrency", 4), Point("concurrency", 8), Point("request_rate", 4)]
    seeds = {prompt_seed("s", p, attempt, fresh) for p in points for attempt in (1, 2)}
    assert len(seeds) == 6
    assert len({prompt_seed("s", p, a, fixed) for p in points for a in (1, 2)}) == 1
    assert prompt_seed("s", points[0], 1, fresh) != prompt_seed("t", points[0], 1, fresh)


def test_a_window_never_wants_nothing():
    assert wanted_requests(MeasurePolicy(min_requests=0), Point("request_rate", 1)) == 1
    assert wanted_requests(MeasurePolicy(window_rounds=2.5), Point("concurrency", 16)) == 40


def rate_in_window(policy: MeasurePolicy, point: Point, seed: int) -> float:
    """Of requests that are sent together at first and take 3 s, give or take 5 %; true is 1."""
    chance = random.Random(seed)
    ends = [chance.gauss(3, 0.15) for _ in range(int(point.value))]
    heapq.heapify(ends)
    window = ClosedWindow(
        0.0,
        concurrency=int(point.value),
        warmup_requests=warmup_requests(policy, point),
        window_requests=wanted_requests(policy, point),
        min_s=policy.min_window_s,
        max_s=policy.max_window_s,
    )
    counted = 0
    while window.t1 is None:
        end = heapq.heapreplace(ends, ends[0] + chance.gauss(3, 0.15))
        counted += window.on_over(end, 0.0, 3000.0) == "window"
    return counted / (window.t1 - window.t0) / (point.value / 3)


@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_bunches_that_widen_do_not_bias_the_rate(concurrency):
    rates = [
        rate_in_window(MeasurePolicy(), Point("concurrency", concurrency), i) for i in range(40)
    ]
    assert fmean(rates) == pytest.approx(1, abs=0.005)
