"""Whether Ray is as a run needs it: versions on the nodes, and a cluster that is joined. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.remote.values import Inventory, RayNodeSeen, RaySeen
from pdconsole.serving.engine_stacks import RAY_STACKS, EngineStack, ray_stack_of
from pdconsole.serving.handshake import is_loopback
from pdconsole.serving.ray_app import APP
from pdconsole.serving.ray_nodes import MODE, auth_env, head_address

# --- each node


def versions(inventory: Inventory, cluster: ClusterProfile) -> Iterator[CheckResult]:
    """Ray there, and the vLLM and NIXL that this Ray names."""
    found = inventory.versions.get("ray", "")
    command = " ".join(cluster.ray.command)
    if not found:
        yield verdict(
            inventory.node,
            "ray",
            "fail",
            f"the Python of `{command}` has no Ray",
            "install ray[llm] there, or give the command's full path in ray.command",
            hard=True,
        )
        return
    stack = ray_stack_of(found)
    known = " and ".join(each.ray for each in RAY_STACKS)
    yield verdict(
        inventory.node,
        "ray",
        "ok" if stack else "warn",
        found,
        f"not tried with this program; {known} is",
    )
    if stack is not None:
        yield from _named_by_ray(inventory, stack)


def _named_by_ray(inventory: Inventory, stack: EngineStack) -> Iterator[CheckResult]:
    """Ray Serve LLM calls into vLLM's own modules, so another vLLM may not work with it."""
    wanted = {"vllm": stack.vllm, "nixl": stack.nixl}
    other = [
        f"{name} {version}"
        for name, right in wanted.items()
        if (version := inventory.versions.get(name, "")) and version.split("+")[0] != right
    ]
    named = f"vllm {stack.vllm}, nixl {stack.nixl}"
    yield verdict(
        inventory.node,
        "ray-llm",
        "warn" if other else "ok",
        f"{' and '.join(other)}; ray[llm] {stack.ray} names {named}" if other else named,
        f"install what it names: `pip install 'ray[llm]=={stack.ray}' nixl=={stack.nixl}`",
    )


def python_alike(
    inventories: Mapping[str, Inventory], groups: Sequence[Sequence[str]]
) -> Iterator[CheckResult]:
    """Ray lets no node join whose Python is another one than its head's."""
    told: set[str] = set()
    for nodes in groups:
        found = {
            name: looked.engine.python
            for name in nodes
            if name in inventories
            and (looked := inventories[name].looked) is not None
            and looked.engine.python
        }
        if len(found) < 2:
            continue
        first, *rest = found
        for name in rest:
            if name in told:
                continue
            told.add(name)
            same = found[name].split(".")[:2] == found[first].split(".")[:2]
            yield verdict(
                name,
                "ray-python",
                "ok" if same else "fail",
                found[name] if same else f"{found[name]}, and {found[first]} on {first}",
                "make Ray's environments of one version of Python: no node joins otherwise",
                hard=True,
            )


# --- the cluster


def listens(cluster: ClusterProfile) -> CheckResult:
    """Of Ray that is started: its services listen on every interface, whatever they are told."""
    mode = {**auth_env(cluster), **cluster.env}.get(MODE, "")
    token = mode.lower() == "token"
    return verdict(
        cluster.name,
        "ray-open",
        "ok" if token else "warn",
        f"{MODE}={mode}: Ray listens on every interface, and asks for a token"
        if token
        else f"{MODE}={mode}: Ray listens on every interface, and asks for nothing",
        "whoever reaches its ports can run code on the nodes: keep to a private network, or remove"
        f" {MODE} from env of cluster {cluster.name}",
    )


def joined(
    seen: RaySeen | None,
    slots: Mapping[str, Sequence[int]],
    inventories: Mapping[str, Inventory],
    cluster: ClusterProfile,
) -> Iterator[CheckResult]:
    """A cluster that runs already: `slots` are those that the runs use of each node.

    Nothing where nobody asked its dashboard.
    """
    if seen is None:
        return
    yield _answers(seen, cluster)
    if seen.trouble:
        return
    driver = inventories.get(cluster.driver_node)
    here = driver.versions.get("ray", "") if driver else ""
    if here and seen.version and here != seen.version:
        yield verdict(
            cluster.driver_node,
            "ray-equal",
            "fail",
            f"{here} there, and the cluster runs {seen.version}",
            "name in ray.command the ray of the cluster's own environment",
            hard=True,
        )
    # A session that is resumed meets its own.
    keeps_it = driver is not None and any(
        process.state == "running" and process.token.endswith("/router")
        for process in driver.processes
    )
    has_some = keeps_it and any(app.name == APP for app in seen.apps)
    for node in cluster.nodes:
        if slots.get(node.name):
            needed = len(slots[node.name])
            yield from _node(node, seen, needed, cluster, has_some=has_some)
    yield _apps(seen, cluster, keeps_it=keeps_it)
    yield from _proxy(seen, cluster)


def _answers(seen: RaySeen, cluster: ClusterProfile) -> CheckResult:
    alive = sum(node.state == "ALIVE" for node in seen.nodes)
    return verdict(
        cluster.name,
        "ray-cluster",
        "fail" if seen.trouble else "ok",
        seen.trouble or f"Ray {seen.version}, {alive} nodes alive, {cluster.ray.dashboard}",
        f"see `ray status` there, and ray.dashboard of cluster {cluster.name}: node"
        f" {cluster.driver_node} must reach it",
        hard=True,
    )


def _node(
    node: NodeProfile, seen: RaySeen, needed: int, cluster: ClusterProfile, *, has_some: bool
) -> Iterator[CheckResult]:
    of_address = [each for each in seen.nodes if each.address == node.dial_address]
    alive = next((each for each in of_address if each.state == "ALIVE"), None)
    if alive is None:
        known = ", ".join(sorted({n.address for n in seen.nodes if n.state == "ALIVE"}))
        said = f" ({of_address[0].message})" if of_address and of_address[0].message else ""
        reason = f"is {of_address[0].state}{said}" if of_address else "is not in the cluster"
        yield verdict(
            node.name,
            "ray-node",
            "fail",
            f"{node.dial_address} {reason}; alive: {known or 'none'}",
            f"join it with `ray start --address {cluster.ray.address}`, or write into `address` of"
            f" node {node.name} the one by which Ray knows it",
            hard=True,
        )
        return
    yield verdict(node.name, "ray-node", "ok", f"{alive.address} is alive")
    yield _room(node, alive, needed, has_some=has_some)


def _room(node: NodeProfile, there: RayNodeSeen, needed: int, *, has_some: bool) -> CheckResult:
    """What Ray has left for us; which GPUs those are, Ray decides. `has_some`: of what is used
    there, some is this session's own."""
    kind = "CPU" if node.kind == "cpu" else "GPU"
    total = there.resources.get(kind, 0.0)
    used = None if there.used is None else there.used.get(kind, 0.0)
    free = total - (used or 0.0)
    said = f"{total:g} {kind}" if used is None else f"{free:g} of {total:g} {kind} free"
    if has_some and free < needed <= total:
        return verdict(
            node.name, "ray-resources", "ok", f"{said}, beside what this session has there"
        )
    return verdict(
        node.name,
        "ray-resources",
        "ok" if free >= needed else "fail",
        said,
        "wait for what runs there, or place the runs on fewer slots; `ray status` says who has them"
        if total >= needed
        else f"correct `gpus` of node {node.name}, or start Ray there with --num-{kind.lower()}s",
        threshold=f">= {needed:g} {kind}",
        hard=True,
    )


def _apps(seen: RaySeen, cluster: ClusterProfile, *, keeps_it: bool) -> CheckResult:
    """A config that is put to Serve takes every application away that an earlier one put, and what
    a program deployed would be measured along. `keeps_it`: ours there is this session's."""
    foreign = [app for app in seen.apps if app.name != APP]
    ours = [app for app in seen.apps if app.name == APP and not keeps_it]
    value = "none"
    if foreign:
        value = " and ".join(f"{app.name} ({app.status.lower()})" for app in foreign)
        replaced = all(app.declared or app.route == "/" for app in foreign)
        value = f"serves {value}, which ours would {'replace' if replaced else 'disturb'}"
    elif ours:
        value = f"{APP} is there already ({ours[0].status.lower()}), of another session"
    elif seen.apps:
        value = f"{APP}, this session's own"
    return verdict(
        cluster.name,
        "ray-apps",
        "fail" if foreign or ours else "ok",
        value,
        "take a Ray cluster of its own for measurements, or end the application there"
        if foreign
        else f"wait for it, or end it with `serve shutdown -a {cluster.ray.dashboard}`",
        hard=True,
    )


def _proxy(seen: RaySeen, cluster: ClusterProfile) -> Iterator[CheckResult]:
    if not seen.http_port:
        return
    head = head_address(cluster)
    right = seen.http_port == cluster.ports.router
    is_heard = is_loopback(head) or not is_loopback(seen.http_host)
    advice = f"write {seen.http_port} as ports.router of cluster {cluster.name}"
    if right and not is_heard:
        advice = f"end Serve if nobody uses it, to have it started at {head}"
    yield verdict(
        cluster.name,
        "ray-proxy",
        "ok" if right and is_heard else "fail",
        f"Serve listens at {seen.http_host or '?'}:{seen.http_port}",
        f"that cannot be changed while Serve runs: {advice}",
        hard=True,
    )
