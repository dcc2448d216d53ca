"""Variables that processes of a node inherit from its own set-up, and that spoil numbers.

What cluster and network profiles set comes on top of it, and what every replica is started with; so
only what these leave alone matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pdconsole.measure.environment_checks import LOUD, TCP_ADVICE, asks_for_debug, only_tcp
from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.profiles.schema import ClusterProfile, NetworkProfile
from pdconsole.remote.values import Inventory
from pdconsole.serving.worker_command import QUIET, QUIET_TRANSFERS

# All that a node is asked for: nothing else of its environment is looked at.
VARIABLES = (*LOUD, "UCX_TLS", "UCX_NET_DEVICES", "CUDA_VISIBLE_DEVICES")


def login_environment(
    inventory: Inventory, cluster: ClusterProfile, networks: Iterable[NetworkProfile]
) -> CheckResult | None:
    """None where the node was not asked."""
    if inventory.looked is None:
        return None
    networks = list(networks)
    set_there = inventory.looked.variables
    found: list[tuple[str, str]] = []  # what, advice
    for name in LOUD:
        value = set_there.get(name, "")
        if asks_for_debug(name, value) and not _overruled(name, cluster.env, networks):
            found.append((f"{name}={value}", "debug logging slows replicas and transfers down"))
    tls = set_there.get("UCX_TLS", "")
    if only_tcp(tls, cluster) and not _overruled("UCX_TLS", cluster.env, networks):
        found.append((f"UCX_TLS={tls}", TCP_ADVICE))
    where = "remove it from what a login there reads (~/.bashrc, /etc/environment), or overrule it"
    return verdict(
        inventory.node,
        "login-env",
        "warn" if found else "ok",
        "; ".join(what for what, _ in found) or "nothing that costs time",
        f"{'; '.join(dict.fromkeys(why for _, why in found))}: {where} in the cluster's env",
    )


def _overruled(name: str, env: Mapping[str, str], networks: list[NetworkProfile]) -> bool:
    if name in QUIET or name in QUIET_TRANSFERS:
        return True
    return name in env or (bool(networks) and all(name in network.env for network in networks))
