"""What to start for one run: every process with its command line, environment and place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from pdconsole.model.layout import Role
from pdconsole.remote.values import ProcessSpec

# ray: what a node runs for Ray itself; it serves nobody
ProcessRole = Role | Literal["router", "ray"]

# Names a process's command line and environment: in its environment for people who look at it
# with ps, and as a file beside its log for whoever wants to adopt it.
PLAN_VARIABLE = "PDCONSOLE_PLAN"
PLAN_FILE = "plan"


class PlannedProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A replica (`P1`, `D2`, `C3`), the `router`, or Ray on a node (`ray-head`, `ray-<node>`).

    Where Ray Serve has the replicas, a replica's process is its *door*: it answers for it at `url`
    as a vLLM server would, and the router's process is the one that put the application there.
    """

    name: str
    role: ProcessRole
    node: str
    tp: int = 0
    slots: tuple[int, ...] = ()  # of its node, in rank order
    holds_slots: bool = True  # False: another process of the run locks them for it
    argv: tuple[str, ...]
    env: dict[str, str]
    # Variables whose values are nobody's to see: whoever starts it has them, the plan has not.
    secrets: tuple[str, ...] = ()
    files: dict[str, str] = {}  # beside its log, as ProcessSpec has them
    url: str  # base, without a path
    health_url: str
    metrics_url: str
    stage: int  # all of one stage start together, when the stage before is ready

    @property
    def host_port(self) -> str:
        """`10.0.0.1:8100`, as request ids name a replica."""
        return urlsplit(self.url).netloc

    @property
    def is_worker(self) -> bool:
        return self.role not in ("router", "ray")

    @property
    def digest(self) -> str:
        """Equal for processes that would be started alike."""
        said = msgspec.json.encode((self.argv, sorted(self.env.items()), self.slots))
        if self.files:
            said += msgspec.json.encode(sorted(self.files.items()))
        return hashlib.sha256(said).hexdigest()[:16]


class DeploymentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of one run. `notes` are what a person should know before it starts."""

    run: str
    session: str
    processes: tuple[PlannedProcess, ...]
    router_url: str
    notes: tuple[str, ...] = ()
    # decode-only: the replicas that decode make up the KV of their prompts (DecodeBenchConnector)
    decodes_made_up_kv: bool = False
    serve_config: str = ""  # Ray Serve's config file, usable by hand

    @property
    def workers(self) -> tuple[PlannedProcess, ...]:
        return tuple(process for process in self.processes if process.is_worker)

    @property
    def router(self) -> PlannedProcess:
        return next(process for process in self.processes if process.role == "router")

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(process.node for process in self.processes))

    @property
    def stages(self) -> tuple[tuple[PlannedProcess, ...], ...]:
        """The processes by stage, first stage first."""
        numbers = sorted({process.stage for process in self.processes})
        return tuple(
            tuple(process for process in self.processes if process.stage == number)
            for number in numbers
        )

    def slots_of(self, node: str) -> tuple[int, ...]:
        """What the run occupies there, ascending."""
        taken = {
            slot
            for process in self.processes
            if process.node == node and process.holds_slots
            for slot in process.slots
        }
        return tuple(sorted(taken))

    def token(self, process: PlannedProcess) -> str:
        return f"{self.session}/{self.run}/{process.name}"

    def spec(
        self, process: PlannedProcess, secrets: Mapping[str, str] | None = None
    ) -> ProcessSpec:
        hidden = {name: (secrets or {})[name] for name in process.secrets}
        return ProcessSpec(
            token=self.token(process),
            session=self.session,
            argv=process.argv,
            env={**process.env, **hidden, PLAN_VARIABLE: process.digest},
            slots=process.slots if process.holds_slots else (),
            files={**process.files, PLAN_FILE: process.digest},
        )
