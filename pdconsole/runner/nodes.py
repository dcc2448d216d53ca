"""The nodes of a session: connected together, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from pdconsole.measure.login_environment import VARIABLES
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.remote.client import NodeClient, RemoteError
from pdconsole.remote.values import Inventory, Look, News, SshTarget
from pdconsole.serving.engine_python import IN_PYTHON_OF, engine_command, in_python_of
from pdconsole.serving.ports import possible_ports


def ssh_target(cluster: ClusterProfile, node: NodeProfile) -> SshTarget:
    ssh = cluster.ssh
    return SshTarget(
        node=node.name,
        host=node.ssh_host,
        port=node.port,
        user=node.user,
        config=ssh.config,
        known_hosts=ssh.known_hosts,
        identity=tuple(ssh.identity),
        jump=ssh.jump,
        connect_timeout_s=ssh.connect_timeout_s,
        login_timeout_s=ssh.login_timeout_s,
        keepalive_s=ssh.keepalive_s,
        python=cluster.engine.python,
        work_dir=node.work_dir or cluster.work_dir,
        lock_dir=node.lock_dir,
    )


_PACKAGE_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
# The version that command $2 tells, or else that of package $1 in its Python: some commands,
# vllm-router 0.1.17 among them, do not know --version.
_ASKED_OR_PACKAGE_VERSION = f"""\
package=$1
shift
"$@" --version 2>/dev/null && exit 0
set -- "$1" -c '{_PACKAGE_VERSION}' "$package"
{IN_PYTHON_OF}"""


def version_commands(cluster: ClusterProfile) -> dict[str, Sequence[str]]:
    """How a node is asked for the versions of the commands; those of packages come by `look_of`."""
    if cluster.orchestrator == "ray":  # which has a router of its own
        return {
            package: in_python_of(cluster.ray.command[0], "-c", _PACKAGE_VERSION, package)
            for package in ("vllm", "ray")
        }
    vllm = [word for word in cluster.engine.vllm if word != "serve"]
    return {
        "vllm": (*vllm, "--version"),
        "vllm-router": (
            *("sh", "-c", _ASKED_OR_PACKAGE_VERSION, "sh", "vllm-router"),
            *cluster.engine.router,
        ),
    }


def look_of(cluster: ClusterProfile, node: NodeProfile, models: Iterable[str] = ()) -> Look:
    """What is looked at on a node beside its versions. `models`: sources of model profiles.

    A simulated node has no engine and no models.
    """
    real = not cluster.simulated
    by_ray = cluster.orchestrator == "ray"
    # Only the driver node has to reach a dashboard.
    joins = by_ray and not cluster.ray.start and node.name == cluster.driver_node
    return Look(
        engine=in_python_of(engine_command(cluster)[0], "@agent@", "engine") if real else (),
        models=tuple(dict.fromkeys(models)) if real else (),
        ports=possible_ports(cluster, node),
        variables=VARIABLES,
        dashboard=cluster.ray.dashboard if joins else "",
    )


def nodes_of(cluster: ClusterProfile, runs: Iterable[RunPlan]) -> set[str]:
    """The nodes that these runs use: their replicas', and the one of router and load driver."""
    used = {slot.node for run in runs for slot in run.placement.slots}
    return used | {cluster.driver_node}


class SessionNodes:
    """A NodeClient for each named node of a cluster, and for those that are added."""

    def __init__(
        self,
        cluster: ClusterProfile,
        names: Iterable[str],
        session: str,
        on_news: Callable[[News], None],
        *,
        models: Iterable[str] = (),
    ) -> None:
        """`models`: sources that are looked for on the nodes."""
        self._cluster = cluster
        self._models = tuple(models)
        self._session = session
        self._on_news = on_news
        self._clients = self._made(names)

    @property
    def clients(self) -> Mapping[str, NodeClient]:
        """Those that there are now."""
        return self._clients

    def _made(self, names: Iterable[str]) -> dict[str, NodeClient]:
        wanted = set(names)
        return {
            node.name: NodeClient(
                ssh_target(self._cluster, node),
                self._session,
                self._on_news,
                lease_s=self._cluster.lease_s,
                version_commands=version_commands(self._cluster),
                version_env=self._cluster.env,
                look=look_of(self._cluster, node, self._models),
            )
            for node in self._cluster.nodes
            if node.name in wanted
        }

    async def open(self) -> dict[str, Inventory]:
        """All at once; raises the first RemoteError after every attempt has ended."""
        return await _opened(self._clients)

    async def add(self, names: Iterable[str]) -> dict[str, Inventory]:
        """Connect to those of these nodes that there are none of. Raises as `open` does; what was
        tried is then ended."""
        made = self._made(name for name in names if name not in self._clients)
        self._clients.update(made)  # whatever happens from here on, `end` ends them
        try:
            return await _opened(made)
        except RemoteError:
            await asyncio.gather(
                *(client.close(end_agent=True) for client in made.values()), return_exceptions=True
            )
            for name in made:
                del self._clients[name]
            raise

    async def stop_others(self, keep: Iterable[str]) -> None:
        """End what runs in this session on any node, but for the tokens in `keep`."""
        kept = set(keep)
        for client in self.clients.values():
            running = [p.token for p in await client.processes() if p.state == "running"]
            await client.stop([token for token in running if token not in kept])

    async def end(self) -> list[RemoteError]:
        """End every process and agent of the session; what could not be reached is returned."""
        outcomes = await asyncio.gather(
            *(client.close(end_agent=True) for client in self.clients.values()),
            return_exceptions=True,
        )
        failures: list[RemoteError] = []
        for outcome in outcomes:
            if isinstance(outcome, RemoteError):
                failures.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        return failures


async def end_all(nodes: SessionNodes) -> None:
    """End them where nothing may be left; raises the first failure."""
    failures = await nodes.end()
    if failures:
        raise failures[0]


async def _opened(clients: Mapping[str, NodeClient]) -> dict[str, Inventory]:
    outcomes = await asyncio.gather(
        *(client.open() for client in clients.values()), return_exceptions=True
    )
    inventories: dict[str, Inventory] = {}
    for name, outcome in zip(clients, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        inventories[name] = outcome
    return inventories
