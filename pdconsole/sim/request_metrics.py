"""What vLLM tells of one request in its answer, under `--enable-per-request-metrics`.

Field names and definitions as in vLLM 0.32.0: `PerRequestMetrics` in
vllm/entrypoints/generate/base/protocol.py, made by `build_per_request_timing_metrics` in the
serving.py beside it (the flag is there since 0.25.0; docs/features/per_request_metrics.md). A
stream has them on its last chunk, the one with the usage, which must be asked for.
"""

from __future__ import annotations

from pdconsole.sim.sequence import Sequence


def request_metrics(sequence: Sequence) -> dict[str, float | None]:
    """Of a finished sequence. On a decode replica the queue is all until its KV has arrived."""
    decode_s = sequence.last_token - sequence.first_token
    running_s = sequence.last_token - sequence.scheduled
    more = sequence.generated - 1
    return {
        "time_to_first_token_ms": (sequence.first_token - sequence.scheduled) * 1e3,
        "generation_time_ms": decode_s * 1e3,
        "queue_time_ms": (sequence.scheduled - sequence.ready) * 1e3,
        "mean_itl_ms": decode_s / more * 1e3 if more > 0 else None,
        "tokens_per_second": sequence.generated / running_s if running_s > 0 else None,
    }
