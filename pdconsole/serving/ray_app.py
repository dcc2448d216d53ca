"""The Ray Serve application of one run, as the document that Serve takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from pdconsole.model.layout import Role
from pdconsole.model.placement import Assignment
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.ray_nodes import head_address
from pdconsole.serving.ray_ports import side_channels
from pdconsole.serving.router_command import MAX_IN_FLIGHT
from pdconsole.serving.run_rules import node_of
from pdconsole.serving.vllm_versions import ABORT_TIMEOUT_S, EngineRules
from pdconsole.serving.worker_command import (
    DECODE_BENCH,
    HYBRID_MANAGER,
    NO_STATS,
    QUIET,
    QUIET_TRANSFERS,
    KvPeer,
    kv_transfer_config,
)

APP = "pdconsole"
PLUGIN = "pdconsole"  # tells the metrics of a replica as vLLM has them; in the agent
# What pins a bundle to a node takes none of it away from others.
PIN = 0.001
# Of replicas: whose they are. An application of the same name that says another is another's.
MARK = "PDCONSOLE_RUN"

_PREFIX: Mapping[Role, str] = {
    "prefill": "Prefill:",
    "decode": "Decode:",
    "collocated": "LLMServer:",
}


class ServedRole(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of one role, which are one Serve deployment and so all alike."""

    role: Role
    assignments: tuple[Assignment, ...]
    kv: KvPeer | None = None  # None: they hand nothing over
    makes_up_kv: bool = False
    deployment: str
    bundles: tuple[dict[str, float], ...]  # one a rank

    @property
    def first(self) -> Assignment:
        return self.assignments[0]


def serve_document(
    run: RunPlan,
    served: Sequence[ServedRole],
    *,
    session: str,
    cluster: ClusterProfile,
    model: ModelProfile,
    rules: EngineRules,
) -> dict[str, Any]:
    """What `serve deploy` takes as a file, and the dashboard as JSON."""
    configs = {
        each.role: _llm_config(
            run, each, mark=f"{session}/{run.id}", cluster=cluster, model=model, rules=rules
        )
        for each in served
    }
    is_pd = len(served) > 1
    args: dict[str, Any] = (
        {f"{role}_config": config for role, config in configs.items()}
        if is_pd
        else {"llm_configs": list(configs.values())}
    )
    args["ingress_deployment_config"] = {
        "num_replicas": cluster.ray.ingress_replicas,
        "max_ongoing_requests": MAX_IN_FLIGHT,
        "ray_actor_options": {
            "num_cpus": 0,
            # The head, where Serve's proxy is.
            "resources": {"node:__internal_head__": PIN},
        },
    }
    builder = "build_pd_openai_app" if is_pd else "build_openai_app"
    return {
        "proxy_location": "HeadOnly",
        "http_options": {
            "host": head_address(cluster),
            "port": cluster.ports.router,
            "request_timeout_s": None,
            "keep_alive_timeout_s": 600,
        },
        "logging_config": {"log_level": "INFO", "encoding": "JSON", "enable_access_log": False},
        "applications": [
            {
                "name": APP,
                "route_prefix": "/",
                "import_path": f"ray.serve.llm:{builder}",
                "args": args,
            }
        ],
    }


def as_yaml(document: Mapping[str, Any], about: Sequence[str]) -> str:
    """The same for people, and for `serve deploy`."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in about)
    return head + yaml.safe_dump(dict(document), sort_keys=False, width=100)


def deployment_name(role: Role, model: ModelProfile, *, alone: bool) -> str:
    """As Ray Serve LLM names it. `alone`: there is no other role in the application."""
    prefix = _PREFIX["collocated"] if alone else _PREFIX[role]
    return prefix + model.served_name.replace("/", "--").replace(".", "_")


def _llm_config(
    run: RunPlan,
    served: ServedRole,
    *,
    mark: str,
    cluster: ClusterProfile,
    model: ModelProfile,
    rules: EngineRules,
) -> dict[str, Any]:
    experimental: dict[str, Any] = {"stream_batching_interval_ms": 0}
    if served.kv is not None:
        experimental["NIXL_SIDE_CHANNEL_PORT_BASE"] = side_channels(run, cluster)[served.role]
    spans = len(served.first.nodes) > 1
    return {
        "model_loading_config": {"model_id": model.served_name, "model_source": model.source},
        "accelerator_type": None,
        "deployment_config": {
            "num_replicas": len(served.assignments),
            "max_ongoing_requests": MAX_IN_FLIGHT,
            # A replica that cannot start is not tried three times, and one that is busy for half
            # a minute is not replaced.
            "max_constructor_retry_count": 1,
            "health_check_timeout_s": 60,
            "graceful_shutdown_wait_loop_s": 0.5,
            "graceful_shutdown_timeout_s": 5,
            "ray_actor_options": {"num_cpus": 0},
        },
        "placement_group_config": {
            "bundles": [dict(bundle) for bundle in served.bundles],
            "strategy": "PACK" if spans else "STRICT_PACK",
        },
        "runtime_env": {
            "env_vars": {**runtime_env(served, cluster=cluster, rules=rules), MARK: mark}
        },
        "engine_kwargs": engine_kwargs(run, served, cluster=cluster, model=model, rules=rules),
        "experimental_configs": experimental,
        "log_engine_metrics": not model.engine_args.get(NO_STATS),  # Ray refuses both together
    }


def engine_kwargs(
    run: RunPlan,
    served: ServedRole,
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    rules: EngineRules,
) -> dict[str, Any]:
    """What a replica's command line would say, under the names of vLLM's own arguments."""
    found: dict[str, Any] = {
        "tensor_parallel_size": served.first.tp,
        "max_model_len": model.max_model_len,
        "enable_prefix_caching": run.workload.prefix_caching and not served.makes_up_kv,
    }
    if rules.per_request_metrics and not model.engine_args.get(NO_STATS):
        found["enable_per_request_metrics"] = True
    if served.first.ep:
        found["enable_expert_parallel"] = True
    for name, value in model.engine_args.items():
        _set_argument(found, name, value)
    config = DECODE_BENCH if served.makes_up_kv else None
    if served.kv is not None:
        config = kv_transfer_config(served.role, served.kv, _node(served, cluster), rules)
    if config is not None:
        found.setdefault(HYBRID_MANAGER.replace("-", "_"), True)
        found["kv_transfer_config"] = config
    return found


def runtime_env(
    served: ServedRole, *, cluster: ClusterProfile, rules: EngineRules
) -> dict[str, str]:
    """Every variable that is set for the replicas, beyond what Ray on their node has.

    Raises ServingError where a profile sets a variable that the placement or Ray decides.
    """
    env = dict(QUIET)
    if served.kv is not None:
        env |= QUIET_TRANSFERS
    env |= {name: value for name, value in cluster.env.items() if not name.startswith("RAY_")}
    if cluster.ray.start:
        # Ray on the nodes has it, with the agent in it.
        env.pop("PYTHONPATH", None)
        if "VLLM_PLUGINS" in env:  # a list of what vLLM may load
            env["VLLM_PLUGINS"] += f",{PLUGIN}"
    if served.kv is not None:
        env |= served.kv.network.env
    placed = _placed_env(served, cluster, rules)
    decided = placed.keys() | {"VLLM_NIXL_SIDE_CHANNEL_HOST", "VLLM_NIXL_SIDE_CHANNEL_PORT"}
    for name in sorted(decided & env.keys()):
        raise ServingError(
            f"{name} is set in the env of cluster {cluster.name} or of its network, but the "
            "placement or Ray decides it; remove it from the profile"
        )
    return {**env, **placed}


def _placed_env(served: ServedRole, cluster: ClusterProfile, rules: EngineRules) -> dict[str, str]:
    env: dict[str, str] = {}
    nodes = {name for a in served.assignments for name in a.nodes}
    node = _node(served, cluster)
    if node.kind == "cpu" and len(nodes) == 1:
        # Without a route to the outer world vLLM finds no address of its own.
        env["VLLM_HOST_IP"] = node.dial_address
    if served.kv is None:
        return env
    if not rules.kv_lease:
        env["VLLM_NIXL_ABORT_REQUEST_TIMEOUT"] = str(ABORT_TIMEOUT_S)
    if not rules.nixl_metrics:
        env["NIXL_TELEMETRY_ENABLE"] = "1"
    if served.kv.tp_differs:
        env["VLLM_KV_CACHE_LAYOUT"] = "HND"
    return env


def _node(served: ServedRole, cluster: ClusterProfile) -> NodeProfile:
    return node_of(cluster, served.first.node)


def _set_argument(found: dict[str, Any], flag: str, value: str | int | float | bool) -> None:
    """`no-x: true` is x switched off, and `x.y` is y of the mapping x, as on a command line."""
    if flag.startswith("no-") and isinstance(value, bool):
        flag, value = flag.removeprefix("no-"), not value
    *outer, last = flag.replace("-", "_").split(".")
    at = found
    for name in outer:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise ServingError(
                f"{name.replace('_', '-')} and {flag} are both in engine_args of the model, and "
                "one is within the other; write one mapping as JSON"
            )
    at[last] = _value(value)


def _value(value: str | int | float | bool) -> Any:
    """A flag that takes JSON is text on a command line, and a mapping or a list here."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
