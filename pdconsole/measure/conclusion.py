"""What a finished point comes to: rows, result, flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pdconsole.measure.deployment import Process
from pdconsole.measure.driver_log import DriverLog, Summary
from pdconsole.measure.driver_spec import Target, wanted_requests
from pdconsole.measure.errors import MeasureError
from pdconsole.measure.evidence import ServerSide, gather
from pdconsole.measure.outcome import finished_within, peaks, point_result
from pdconsole.measure.prometheus import growth
from pdconsole.measure.rows import request_rows
from pdconsole.measure.scrape import Scrape
from pdconsole.model.events import KvValidated
from pdconsole.model.grid import SlotKind
from pdconsole.model.measurement import DriverFacts, PointMeasurement
from pdconsole.model.plan import RunPlan
from pdconsole.model.quality import Limits, quality_flags
from pdconsole.model.workload import MeasurePolicy, Point
from pdconsole.profiles.schema import Thresholds

# Scrapes that lie closer together than this share of the window do not speak for it.
LEAST_COVER = 0.5


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a point besides what its driver said."""

    run: RunPlan
    point: Point
    attempt: int
    policy: MeasurePolicy
    target: Target
    workers: Sequence[Process]
    limits: Limits
    seed: str
    driver_node: str
    started_wall: float
    opened: Scrape | None
    closed: Scrape | None
    router_cores: int | None
    still_busy: tuple[str, ...] | None
    slot_kind: SlotKind = "gpu"
    validation: KvValidated | None = None
    complaint: str = ""  # of a replica, where requests failed


def limits_of(thresholds: Thresholds) -> Limits:
    return Limits(
        driver_cpu_pct=thresholds.driver_cpu_pct,
        router_cpu_pct=thresholds.router_cpu_pct,
        late_ms=thresholds.late_ms,
        simulated_late_ms=thresholds.simulated_late_ms,
    )


def conclude(
    log: DriverLog, gaps: Mapping[int, tuple[float, ...]], c: Circumstances
) -> PointMeasurement:
    """The point's measurement. Raises MeasureError when the driver gave no summary."""
    summary = log.summary
    if summary is None:
        raise MeasureError(f"Point {c.point.id}: the load driver ended without a summary")
    rows = request_rows(log.requests, gaps)
    result = point_result(
        rows,
        run=c.run.id,
        point=c.point.id,
        attempt=c.attempt,
        window_s=summary.window_s,
        errors=sum(row.phase == "window" and bool(row.error) for row in rows),
        gpus=c.run.loaded_gpus(c.slot_kind),
        served=None
        if c.point.kind == "concurrency"
        else finished_within(rows, summary.t0_node, summary.t1_node),
    )
    server = server_side(c, summary.window_s)
    evidence = gather(
        rows,
        result,
        summary,
        kind=c.point.kind,
        workload=c.run.workload,
        target=c.target,
        workers=c.workers,
        # With an interval to reach, the number of requests is not what closes the window.
        wanted_requests=wanted_requests(c.policy, c.point)
        if c.policy.until_relative_ci is None
        else None,
        whole_run=c.policy.window == "whole",
        server=server,
        validation=c.validation,
        complaint=c.complaint,
    )
    flags = quality_flags(evidence, c.limits)
    tokens_per_s, concurrent = peaks(rows, summary.t0_node, summary.t1_node)
    return PointMeasurement(
        result=msgspec.structs.replace(result, flags=tuple(map(str, flags))),
        requests=rows,
        t0_node_t=summary.t0_node,
        t1_node_t=summary.t1_node,
        seed=c.seed,
        started_wall=c.started_wall,
        window_wall=log.wall_of(summary.t0_node),
        flags=flags,
        driver=_driver_facts(c, summary),
        worker_deltas=server.deltas,
        max_output_tokens_per_s=tokens_per_s,
        max_concurrent_requests=concurrent,
        drained=evidence.drained,
        input_tokens=sum(row.input_tokens for row in rows if row.in_window),
        output_tokens=sum(row.output_tokens for row in rows if row.in_window),
        decode_only_by_prefix_cache=c.target.by_prefix_cache,
        target=c.target.urls,
    )


def server_side(c: Circumstances, window_s: float) -> ServerSide:
    """What the servers counted between the two scrapes, if these span the window."""
    opened, closed = c.opened, c.closed
    if opened is None or closed is None or closed.at - opened.at < LEAST_COVER * window_s:
        return ServerSide(still_busy=c.still_busy)
    both = opened.workers.keys() & closed.workers.keys()
    cpu_pct = None
    if opened.router_cpu_s is not None and closed.router_cpu_s is not None and c.router_cores:
        used = (closed.router_cpu_s - opened.router_cpu_s) / (closed.at - opened.at)
        cpu_pct = 100 * used / c.router_cores
    return ServerSide(
        deltas={n: growth(opened.workers[n], closed.workers[n]) for n in sorted(both)},
        after=closed.workers,
        router_cpu_pct=cpu_pct,
        still_busy=c.still_busy,
    )


def _driver_facts(c: Circumstances, summary: Summary) -> DriverFacts:
    return DriverFacts(
        node=c.driver_node,
        sent=summary.sent,
        max_in_flight=summary.max_in_flight,
        late_ms_p99=summary.late_ms_p99 if c.point.kind == "request_rate" else None,
        cpu_pct=summary.cpu_pct,
        first_error=summary.first_error,
    )
