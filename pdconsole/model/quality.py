"""Rules that say how far a point's numbers can be trusted: evidence in, flags out.

Every field of the evidence may be missing, because not every server, router and node tells it;
what is missing raises no flag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import Literal

import msgspec

from pdconsole.model.events import Verdict

Weight = Literal["info", "warn", "bad"]


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """`info` explains, `warn` asks for care, `bad` makes the number no measurement."""

    name: str
    evidence: str
    weight: Weight = "warn"

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one point. Counts and growth are of its window unless a name says else.

    CPU is percent: of one core for the driver, of all cores of its node for the router.
    """

    completed: int | None = None
    errors: int | None = None
    first_error: str = ""
    wanted_requests: int | None = None  # the policy's least number of requests in the window
    window_s: float | None = None
    request_s: float | None = None  # how long one lives, from sent to its last token
    whole_run: bool = False  # the window is all of the run: ramp-up and drain are in it
    input_len: int | None = None
    output_len: int | None = None
    without_usage: int | None = None  # requests whose answer held no token counts
    wrong_input_lens: int | None = None  # requests whose usage names another prompt length
    wrong_output_lens: int | None = None
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    kv_handed_over: bool = False  # prefill and decode are on different replicas
    tpot_p50_ms: float | None = None
    itl_mean_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    prompts_fixed: bool = False  # the profile asks for the same prompts at every point
    decode_only_by_prefix_cache: bool = False
    decode_from_made_up_kv: bool = False
    prefix_query_tokens: float | None = None
    prefix_hit_tokens: float | None = None
    preemptions: float | None = None
    # on decode replicas
    decode_prompt_tokens: float | None = None
    decode_local_compute_tokens: float | None = None
    failed_transfers: float | None = None
    # on prefill replicas: KV that expired unread, and KV that was read after it had expired
    expired_requests: float | None = None
    stale_reads: float | None = None
    # requests by "P1>D2"; `expected_pairs` are all that the layout can form
    pairs: Mapping[str, int] | None = None
    expected_pairs: tuple[str, ...] = ()
    handshakes: float | None = None  # counted by the decode replicas
    late_ms_p99: float | None = None  # open loop: sends behind their schedule
    driver_cpu_pct: float | None = None
    router_cpu_pct: float | None = None
    simulated_late_ms: float | None = None  # the worst worker's p99
    drained: bool | None = None
    drain_detail: str = ""
    # of the validation of the KV that P hands to D; None: nothing is handed over
    kv_verdict: Verdict | None = None
    kv_finding: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a rule speaks."""

    driver_cpu_pct: float = 80.0
    router_cpu_pct: float = 80.0
    simulated_late_ms: float = 10.0
    late_ms: float = 10.0
    cold_hit_rate: float = 0.01
    # Decode by prefix cache: two blocks of the largest size in use may miss of a prompt, and
    # prompts shorter than `long_prompt` are not judged.
    primed_misses: int = 256
    long_prompt: int = 1024
    error_rate_bad: float = 0.05
    requests_for_p99: int = 100
    lifetimes: float = 10.0  # of a request in a whole run; its two ends take about one each
    stall_ratio: float = 5.0  # p99 ITL to median, together with:
    stall_excess_ms: float = 40.0
    # Median ITL to median TPOT and mean ITL: several tokens at once leave most gaps near nothing.
    gaps_at_once: float = 0.2
    tail_ratio: float = 5.0  # p99 TTFT to median, together with:
    tail_excess_ms: float = 1000.0  # a first contact costs seconds
    skew: float = 1.5  # busiest pair to the mean, together with:
    skew_p_value: float = 0.001


def quality_flags(evidence: Evidence, limits: Limits | None = None) -> tuple[Flag, ...]:
    """Every flag that the evidence raises, the gravest first, otherwise in a fixed order."""
    found = [flag for rule in _RULES for flag in rule(evidence, limits or Limits())]
    order: dict[Weight, int] = {"bad": 0, "warn": 1, "info": 2}
    return tuple(sorted(found, key=lambda flag: order[flag.weight]))


def _errors(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.completed == 0:
        yield Flag(name="no-requests", evidence="no request finished in the window", weight="bad")
    if not e.errors:
        return
    of = e.errors + (e.completed or 0)
    bad = e.completed is not None and e.errors > limits.error_rate_bad * of
    why = f"; first: {e.first_error}" if e.first_error else ""
    yield Flag(
        name="errors",
        evidence=f"{e.errors} of {of} requests failed{why}",
        weight="bad" if bad else "warn",
    )


def _window(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if not e.completed:
        return
    lifetimes = e.window_s / e.request_s if e.whole_run and e.window_s and e.request_s else None
    if e.wanted_requests is not None and e.completed < e.wanted_requests:
        yield Flag(
            name="short-window",
            evidence=f"{e.completed} requests finished without error, {e.wanted_requests} were"
            " wanted",
        )
    elif lifetimes is not None and lifetimes < limits.lifetimes:
        yield Flag(
            name="short-window",
            evidence=f"{e.window_s:.0f} s hold {lifetimes:.1f} times the {e.request_s:.1f} s"
            " that a request takes, and ramp-up and drain are averaged in",
        )
    if e.completed < limits.requests_for_p99:
        yield Flag(
            name="few-requests",
            evidence=f"{e.completed} requests; a p99 takes at least {limits.requests_for_p99}",
            weight="info",
        )


def _lengths(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.without_usage:
        yield Flag(
            name="no-usage",
            evidence=f"{e.without_usage} answers came without the server's token counts: their"
            " prompt tokens are missing, their output tokens are events",
        )
    if e.wrong_input_lens:
        yield Flag(
            name="prompt-tokens",
            evidence=f"{e.wrong_input_lens} requests were counted by the server with another"
            f" prompt length than {e.input_len} tokens",
        )
    if e.wrong_output_lens:
        yield Flag(
            name="output-tokens",
            evidence=f"{e.wrong_output_lens} requests did not end with {e.output_len} tokens",
        )


def _prefix_cache(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.decode_from_made_up_kv:
        yield Flag(
            name="made-up-kv",
            evidence="decode alone: vLLM's DecodeBenchConnector made up the KV of every prompt, so"
            " no prefill ran and TTFT is that of a first decode step",
            weight="info",
        )
    if e.decode_only_by_prefix_cache:
        yield Flag(
            name="decode-by-prefix-cache",
            evidence="decode alone is approximated: each prompt was prefilled once before and"
            " answered from the prefix cache",
            weight="info",
        )
        yield from _cache_misses(e, limits)
        return
    if not e.prefix_query_tokens or e.prefix_hit_tokens is None:
        return
    rate = e.prefix_hit_tokens / e.prefix_query_tokens
    if rate <= limits.cold_hit_rate:
        return
    why = " because every point sends the same prompts" if e.prompts_fixed else ""
    yield Flag(
        name="prefix-cache-hits",
        evidence=f"{_percent(rate)} of the prompt tokens came from the prefix cache{why}",
    )


def _cache_misses(e: Evidence, limits: Limits) -> Iterator[Flag]:
    """Where each prompt was primed, all but its last block should be a hit."""
    if not e.prefix_query_tokens or e.prefix_hit_tokens is None or not e.input_len:
        return
    rate = e.prefix_hit_tokens / e.prefix_query_tokens
    least = 1 - limits.primed_misses / e.input_len
    if e.input_len >= limits.long_prompt and rate < least:
        yield Flag(
            name="prefix-cache-misses",
            evidence=f"only {_percent(rate)} of the prompt tokens came from the prefix cache, so"
            " prefills are in the numbers",
            weight="bad",
        )


def _handshakes(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.handshakes:
        yield Flag(
            name="handshakes", evidence=f"decode replicas counted {e.handshakes:.0f} in the window"
        )
    if e.ttft_p50_ms is None or e.ttft_p99_ms is None:
        return
    ratio = e.ttft_p99_ms / e.ttft_p50_ms if e.ttft_p50_ms > 0 else 0.0
    if ratio >= limits.tail_ratio and e.ttft_p99_ms - e.ttft_p50_ms >= limits.tail_excess_ms:
        yield Flag(
            name="ttft-tail",
            evidence=f"p99 TTFT {e.ttft_p99_ms:.0f} ms is {ratio:.0f} times the median, as"
            " handshakes or stalls leave it",
        )


def _decode_stalls(e: Evidence, limits: Limits) -> Iterator[Flag]:
    """Where prefill is elsewhere nothing should stop decoding for several steps."""
    if not e.kv_handed_over or e.itl_p50_ms is None or e.itl_p99_ms is None:
        return
    steps = {"the median": e.itl_p50_ms}
    others = {"median TPOT": e.tpot_p50_ms or 0.0, "the mean": e.itl_mean_ms or 0.0}
    if e.itl_p50_ms < limits.gaps_at_once * max(others.values()):
        steps = others
    word = max(steps, key=steps.__getitem__)
    step_ms = steps[word]
    if step_ms <= 0 or e.itl_p99_ms - step_ms < limits.stall_excess_ms:
        return
    if e.itl_p99_ms >= limits.stall_ratio * step_ms:
        yield Flag(
            name="decode-stalls",
            evidence=f"p99 ITL {e.itl_p99_ms:.0f} ms is {e.itl_p99_ms / step_ms:.0f} times"
            f" {word} on replicas that only decode",
        )


def _preemptions(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.preemptions:
        yield Flag(
            name="preemptions",
            evidence=f"{e.preemptions:.0f} times a worker ran out of KV cache and recomputed",
        )


def _reprefill(e: Evidence, limits: Limits) -> Iterator[Flag]:
    """D computes the last token of a prompt at most (vLLM 0.32.0 counts none), else it prefills."""
    if not e.input_len or e.input_len < 4 or not e.decode_prompt_tokens:
        return
    local = e.decode_local_compute_tokens
    if local is None:
        return
    requests = e.decode_prompt_tokens / e.input_len
    if local - requests >= e.input_len / 2:
        yield Flag(
            name="re-prefill",
            evidence=f"decode replicas computed {local:.0f} of {e.decode_prompt_tokens:.0f} prompt"
            f" tokens themselves (about {max(1, round(local / e.input_len))} of"
            f" {max(1, round(requests))} requests)",
        )


def _expiry(e: Evidence, limits: Limits) -> Iterator[Flag]:
    """P frees the KV of a request that D does not fetch in time, and D is not told."""
    if e.stale_reads:
        yield Flag(
            name="stale-kv",
            evidence=f"{e.stale_reads:.0f} times KV was read from a prefill replica that had freed"
            " it already: the output may be that of another prompt",
            weight="bad",
        )
    if e.expired_requests:
        yield Flag(
            name="kv-expired",
            evidence=f"the KV of {e.expired_requests:.0f} requests expired on prefill replicas"
            " before it was fetched",
        )
    if e.failed_transfers:
        yield Flag(
            name="failed-transfers", evidence=f"{e.failed_transfers:.0f} KV transfers failed"
        )


def _pairs(e: Evidence, limits: Limits) -> Iterator[Flag]:
    pairs, possible = e.pairs or {}, e.expected_pairs
    counts = [pairs.get(pair, 0) for pair in possible]
    total = sum(counts)
    if len(possible) < 2 or total == 0:
        return
    mean = total / len(possible)
    statistic = sum((count - mean) ** 2 / mean for count in counts)
    if max(counts) < limits.skew * mean:
        return
    if chi_square_tail(statistic, len(possible) - 1) > limits.skew_p_value:
        return
    busiest = max(possible, key=lambda pair: pairs.get(pair, 0))
    idle = sum(count == 0 for count in counts)
    none = f", {idle} of {len(counts)} pairs had none" if idle else ""
    yield Flag(
        name="skewed-pairs",
        evidence=f"{busiest} took {max(counts)} of {total} requests, {max(counts) / mean:.1f} times"
        f" its share{none}",
    )


def _driver(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.late_ms_p99 is not None and e.late_ms_p99 > limits.late_ms:
        yield Flag(
            name="driver-late",
            evidence=f"requests left {e.late_ms_p99:.1f} ms behind schedule (p99)",
        )
    if e.driver_cpu_pct is not None and e.driver_cpu_pct > limits.driver_cpu_pct:
        yield Flag(
            name="driver-cpu",
            evidence=f"the load driver used {e.driver_cpu_pct:.0f} % of its core"
            f" (limit {limits.driver_cpu_pct:.0f} %): latencies may be its own",
        )


def _router(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.router_cpu_pct is not None and e.router_cpu_pct > limits.router_cpu_pct:
        yield Flag(
            name="router-cpu",
            evidence=f"the router used {e.router_cpu_pct:.0f} % of its node's cores"
            f" (limit {limits.router_cpu_pct:.0f} %): latencies may be its own",
        )


def _simulated(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.simulated_late_ms is not None and e.simulated_late_ms > limits.simulated_late_ms:
        yield Flag(
            name="simulated-late",
            evidence=f"simulated workers ran {e.simulated_late_ms:.1f} ms behind their model (p99,"
            f" limit {limits.simulated_late_ms:g} ms): this machine is too slow for the load",
        )


def _drain(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.drained is False:
        detail = f": {e.drain_detail}" if e.drain_detail else ""
        yield Flag(name="not-drained", evidence=f"workers were not idle after the point{detail}")


def _validation(e: Evidence, limits: Limits) -> Iterator[Flag]:
    if e.kv_verdict == "fail":
        yield Flag(name="kv-mismatch", evidence=e.kv_finding, weight="bad")
    elif e.kv_verdict in ("warn", "unknown"):
        yield Flag(name="not-validated", evidence=e.kv_finding)


_RULES: tuple[Callable[[Evidence, Limits], Iterator[Flag]], ...] = (
    _errors,
    _window,
    _lengths,
    _prefix_cache,
    _handshakes,
    _decode_stalls,
    _preemptions,
    _reprefill,
    _expiry,
    _pairs,
    _driver,
    _router,
    _simulated,
    _drain,
    _validation,
)


def chi_square_tail(statistic: float, df: int) -> float:
    """P(X > statistic) for chi-square with df degrees of freedom, by Wilson and Hilferty's cube
    root; good to about 0.001, which is enough to tell skew from chance."""
    if statistic <= 0:
        return 1.0
    spread = 2 / (9 * df)
    z = ((statistic / df) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 1 - NormalDist().cdf(z)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
