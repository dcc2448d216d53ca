"""From scrapes and rows to flags, through the conclusion of a point."""

from __future__ import annotations

import fake_measuring as fake
import pytest

from pdconsole.measure.conclusion import Circumstances, conclude, limits_of, server_side
from pdconsole.measure.driver_log import DriverLog
from pdconsole.measure.driver_spec import target_of
from pdconsole.measure.scrape import Scrape
from pdconsole.model.quality import Limits
from pdconsole.model.workload import MeasurePolicy, Point
from pdconsole.profiles.schema import Thresholds

HITS, QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"
PROMPT = "vllm:prompt_tokens_total"
LOCAL = 'vllm:prompt_tokens_by_source_total{source="local_compute"}'
LATE = 'pdconsole_sim_late_seconds_bucket{le="%s"}'


def circumstances(
    after: dict[str, dict[str, float]],
    *,
    layout: str = "1P-TP1+2D-TP1",
    mode: str = "mixed",
    point: Point = fake.POINT,
    at: float = 10.0,
    cpu_s: float | None = None,
    policy: MeasurePolicy = fake.POLICY,
) -> Circumstances:
    run = fake.run_plan(layout, mode)
    deployment = fake.deployment_of(run)
    before = {name: dict.fromkeys(samples, 0.0) for name, samples in after.items()}
    return Circumstances(
        run=run,
        point=point,
        attempt=1,
        policy=policy,
        target=target_of(run.workload, deployment.workers, deployment.router_url),
        workers=deployment.workers,
        limits=limits_of(fake.CLUSTER.thresholds),
        seed="s",
        driver_node="a",
        started_wall=0.0,
        opened=Scrape(at=9.0, workers=before, router_cpu_s=None if cpu_s is None else 0.0),
        closed=Scrape(at=at, workers=after, router_cpu_s=cpu_s),
        router_cores=2,
        still_busy=(),
    )


def flags_of(c: Circumstances, *lines: bytes, **summary: object) -> dict[str, str]:
    log = DriverLog("1", "conc2", 1)
    told = lines or tuple(fake.request_line(i, "window", 100.0 + i / 10) for i in range(4))
    for line in (*told, fake.summary_line(**summary)):
        list(log.take(line))
    flags = {flag.name: flag.evidence for flag in conclude(log, {}, c).flags}
    flags.pop("few-requests", None)
    return flags


def test_quiet_servers_raise_nothing():
    quiet = {n: {HITS: 0.0, QUERIES: 256.0, PROMPT: 256.0, LOCAL: 4.0} for n in ("P1", "D1", "D2")}
    assert flags_of(circumstances(quiet, cpu_s=0.01)) == {}


def test_hits_anywhere_in_the_fleet_count():
    warm = {"P1": {HITS: 128.0, QUERIES: 256.0}, "D1": {HITS: 0.0, QUERIES: 256.0}}
    assert flags_of(circumstances(warm)) == {
        "prefix-cache-hits": "25.0 % of the prompt tokens came from the prefix cache"
    }


def test_only_decode_replicas_can_re_prefill():
    both = {"P1": {PROMPT: 256.0, LOCAL: 256.0}, "D1": {PROMPT: 256.0, LOCAL: 4.0}}
    assert flags_of(circumstances(both)) == {}
    both["D1"][LOCAL] = 256.0
    assert list(flags_of(circumstances(both))) == ["re-prefill"]


def test_a_decode_replica_loaded_alone_prefills_on_purpose():
    alone = circumstances({"D1": {PROMPT: 256.0, LOCAL: 256.0}}, mode="decode-only")
    told = [fake.request_line(i, "window", 100.0, prefill="") for i in range(4)]
    assert list(flags_of(alone, *told)) == ["decode-by-prefix-cache"]


def test_handshakes_in_the_window_are_those_that_decode_replicas_count():
    met = {name: {"pdconsole_sim_handshakes_total": 1.0} for name in ("P1", "D1", "D2")}
    assert flags_of(circumstances(met)) == {"handshakes": "decode replicas counted 2 in the window"}


def test_pairs_are_held_against_all_that_the_layout_can_form():
    told = [fake.request_line(i, "window", 100.0, decode="D1") for i in range(40)]
    flags = flags_of(circumstances({}), *told)
    assert flags["skewed-pairs"].startswith("P1>D1 took 40 of 40 requests, 2.0 times its share")


def test_lateness_is_told_of_open_loops_only():
    late = {"late_ms_p99": 80.0}
    assert flags_of(circumstances({}), **late) == {}
    rate = circumstances({}, point=Point("request_rate", 4.0))
    assert list(flags_of(rate, **late)) == ["driver-late"]


def test_every_threshold_of_the_cluster_reaches_its_rule():
    names = set(Limits.__struct_fields__) & set(Thresholds.model_fields)
    thresholds = Thresholds(**{name: 1.0 + i for i, name in enumerate(sorted(names))})
    limits = limits_of(thresholds)
    assert "late_ms" in names
    assert all(getattr(limits, name) == getattr(thresholds, name) for name in names)


def test_the_rates_of_an_open_loop_are_of_what_finished_in_its_window():
    told = [fake.request_line(i, "window", 100.0 + i / 5) for i in range(4)]  # 50 ms each
    for point, served in ((Point("request_rate", 5.0), 3), (fake.POINT, 4)):
        log = DriverLog("1", point.id, 1)
        for line in (*told, fake.summary_line()):
            list(log.take(line))
        result = conclude(log, {}, circumstances({}, point=point)).result
        assert (result.completed, result.request_throughput) == (4, served / 0.5)


def test_errors_and_lengths_of_the_window_only():
    told = [
        fake.request_line(0, "warmup", 99.0, error="HTTP 500", e2el_ms=None),
        fake.request_line(1, "window", 100.0, error="HTTP 503", e2el_ms=None),
        fake.request_line(2, "window", 100.0, input_tokens=0),
        fake.request_line(3, "window", 100.0, input_tokens=63, output_tokens=2),
        *(fake.request_line(i, "window", 100.0) for i in range(4, 8)),
    ]
    flags = flags_of(circumstances({}), *told, first_error="HTTP 500")
    assert flags["errors"] == "1 of 7 requests failed; first: HTTP 503"
    assert set(flags) == {"errors", "no-usage", "prompt-tokens", "output-tokens"}


def test_a_window_that_a_confidence_interval_closes_is_never_short():
    wanted = MeasurePolicy(min_requests=20, until_relative_ci=0.05)
    assert flags_of(circumstances({}, policy=wanted)) == {}
    assert list(flags_of(circumstances({}, policy=MeasurePolicy()))) == ["short-window"]


def test_the_simulated_workers_lateness_is_the_windows_and_the_worsts():
    late = {
        "P1": {LATE % "0.001": 100.0, LATE % "0.1": 100.0, LATE % "+Inf": 100.0},
        "D1": {LATE % "0.001": 0.0, LATE % "0.1": 100.0, LATE % "+Inf": 100.0},
    }
    assert "99.0 ms behind" in flags_of(circumstances(late))["simulated-late"]
    gauge = {"P1": {"pdconsole_sim_late_p99_seconds": 0.05}}
    assert "50.0 ms behind" in flags_of(circumstances(gauge))["simulated-late"]


def test_router_cpu_is_of_all_cores_of_its_node():
    busy = circumstances({}, cpu_s=1.9)  # in 1 s on 2 cores
    assert server_side(busy, 0.5).router_cpu_pct == pytest.approx(95.0)
    assert list(flags_of(busy)) == ["router-cpu"]
    assert server_side(circumstances({}), 0.5).router_cpu_pct is None


def test_scrapes_that_do_not_span_the_window_are_not_used():
    hits = {"P1": {HITS: 256.0, QUERIES: 256.0}}
    assert flags_of(circumstances(hits, at=9.1)) == {}


def test_stalls_of_decode_replicas_are_seen_in_the_gaps_of_live_points():
    told = [fake.request_line(i, "window", 100.0 + i / 10) for i in range(4)]
    gaps = {i: (10.0, 10.0, 10.0, 300.0 if i == 3 else 10.0) for i in range(4)}
    for mode, layout, flagged in (
        ("mixed", "1P-TP1+2D-TP1", True),
        ("mixed", "2xTP1", False),  # there it is prefill
        ("decode-only", "1P-TP1+2D-TP1", False),
    ):
        log = DriverLog("1", "conc2", 1)
        for line in (*told, fake.summary_line()):
            list(log.take(line))
        flags = conclude(log, gaps, circumstances({}, layout=layout, mode=mode)).flags
        assert ("decode-stalls" in {flag.name for flag in flags}) is flagged


def test_a_whole_run_counts_its_ends():
    whole = circumstances({}, policy=MeasurePolicy(window="whole", min_requests=1, window_rounds=1))
    told = [fake.request_line(i, "window", 100.0, e2el_ms=90.0) for i in range(4)]
    assert "5.6 times the 0.1 s" in flags_of(whole, *told)["short-window"]
    steady = MeasurePolicy(min_requests=1, window_rounds=1)
    assert flags_of(circumstances({}, policy=steady), *told) == {}


def test_when_the_window_opened_is_told_by_the_line_that_was_least_late():
    now = iter((1000.0, 1007.5, 1020.1))
    log = DriverLog("1", "conc2", 1, wall=lambda: next(now))
    for phase, node_t in (("warmup", 95.0), ("window", 102.4), ("drain", 115.0)):
        list(log.take(b'{"kind":"phase","phase":"%s","node_t":%f}' % (phase.encode(), node_t)))
    for line in (fake.request_line(0, "window", 103.0), fake.summary_line(t0_node=102.3)):
        list(log.take(line))
    measured = conclude(log, {}, circumstances({}))
    assert measured.window_wall == pytest.approx(1000.0 - 95.0 + 102.3)
    assert DriverLog("1", "conc2", 1).wall_of(1.0) is None
