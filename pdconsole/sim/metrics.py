"""A worker's /metrics: vLLM's names, labels and buckets, and how late the simulation runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pdconsole.sim.engine import Replica
from pdconsole.sim.fetching import Fetched
from pdconsole.sim.prometheus import Histogram, family, sample
from pdconsole.sim.sequence import Sequence

TTFT_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
REQUEST_BOUNDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0),
    *(240.0, 480.0, 960.0, 1920.0, 7680.0),
)
ITERATION_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
POST_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
BYTES_BOUNDS = tuple(float(1 << (10 + i)) for i in range(1, 25, 2))
DESCRIPTOR_BOUNDS = (10, 20, 30, 50, 75, 100, 200, 400, 1000, 2000, 4000, 10000, 20000, 50000)
LATE_BOUNDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

LATE_WINDOW_S = 10.0


def length_bounds(longest: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `longest`."""
    bounds: list[int] = []
    decade = 1
    while decade <= longest:
        bounds += [step * decade for step in (1, 2, 5) if step * decade <= longest]
        decade *= 10
    return tuple(bounds)


class Lateness:
    """How far behind the model's clock tokens were sent: in all, and in the last ten seconds."""

    def __init__(self) -> None:
        self.histogram = Histogram(LATE_BOUNDS)
        self._recent: deque[tuple[float, float]] = deque()

    def observe(self, now: float, late_s: float) -> None:
        late_s = max(0.0, late_s)
        self.histogram.observe(late_s)
        self._recent.append((now, late_s))
        while self._recent[0][0] < now - LATE_WINDOW_S:
            self._recent.popleft()

    def p99_s(self, now: float) -> float:
        """Of the batches sent in the last ten seconds; 0 where none was."""
        recent = sorted(late for when, late in self._recent if when >= now - LATE_WINDOW_S)
        return recent[int(0.99 * (len(recent) - 1))] if recent else 0.0


class WorkerMetrics:
    """What a worker observes; the replica's own counters are read when asked."""

    def __init__(self, replica: Replica, model_name: str, max_model_len: int) -> None:
        self._replica = replica
        self._labels = {"model_name": model_name, "engine": "0"}
        lengths = length_bounds(max_model_len)
        self.ttft = Histogram(TTFT_BOUNDS)
        self.inter_token = Histogram(TOKEN_BOUNDS)
        self.per_output_token = Histogram(TOKEN_BOUNDS)
        self.e2e = Histogram(REQUEST_BOUNDS)
        self.queue = Histogram(REQUEST_BOUNDS)
        self.prefill = Histogram(REQUEST_BOUNDS)
        self.decode = Histogram(REQUEST_BOUNDS)
        self.inference = Histogram(REQUEST_BOUNDS)
        self.prompt_lengths = Histogram(lengths)
        self.generation_lengths = Histogram(lengths)
        self.computed_lengths = Histogram(lengths)
        self.iteration = Histogram(ITERATION_BOUNDS)
        self.xfer = Histogram(POST_BOUNDS[1:])
        self.post = Histogram(POST_BOUNDS)
        self.bytes = Histogram(BYTES_BOUNDS)
        self.descriptors = Histogram(DESCRIPTOR_BOUNDS)
        self.late = Lateness()
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.by_source = {"local_compute": 0, "local_cache_hit": 0, "external_kv_transfer": 0}
        self.successes = {"stop": 0, "length": 0, "abort": 0, "error": 0}
        self.failed_transfers = 0
        self.failed_notifications = 0

    def observe_first_token(self, sequence: Sequence, sent: float) -> None:
        self.ttft.observe(sent - sequence.arrived)
        self.prompt_tokens += sequence.prompt
        local = sequence.prompt - sequence.cached - sequence.external
        self.by_source["local_compute"] += local
        self.by_source["local_cache_hit"] += sequence.cached
        self.by_source["external_kv_transfer"] += sequence.external
        self.computed_lengths.observe(local)

    def observe_finished(self, sequence: Sequence, sent: float) -> None:
        self.successes["length"] += 1
        decode = sequence.last_token - sequence.first_token
        self.e2e.observe(sent - sequence.arrived)
        self.queue.observe(sequence.scheduled - sequence.ready)
        self.prefill.observe(sequence.first_token - sequence.scheduled)
        self.decode.observe(decode)
        self.inference.observe(sequence.last_token - sequence.scheduled)
        self.prompt_lengths.observe(sequence.prompt)
        self.generation_lengths.observe(sequence.generated)
        if sequence.generated > 1:
            self.per_output_token.observe(decode / (sequence.generated - 1))

    def observe_transfer(self, fetched: Fetched) -> None:
        """vLLM's NIXL numbers are counted by each rank, of its own share."""
        ranks = self._replica.settings.tp
        self.xfer.observe(fetched.at - fetched.posted, ranks)
        self.post.observe(fetched.post_s, ranks)
        self.bytes.observe(fetched.bytes / ranks, ranks)
        self.descriptors.observe(fetched.descriptors, ranks)

    def exposition(self, now: float) -> bytes:
        lines = [*self._scheduler(), *self._tokens(), *self._latencies(), *self._simulation(now)]
        if self._replica.settings.connector:
            lines += self._nixl()
        return ("\n".join(lines) + "\n").encode()

    # --- families ---

    def _gauge(self, name: str, help_text: str, value: float, **labels: str) -> Iterable[str]:
        full = {**self._labels, **labels}
        return family(name, "gauge", help_text, [sample(name, full, value)])

    def _counter(self, name: str, help_text: str, value: float) -> Iterable[str]:
        return family(name, "counter", help_text, [sample(name, self._labels, value)])

    def _by(
        self, name: str, kind: str, help_text: str, label: str, values: dict[str, int]
    ) -> Iterable[str]:
        samples = [sample(name, {**self._labels, label: k}, v) for k, v in values.items()]
        return family(name, kind, help_text, samples)

    def _histogram(self, name: str, help_text: str, histogram: Histogram) -> Iterable[str]:
        return family(name, "histogram", help_text, histogram.samples(name, self._labels))

    def _scheduler(self) -> Iterable[str]:
        replica = self._replica
        fetcher = replica.fetcher
        fetching = 0 if fetcher is None else len(fetcher)
        moving = 0 if fetcher is None else fetcher.in_progress
        deferred = fetching + replica.loaded
        yield from self._gauge(
            "vllm:num_requests_running", "Requests in execution batches.", replica.running
        )
        yield from self._gauge(
            "vllm:num_requests_waiting", "Requests waiting.", replica.waiting + deferred
        )
        yield from self._by(
            "vllm:num_requests_waiting_by_reason",
            "gauge",
            "Requests waiting, by reason.",
            "reason",
            {"capacity": replica.waiting, "deferred": deferred},
        )
        yield from self._by(
            "vllm:num_requests_kv_fetch_by_stage",
            "gauge",
            "Requests by stage of fetching remote KV.",
            "stage",
            {
                "waiting_to_start": fetching - moving,
                "in_progress": moving,
                "completed_waiting": replica.loaded,
            },
        )
        yield from self._gauge(
            "vllm:kv_cache_usage_perc", "KV cache usage, 1 is full.", replica.pool.usage
        )
        counters = replica.counters
        for name, help_text, value in (
            ("vllm:num_preemptions_total", "Preemptions.", counters.preemptions),
            ("vllm:prefix_cache_queries_total", "Tokens looked up.", counters.prefix_queries),
            ("vllm:prefix_cache_hits_total", "Tokens found.", counters.prefix_hits),
            (
                "vllm:external_prefix_cache_queries_total",
                "Tokens looked up elsewhere.",
                counters.external_queries,
            ),
            (
                "vllm:external_prefix_cache_hits_total",
                "Tokens found elsewhere.",
                counters.external_hits,
            ),
        ):
            yield from self._counter(name, help_text, value)

    def _tokens(self) -> Iterable[str]:
        yield from self._counter(
            "vllm:prompt_tokens_total", "Prompt tokens processed.", self.prompt_tokens
        )
        yield from self._by(
            "vllm:prompt_tokens_by_source_total",
            "counter",
            "Prompt tokens, by where their KV came from.",
            "source",
            self.by_source,
        )
        yield from self._counter(
            "vllm:prompt_tokens_cached_total",
            "Prompt tokens not computed here.",
            self.by_source["local_cache_hit"] + self.by_source["external_kv_transfer"],
        )
        yield from self._counter(
            "vllm:generation_tokens_total", "Generated tokens.", self.generation_tokens
        )
        yield from self._by(
            "vllm:request_success_total",
            "counter",
            "Finished requests.",
            "finished_reason",
            self.successes,
        )

    def _latencies(self) -> Iterable[str]:
        for name, help_text, histogram in (
            ("time_to_first_token_seconds", "Time to first token.", self.ttft),
            ("inter_token_latency_seconds", "Time between tokens.", self.inter_token),
            (
                "request_time_per_output_token_seconds",
                "Time per output token after the first.",
                self.per_output_token,
            ),
            ("e2e_request_latency_seconds", "From arrival to the last token.", self.e2e),
            ("request_queue_time_seconds", "Time spent waiting.", self.queue),
            ("request_prefill_time_seconds", "Time in prefill.", self.prefill),
            ("request_decode_time_seconds", "Time in decode.", self.decode),
            ("request_inference_time_seconds", "Time running.", self.inference),
            ("request_prompt_tokens", "Prompt lengths.", self.prompt_lengths),
            ("request_generation_tokens", "Output lengths.", self.generation_lengths),
            (
                "request_prefill_kv_computed_tokens",
                "Prompt tokens computed here.",
                self.computed_lengths,
            ),
            ("iteration_tokens_total", "Tokens of a step.", self.iteration),
        ):
            yield from self._histogram(f"vllm:{name}", help_text, histogram)

    def _nixl(self) -> Iterable[str]:
        for name, help_text, histogram in (
            ("nixl_xfer_time_seconds", "Transfer time, by rank.", self.xfer),
            ("nixl_post_time_seconds", "Time to post a transfer, by rank.", self.post),
            ("nixl_bytes_transferred", "Bytes of a transfer, by rank.", self.bytes),
            ("nixl_num_descriptors", "Descriptors of a transfer, by rank.", self.descriptors),
        ):
            yield from self._histogram(f"vllm:{name}", help_text, histogram)
        counters = self._replica.counters
        for name, help_text, value in (
            ("num_failed_transfers", "Failed transfers.", self.failed_transfers),
            ("num_failed_notifications", "Failed notifications.", self.failed_notifications),
            ("num_kv_expired_reqs", "Requests whose KV expired.", counters.held_expired),
            (
                "num_notifications_after_expiry",
                "Notifications for KV that had expired.",
                counters.late_releases,
            ),
        ):
            yield from self._counter(f"vllm:nixl_{name}_total", help_text, value)

    def _simulation(self, now: float) -> Iterable[str]:
        fetcher = self._replica.fetcher
        yield from self._histogram(
            "pdconsole_sim_late_seconds",
            "How late tokens were sent, against the model's clock (simulated).",
            self.late.histogram,
        )
        yield from self._gauge(
            "pdconsole_sim_late_p99_seconds",
            "The same, 99th percentile of the last 10 seconds.",
            self.late.p99_s(now),
        )
        yield from self._counter(
            "pdconsole_sim_handshakes_total",
            "First contacts with a prefill replica.",
            0 if fetcher is None else fetcher.handshakes,
        )
