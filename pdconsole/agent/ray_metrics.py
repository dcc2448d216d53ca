"""vLLM's metrics out of Ray's exporter: one replica's, under vLLM's own names and labels.

Ray exposes what a replica counts as `ray_vllm_x` with labels of its own, together with all other
processes of the node. A counter is not there before it first counts: those that vLLM itself
exposes from the start are added as 0. Sums of histograms Ray makes of the middles of buckets: they
are no sums and are left out.
"""

from __future__ import annotations

import re
from typing import Dict, List

PREFIX = "ray_vllm_"
# The first sample of a door: 1 where vLLM's own metrics follow, 0 where they are Ray's.
EXACT = "pdconsole_ray_metrics_exact"
RAYS_LABELS = frozenset(
    [
        "Component",
        "NodeAddress",
        "ReplicaId",
        "SessionName",
        "Version",
        "WorkerId",
        "JobId",
        "application",
        "deployment",
        "replica",
        "pid",
    ]
)
# What vLLM exposes from its start on, also while nothing has been counted.
ZERO = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:num_preemptions_total": "counter",
    "vllm:prompt_tokens_total": "counter",
    "vllm:generation_tokens_total": "counter",
    "vllm:prefix_cache_queries_total": "counter",
    "vllm:prefix_cache_hits_total": "counter",
    "vllm:external_prefix_cache_queries_total": "counter",
    "vllm:external_prefix_cache_hits_total": "counter",
}
# Of NIXL's counters those that stay 0 in a healthy run, once it has transferred anything.
ZERO_OF_NIXL = (
    "vllm:nixl_num_failed_transfers_total",
    "vllm:nixl_num_failed_notifications_total",
    "vllm:nixl_num_kv_expired_reqs_total",
)
NIXL_COUNT = "vllm:nixl_bytes_transferred_count"
# By source, of which Ray knows only those that occurred.
SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
BY_SOURCE = "vllm:prompt_tokens_by_source_total"

_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


def vllm_text(exported: str, replica_id: str, model: str) -> str:
    """The exposition text that the replica's vLLM would have given."""
    needle = f'ReplicaId="{replica_id}"'
    lines: List[str] = []
    heads: Dict[str, List[str]] = {}
    told = ""
    histograms = set()
    seen = set()
    for line in exported.split("\n"):
        if line.startswith("# "):
            words = line.split(" ", 3)
            if len(words) == 4 and words[2].startswith(PREFIX):
                family = _renamed(words[2])
                heads.setdefault(family, []).append(f"# {words[1]} {family} {words[3]}")
                told = family
                if words[1:4:2] == ["TYPE", "histogram"]:
                    histograms.add(words[2] + "_sum")
            continue
        if not line.startswith(PREFIX) or needle not in line:
            continue
        name, _, rest = line.partition("{")
        if name in histograms:
            continue
        labels, _, value = rest.rpartition("}")
        lines += heads.pop(told, [])
        kept = ",".join(f'{key}="{text}"' for key, text in _LABEL.findall(labels) if _is_kept(key))
        lines.append(f"{_renamed(name)}{{{kept}}}{value}")
        seen.add(_renamed(name))
    lines += _zeros(seen, lines, f'engine="0",model_name="{model}"')
    return "\n".join(lines) + "\n"


def _zeros(seen: "set[str]", lines: List[str], labels: str) -> List[str]:
    wanted = {name: kind for name, kind in ZERO.items() if name not in seen}
    if NIXL_COUNT in seen:
        wanted.update((name, "counter") for name in ZERO_OF_NIXL if name not in seen)
    added: List[str] = []
    for name, kind in wanted.items():
        added += [f"# TYPE {name} {kind}", f"{name}{{{labels}}} 0.0"]
    if BY_SOURCE in seen:
        there = [line for line in lines if line.startswith(BY_SOURCE)]
        for source in SOURCES:
            word = f'source="{source}"'
            if not any(word in line for line in there):
                added.append(f"{BY_SOURCE}{{{labels},{word}}} 0.0")
    return added


def _renamed(name: str) -> str:
    return "vllm:" + name[len(PREFIX) :]


def _is_kept(label: str) -> bool:
    return label not in RAYS_LABELS and not label.startswith("otel_scope_")
