"""Which time series an event contributes to; pure.

A series is a table: a kind and whom it is about, with a row of named numbers a sample. Counters
stay cumulative as the source counts them; whoever draws a rate takes differences.

    kind    of             columns
    gpus    node           `0.util_pct`, `0.memory_used_mib`, `0.temperature_c`, `0.power_w`, `1.…`
    nics    node           `<device>.<counter>`
    worker  run, process   running, waiting, kv_usage, …, as in WorkerSampled
    nixl    run, process   bytes, transfers, xfer_s, …, as in NixlSampled
    point   run, point     dt_s, in_flight, sent, finished, errors, tokens, and percentiles of the
                           tick: ttft_p50, ttft_p90, ttft_p99, … for ttft, tpot, itl, e2el (ms);
                           running, waiting: the sum of what the run's workers last said

Beside them stand, each over the last LIVE_WINDOW_S seconds and absent where that says nothing:

    nics    live_tx_bytes_per_s, live_rx_bytes_per_s   of all devices together
    nixl    live_wire_bytes_per_s                      bytes / seconds that passed
            live_transfer_bytes_per_s                  bytes / seconds in transfers
            live_failures                              failed, expired, or read after expiry
    point   live_ttft_p50, … for ttft, tpot, itl (ms), live_requests_per_s and
            live_input_tokens_per_s, live_output_tokens_per_s, live_total_tokens_per_s
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from pdconsole.model import events as ev
from pdconsole.model.live_window import QUANTILES, CounterWindow, LatencyWindow
from pdconsole.model.statistics import percentiles_of_histogram

# Raise it whenever the fold makes other rows of the same events: sidecars of another version are
# made anew from their recordings.
FOLD_VERSION = 3

SAMPLED_S = 1.0  # from one sample of a replica to the next

SeriesKey: TypeAlias = tuple[str, ...]  # ("worker", "1", "P1")


class SeriesRow(msgspec.Struct, frozen=True):
    """One sample: a number for each column that the event has; what it lacks is left out."""

    key: SeriesKey
    seq: int
    t: float  # session seconds at which the sample was taken, as well as the clocks are known
    values: dict[str, float]


class SeriesFold:
    """Turns events, in the order of the recording, into rows.

    It remembers the nodes' clocks and which node a process is on, because a sample that comes late
    (a connection was lost for a while) belongs where it was taken and not where it arrived; and
    the last seconds of each source, for what is said of a window.
    """

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}
        self._nodes: dict[tuple[str, str], str] = {}
        self._latencies = LatencyWindow()
        self._counters: defaultdict[SeriesKey, CounterWindow] = defaultdict(CounterWindow)
        self._workers: defaultdict[str, dict[str, ev.WorkerSampled]] = defaultdict(dict)

    def row(self, event: ev.Event) -> SeriesRow | None:
        """The row of this event, or None when it has none."""
        if isinstance(event, ev.NodeClock):
            self._offsets[event.node] = event.offset_s
        elif isinstance(event, ev.ProcessState):
            self._nodes[event.run, event.process] = event.node
        elif isinstance(event, ev.EpochOpened):
            self._offsets.clear()  # session time was set anew
            self._latencies.clear()
        elif isinstance(event, ev.PointState) and event.status == "warmup":
            self._latencies.clear()
        elif isinstance(event, ev.RunState) and event.status == "launching":
            self._workers.pop(event.run, None)
        sample = _SAMPLES.get(type(event))
        if sample is None:
            return None
        key, values = sample(event)
        values.update(self._of_the_window(key, event))
        return SeriesRow(key, event.seq, self._taken_at(event), values)

    def _of_the_window(self, key: SeriesKey, event: ev.Event) -> dict[str, float]:
        match event:
            case ev.PointTick():
                return self._latencies.add(event) | self._load_of_workers(event.run)
            case ev.WorkerSampled():
                self._workers[event.run][event.process] = event
                return {}
            case ev.NixlSampled():
                counters = _nixl_counters(event)
                if key not in self._counters:
                    self._begin_failures(key, event.node_t, counters)
                return _nixl_rates(*self._counters[key].add(event.node_t, counters))
            case ev.NicsSampled():
                return _nic_rates(*self._counters[key].add(event.node_t, _nic_counters(event)))
            case _:
                return {}

    def _begin_failures(self, key: SeriesKey, node_t: float, counters: dict[str, float]) -> None:
        """A prefill replica is sampled only once KV expired on it, and that counts too."""
        if any(counters.get(name) for name in _FAILURES):
            none = {name: 0.0 for name in _FAILURES if name in counters}
            self._counters[key].add(node_t - SAMPLED_S, {**counters, **none})

    def _load_of_workers(self, run: str) -> dict[str, float]:
        samples = self._workers[run].values()
        found = {
            name: [value for s in samples if (value := getattr(s, name)) is not None]
            for name in ("running", "waiting")
        }
        return {name: sum(values) for name, values in found.items() if values}

    def _taken_at(self, event: Any) -> float:
        if isinstance(event, ev.GpusSampled | ev.NicsSampled):
            node = event.node
        else:
            process = "driver" if isinstance(event, ev.PointTick) else event.process
            node = self._nodes.get((event.run, process), "")
        arrived: float = event.t
        offset = self._offsets.get(node)
        # A sample cannot have been taken after it arrived.
        return arrived if offset is None else min(arrived, event.node_t - offset)


_Sample: TypeAlias = tuple[SeriesKey, dict[str, float]]


def _gpus(event: ev.GpusSampled) -> _Sample:
    values: dict[str, float] = {}
    for gpu in event.gpus:
        for name in ("util_pct", "memory_used_mib", "temperature_c", "power_w"):
            _put(values, f"{gpu.index}.{name}", getattr(gpu, name))
    return ("gpus", event.node), values


def _nics(event: ev.NicsSampled) -> _Sample:
    values = {
        f"{device}.{counter}": float(value)
        for device, counters in event.counters.items()
        for counter, value in counters.items()
    }
    return ("nics", event.node), values


_WORKER_COLUMNS = (
    "running",
    "waiting",
    "kv_usage",
    "preemptions",
    "prompt_tokens",
    "generation_tokens",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "local_compute_tokens",
    "late_ms",
)
_NIXL_COLUMNS = (
    "bytes",
    "transfers",
    "xfer_s",
    "post_s",
    "descriptors",
    "failed_transfers",
    "failed_notifications",
    "expired",
    "notifications_after_expiry",
)
_POINT_COLUMNS = (
    "dt_s",
    "in_flight",
    "sent",
    "finished",
    "errors",
    "input_tokens",
    "output_tokens",
    "late_ms",
    "cpu_pct",
)


def _worker(event: ev.WorkerSampled) -> _Sample:
    return ("worker", event.run, event.process), _numbers(event, _WORKER_COLUMNS)


def _nixl(event: ev.NixlSampled) -> _Sample:
    return ("nixl", event.run, event.process), _numbers(event, _NIXL_COLUMNS)


def _point(event: ev.PointTick) -> _Sample:
    values = _numbers(event, _POINT_COLUMNS)
    for name in ("ttft", "tpot", "itl", "e2el"):
        found = percentiles_of_histogram(getattr(event, name), QUANTILES)
        for q, value in zip(QUANTILES, found, strict=True):
            _put(values, f"{name}_p{q}", value)
    return ("point", event.run, event.point), values


_FAILURES = (
    "failed_transfers",
    "failed_notifications",
    "expired",
    "notifications_after_expiry",
)


def _nixl_counters(event: ev.NixlSampled) -> dict[str, float]:
    return _numbers(event, ("bytes", "xfer_s", *_FAILURES))


def _nixl_rates(seconds: float, grown: dict[str, float]) -> dict[str, float]:
    rates: dict[str, float] = {}
    if seconds > 0:
        if "bytes" in grown:
            rates["live_wire_bytes_per_s"] = grown["bytes"] / seconds
        failures = [grown[name] for name in _FAILURES if name in grown]
        if failures:
            rates["live_failures"] = sum(failures)
    if grown.get("xfer_s", 0.0) > 0 and "bytes" in grown:
        rates["live_transfer_bytes_per_s"] = grown["bytes"] / grown["xfer_s"]
    return rates


def _nic_counters(event: ev.NicsSampled) -> dict[str, float]:
    return {
        f"{device}.{counter}": float(value)
        for device, counters in event.counters.items()
        for counter, value in counters.items()
        if counter in ("tx_bytes", "rx_bytes")
    }


def _nic_rates(seconds: float, grown: dict[str, float]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for counter in ("tx_bytes", "rx_bytes"):
        of_devices = [n for name, n in grown.items() if name.endswith(f".{counter}")]
        if seconds > 0 and of_devices:
            rates[f"live_{counter}_per_s"] = sum(of_devices) / seconds
    return rates


def _numbers(event: ev.Event, columns: tuple[str, ...]) -> dict[str, float]:
    values: dict[str, float] = {}
    for column in columns:
        _put(values, column, getattr(event, column))
    return values


def _put(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = float(value)


_SAMPLES: dict[type[ev.Event], Callable[[Any], _Sample]] = {
    ev.GpusSampled: _gpus,
    ev.NicsSampled: _nics,
    ev.WorkerSampled: _worker,
    ev.NixlSampled: _nixl,
    ev.PointTick: _point,
}
