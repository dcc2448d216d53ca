"""The command line of vllm-router, written for its version 0.1.17.

A benchmark wants a router that only routes: whatever would hide a failure (retries, a circuit
breaker), reorder by cached prompts (its default policy) or refuse load is off or out of reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.plan import PlannedProcess

# Larger than any prompt: 60,000 token ids are about 0.4 MB of JSON.
MAX_PAYLOAD_BYTES = 256 << 20
MAX_IN_FLIGHT = 32768
REQUEST_TIMEOUT_S = 3600

COMMON_FLAGS = (
    "--disable-retries",
    "--disable-circuit-breaker",
    *("--max-payload-size", str(MAX_PAYLOAD_BYTES)),
    *("--max-concurrent-requests", str(MAX_IN_FLIGHT)),
    *("--queue-size", str(MAX_IN_FLIGHT)),
    *("--queue-timeout-secs", str(REQUEST_TIMEOUT_S)),
    *("--request-timeout-secs", str(REQUEST_TIMEOUT_S)),
    # Workers are healthy before the router starts, so it need not wait long.
    *("--worker-startup-check-interval", "1"),
    *("--worker-startup-timeout-secs", "120"),
    # A replica that is busy for half a minute must not be taken out of the rotation.
    *("--health-check-timeout-secs", "60"),
    *("--health-failure-threshold", "10"),
    *("--log-level", "warning"),
)
# 0.1.17 takes its level from here and not from --log-level; no line for each request.
ROUTER_ENV = {"RUST_LOG": "warn"}


def router_argv(
    workers: Sequence[PlannedProcess], *, cluster: ClusterProfile, node: NodeProfile
) -> tuple[str, ...]:
    argv = [
        *cluster.engine.router,
        *("--host", node.dial_address),
        *("--port", str(cluster.ports.router)),
        *("--prometheus-host", metrics_host(node)),
        *("--prometheus-port", str(cluster.ports.router_metrics)),
    ]
    prefill = [worker.url for worker in workers if worker.role == "prefill"]
    decode = [worker.url for worker in workers if worker.role == "decode"]
    if prefill:
        argv += ["--vllm-pd-disaggregation", "--kv-connector", "nixl"]
        for url in prefill:
            argv += ["--prefill", url]
        for url in decode:
            argv += ["--decode", url]
        # Two round robins in lockstep would pair P1 only with D1 and P2 only with D2.
        argv += ["--prefill-policy", "round_robin", "--decode-policy", "random"]
    else:
        argv += ["--policy", "round_robin", "--worker-urls", *(worker.url for worker in workers)]
    return (*argv, *COMMON_FLAGS)


def metrics_host(node: NodeProfile) -> str:
    """Where the router's metrics listen: 0.1.17 takes a host name for "every interface"."""
    try:
        ip_address(node.dial_address)
    except ValueError:
        return "127.0.0.1"
    return node.dial_address
