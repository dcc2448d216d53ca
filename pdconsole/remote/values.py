"""What a node tells and is told. `node_t` is the node's own monotonic clock, in seconds."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from pdconsole.model.events import GpuSample, LinkStatus


class SshTarget(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a node; what is left out comes from the ssh configuration file."""

    node: str  # the name people use, in every message
    host: str = ""  # address or alias; default: the node's name
    port: int | None = None
    user: str | None = None
    config: str = "~/.ssh/config"
    known_hosts: str | None = None
    identity: tuple[str, ...] = ()
    jump: str | None = None  # "user@host:port,host2"
    connect_timeout_s: float = 10.0
    login_timeout_s: float = 20.0
    keepalive_s: float = 15.0
    python: str = "python3"  # on the node, >= 3.9
    work_dir: str = "~/.pdconsole"  # on the node
    # GPU locks; default: one directory for all users of the node, and a simulated node's work_dir
    lock_dir: str = ""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. In argv, env values and files these are replaced: `@agent@` (the zipapp's
    path), `@dir@` (the process's own directory, also its working directory), `@home@`,
    `@python@`. A word of argv that begins with ~/ is a path under the node's home.

    stdout and stderr go to `@dir@/log`; with `records`, stdout goes to `@dir@/records`.
    """

    token: str  # "<session>/<run>/<process>"
    session: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    slots: tuple[int, ...] = ()
    files: dict[str, str] = {}  # name -> text, written 0600 into @dir@ before the start
    records: bool = False


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    pid: int
    state: Literal["running", "exited", "killed"]  # killed: by us
    exit_code: int | None = None  # minus the signal's number if a signal ended it
    started_node_t: float = 0.0
    log_size: int = 0
    last_log: str = ""  # the last lines, undecodable bytes replaced
    records_size: int = 0
    cpu_s: float | None = None  # used so far, with its children; None once it has ended
    reason: str = ""  # why it was killed
    session: str = ""
    pids: tuple[int, ...] = ()  # of a leftover: every process that carries the token
    supervised: bool = True  # of a leftover: the agent of its session is alive


class HttpReply(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    body: bytes
    elapsed_ms: float


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody on a GPU. `token` is empty unless pdconsole of this user started it."""

    pid: int
    name: str = ""
    user: str = ""
    memory_mib: int | None = None
    token: str = ""


class NodeGpu(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str
    memory_mib: int
    memory_used_mib: int = 0
    uuid: str = ""
    processes: tuple[GpuProcess, ...] = ()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(p.pid for p in self.processes)


class SlotLock(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a slot's lock on the node, of any user and session."""

    slot: int
    session: str = ""
    user: str = ""
    pid: int = 0
    ours: bool = False  # this session


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at on a node beside what every inventory has."""

    # argv that has the engine's Python run `@agent@ engine`; empty: do not ask
    engine: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # paths, or names of the hub
    ports: tuple[tuple[str, int], ...] = ()  # (address, port) on which something would listen
    variables: tuple[str, ...] = ()  # of the environment that processes there inherit
    dashboard: str = ""  # of a Ray cluster that runs already, as this node dials it


class UcxFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The UCX that NIXL would load."""

    version: str
    library: str = ""
    modules: tuple[str, ...] = ()  # cma, cuda, ib, ib_efa, …
    transports: tuple[str, ...] = ()  # transport/device that it opens there, without CUDA


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine's Python has; `trouble` says why that is not known."""

    python: str = ""
    prefix: str = ""  # the directory of its environment
    packages: dict[str, str] = {}
    ucx: UcxFacts | None = None
    ucx_trouble: str = ""
    trouble: str = ""

    @property
    def nixl(self) -> str:
        """Its version; NIXL may be installed under the name of one of its builds alone."""
        names = ("nixl", "nixl-cu12", "nixl-cu13")
        return next((self.packages[name] for name in names if name in self.packages), "")

    def versions(self) -> dict[str, str]:
        """Of the programs that results name."""
        found = {name: self.packages.get(name, "") for name in ("ray", "torch")}
        found |= {"nixl": self.nixl, "ucx": self.ucx.version if self.ucx else ""}
        return {name: version for name, version in found.items() if version}


class ModelSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it lies on a node: in its directory, or in the cache of the hub."""

    is_path: bool
    folder: str = ""
    found: bool = False
    config_sha256: str = ""  # empty: no config.json
    weights: int = 0  # files
    offline: bool = False  # HF_HUB_OFFLINE: nothing would be downloaded


class PortTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A port on which nothing could listen. The process is named if it is this user's."""

    address: str
    port: int
    kind: Literal["taken", "foreign-address", "unknown-address", "refused"]
    message: str = ""
    pid: int = 0
    name: str = ""
    user: str = ""
    token: str = ""  # of a process that pdconsole started


class RdmaDevice(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    driver: str = ""  # efa, mlx5_core, …
    state: str = ""  # of its first port: ACTIVE, DOWN, …
    usable: bool = True  # by this user


class RayNodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A node as Ray has it; `resources` in all, `used` of them by anybody."""

    address: str
    name: str = ""
    state: str = ""  # ALIVE, DEAD
    message: str = ""
    resources: dict[str, float] = {}
    used: dict[str, float] | None = None  # None: the cluster does not tell


class RayAppSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An application of Ray Serve. A config that is put replaces all that are `declared`."""

    name: str
    status: str = ""
    route: str = ""
    declared: bool = True


class RaySeen(msgspec.Struct, frozen=True, kw_only=True):
    """A Ray cluster as its dashboard tells it; `trouble` says why it does not."""

    version: str = ""
    nodes: tuple[RayNodeSeen, ...] = ()
    apps: tuple[RayAppSeen, ...] = ()
    # Where Serve's proxies listen, if Serve runs: that cannot be changed while it does.
    http_host: str = ""
    http_port: int = 0
    trouble: str = ""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a Look found."""

    engine: EngineFacts = EngineFacts()
    models: dict[str, ModelSeen] = {}
    ports: tuple[PortTaken, ...] = ()
    variables: dict[str, str] = {}
    devices: tuple[RdmaDevice, ...] = ()
    ray: RaySeen | None = None  # None: nobody asked for a dashboard


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    node: str
    hostname: str
    python: str
    user: str = ""  # as whom pdconsole works there
    gpus: tuple[NodeGpu, ...] = ()
    gpu_trouble: str = ""  # what nvidia-smi said if it is there and fails
    driver: str = ""
    versions: dict[str, str] = {}
    nics: tuple[str, ...] = ()
    disk_free_bytes: int = 0
    memlock: int = -1  # bytes, -1: unlimited
    cores: int = 0
    simulated: bool = False
    locks: tuple[SlotLock, ...] = ()
    processes: tuple[ProcessInfo, ...] = ()  # of this session
    work_dir: str = ""  # as the node expands it
    agent_pid: int = 0
    looked: Looked | None = None  # None: it was not asked to


class LinkChanged(msgspec.Struct, frozen=True, tag=True):
    node: str
    status: LinkStatus
    message: str = ""


class LogChunk(msgspec.Struct, frozen=True, tag=True):
    node: str
    token: str
    offset: int  # of the first byte in the log
    data: bytes


class Records(msgspec.Struct, frozen=True, tag=True):
    """Whole lines of a process's stdout, without their newlines."""

    node: str
    token: str
    offset: int  # of the first line's first byte
    lines: list[bytes]


class ProcessChanged(msgspec.Struct, frozen=True, tag=True):
    """Comes after the last byte of every stream of that process that is followed."""

    node: str
    info: ProcessInfo


class GpusSeen(msgspec.Struct, frozen=True, tag=True):
    node: str
    node_t: float
    gpus: tuple[GpuSample, ...]


class NicsSeen(msgspec.Struct, frozen=True, tag=True):
    """Cumulative hardware counters by device; a counter that the device lacks is absent."""

    node: str
    node_t: float
    counters: dict[str, dict[str, int]]


class MetricsSeen(msgspec.Struct, frozen=True, tag=True):
    """One scrape: full sample names, labels as in the exposition; no `_bucket` series."""

    node: str
    name: str
    node_t: float
    values: dict[str, float]


class ClockSeen(msgspec.Struct, frozen=True, tag=True):
    """offset_s = node monotonic time - our `time.monotonic()`, to within bound_s (half the
    smallest round trip of a burst). wall_offset_s: the node's time of day - ours, to within the
    same."""

    node: str
    offset_s: float
    bound_s: float
    wall_offset_s: float | None = None


News: TypeAlias = (
    LinkChanged
    | LogChunk
    | Records
    | ProcessChanged
    | GpusSeen
    | NicsSeen
    | MetricsSeen
    | ClockSeen
)
