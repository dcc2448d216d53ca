"""What the nodes' vLLM, NIXL, UCX and router are, and whether they fit together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.model.feasible import rules_for
from pdconsole.profiles.schema import ClusterProfile, NetworkProfile
from pdconsole.remote.values import EngineFacts, Inventory, UcxFacts
from pdconsole.serving.engine_python import engine_command
from pdconsole.serving.engine_stacks import (
    RAY_STACKS,
    SRD_UCX,
    STACKS,
    TODAY,
    number,
    ray_stack_of,
    stack_of,
)
from pdconsole.serving.errors import ServingError
from pdconsole.serving.vllm_versions import OLDEST, engine_rules

OLDEST_VERSION = ".".join(map(str, OLDEST))

# What replicas of one run must have alike, whether a difference refuses the run, and what to do.
_ALIKE: tuple[tuple[str, bool, str], ...] = (
    ("ray", True, "install one version on all nodes: no node joins Ray of another"),
    ("vllm", True, "install one version on all nodes, or place each run on one node"),
    ("nixl", True, "install one version on all nodes, or place each run on one node"),
    ("ucx", False, "install NIXL from the same source on all nodes"),
    ("driver", False, "bring all nodes to one driver, or say in the results that they differ"),
)


def engine(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    found = inventory.versions.get("vllm", "")
    asked = cluster.engine.version
    version = found if asked == "auto" else asked
    command = " ".join(engine_command(cluster))
    try:
        note = engine_rules(version).note or rules_for(version).note
    except ServingError as error:  # no replica would be started
        return verdict(
            inventory.node,
            "vllm",
            "fail",
            version,
            str(error),
            threshold=f">= {OLDEST_VERSION}",
            hard=True,
        )
    if not found:
        # The node may have it where only the profile knows, so a stated version is believed.
        refuse = asked == "auto" and not cluster.simulated
        return verdict(
            inventory.node,
            "vllm",
            "fail" if refuse else "warn",
            f"`{command}` did not tell its version",
            f"install vLLM there (`pdconsole setup {cluster.name}` says how), or give the command's"
            f" full path in {_field(cluster)} and its version in engine.version",
            hard=refuse,
        )
    if asked != "auto" and found.split("+")[0] != asked.split("+")[0]:
        return verdict(
            inventory.node,
            "vllm",
            "warn",
            f"{found}, but the profile says {asked}",
            "set engine.version to auto, or install what it says",
        )
    return verdict(
        inventory.node,
        "vllm",
        "warn" if note else "ok",
        version,
        note,
        threshold=f">= {OLDEST_VERSION}",
    )


def _field(cluster: ClusterProfile) -> str:
    return "ray.command" if cluster.orchestrator == "ray" else "engine.vllm"


def router(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    version = inventory.versions.get("vllm-router", "")
    command = " ".join(cluster.engine.router)
    if not version:
        return verdict(
            inventory.node,
            "router",
            "fail",
            f"`{command}` did not tell its version",
            "install it there (`pip install vllm-router`), or give its full path in engine.router",
            hard=True,
        )
    known = sorted({stack.router for stack in STACKS})
    return verdict(
        inventory.node,
        "router",
        "ok" if version in known or cluster.simulated else "warn",
        version,
        f"not tried with this program; {' and '.join(known)} is",
    )


def kv_transfer(
    inventory: Inventory,
    cluster: ClusterProfile,
    *,
    crosses_nodes: bool,
    networks: Sequence[NetworkProfile],
) -> Iterator[CheckResult]:
    """NIXL and the UCX that it would load, where KV is moved; nothing of a node not asked."""
    if inventory.looked is None or cluster.simulated:
        return
    facts = inventory.looked.engine
    if facts.trouble:
        yield verdict(
            inventory.node,
            "nixl",
            "unknown",
            f"the engine's Python cannot be asked: {facts.trouble}",
            f"name the command with its full path in {_field(cluster)}",
        )
        return
    yield _nixl(inventory, facts, cluster)
    if facts.nixl:
        yield _ucx(inventory.node, facts)
    if cluster.fabric == "efa" and crosses_nodes and facts.ucx is not None:
        yield _srd(inventory, facts.ucx, cluster, networks)


def _nixl(inventory: Inventory, facts: EngineFacts, cluster: ClusterProfile) -> CheckResult:
    version = facts.nixl
    if not version:
        return verdict(
            inventory.node,
            "nixl",
            "fail",
            "vLLM's Python has no NIXL, by which P hands KV to D",
            f"install it there; `pdconsole setup {cluster.name}` says how",
            hard=True,
        )
    by_ray = cluster.orchestrator == "ray"
    stack = (
        ray_stack_of(inventory.versions.get("ray", ""))
        if by_ray
        else stack_of(inventory.versions.get("vllm", ""))
    )
    if stack is not None and stack.nixl != version:
        said = f"{stack.nixl} is known to work with vLLM {stack.vllm}"
        return verdict(inventory.node, "nixl", "warn", version, said, threshold=stack.nixl)
    known = stack is not None or version in {stack.nixl for stack in (*STACKS, *RAY_STACKS)}
    tried = RAY_STACKS[0] if by_ray else TODAY
    said = f"not tried with this program; {tried.nixl} is, with vLLM {tried.vllm}"
    return verdict(inventory.node, "nixl", "ok" if known else "warn", version, said)


def _ucx(node: str, facts: EngineFacts) -> CheckResult:
    ucx = facts.ucx
    if ucx is None:
        return verdict(
            node,
            "ucx",
            "warn",
            f"NIXL's UCX does not load: {facts.ucx_trouble}",
            "install NIXL anew; networks of backend UCX will not work",
        )
    names = transports(ucx)
    value = f"{ucx.version}: {', '.join(names) or 'no transport'}"
    if "tcp" not in names:
        return verdict(
            node,
            "ucx",
            "warn",
            value,
            "without tcp NIXL cannot make its UCX backend: see whether UCX_NET_DEVICES leaves out"
            " every network interface",
        )
    return verdict(node, "ucx", "ok", value)


def transports(ucx: UcxFacts) -> list[str]:
    return sorted({name.partition("/")[0] for name in ucx.transports})


def srd_devices(ucx: UcxFacts) -> list[str]:
    pairs = (name.partition("/") for name in ucx.transports)
    return [device for name, _, device in pairs if name in ("srd", "srd_x")]


def _srd(
    inventory: Inventory,
    ucx: UcxFacts,
    cluster: ClusterProfile,
    networks: Sequence[NetworkProfile],
) -> CheckResult:
    found = len(srd_devices(ucx))
    by_name = [n.name for n in networks if "srd" in {**cluster.env, **n.env}.get("UCX_TLS", "")]
    if found:
        old = number(ucx.version)[:2] < SRD_UCX
        return verdict(
            inventory.node,
            "srd",
            "warn" if old else "ok",
            f"on {found} devices, UCX {ucx.version}",
            "measured with UCX 1.20 and newer only; see with `pdconsole netbench` what it carries",
        )
    has_module = "ib_efa" in ucx.modules
    why = "has its EFA module, but opens no device with it" if has_module else "has no EFA module"
    advice = (
        "install the EFA driver and libefa (`pdconsole setup` prints how) and see that this user"
        " may open /dev/infiniband/uverbs*"
        if has_module
        else "build NIXL against UCX 1.20 or newer with EFA; `pdconsole setup` has the commands"
    )
    return verdict(
        inventory.node,
        "srd",
        "fail" if by_name else "warn",
        f"UCX {ucx.version} {why}",
        f"KV between nodes would go by TCP: {advice}",
        hard=bool(by_name),
    )


def alike(
    inventories: Mapping[str, Inventory],
    groups: Iterable[Sequence[str]],
    cluster: ClusterProfile,
    *,
    hard: bool,
) -> Iterator[CheckResult]:
    """Replicas of one run need one version: the two sides compare it in their handshake.

    `groups` are the nodes that work together; a node is told about once.
    """
    together = list(groups)
    for program, refuses, advice in _ALIKE:
        if program == "ray" and cluster.orchestrator != "ray":
            continue
        told: set[tuple[str, str]] = set()
        for nodes in together:
            versions = {
                node: inventories[node].versions.get(program, "")
                for node in nodes
                if node in inventories
            }
            known = {node: version.split("+")[0] for node, version in versions.items() if version}
            if len(known) < 2:
                continue
            first, *rest = known
            for node in rest:
                if (first, node) in told:
                    continue
                told.add((first, node))
                same = known[node] == known[first]
                yield verdict(
                    node,
                    f"{program}-equal",
                    "ok" if same else ("fail" if hard and refuses else "warn"),
                    versions[node]
                    if same
                    else f"{versions[node]}, and {versions[first]} on {first}",
                    advice,
                    hard=hard and refuses,
                )
