"""What a profile file may say about clusters, models, networks and workloads.

Every class is one mapping in YAML. Fields are checked strictly (a quoted number is not a number, an
unquoted `on` is not text) and unknown fields are refused, so that a slip is seen before a run and
not in its results. Names carry their units. `examples` on a field are what an error suggests.
Experiments are in `experiment.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pdconsole.model.workload import Mode, Prompts, Workload
from pdconsole.profiles.problem import one_of
from pdconsole.profiles.section import (
    Bool,
    Count,
    Env,
    FieldError,
    Float,
    Int,
    Name,
    NotNegative,
    Port,
    Positive,
    Section,
    refuse_secrets,
)

SlotKind = Literal["gpu", "gpu-share", "cpu"]
Fabric = Literal["efa", "infiniband", "ethernet", "loopback"]


# --- clusters ---


class NodeProfile(Section):
    """A host reached by ssh, and what of it replicas may use."""

    name: Name = Field(examples=["node1"])
    host: str = ""  # ssh host or an alias of ~/.ssh/config; default: the name
    port: Port | None = None
    user: str | None = None
    address: str = ""  # what the other nodes dial; default: the host
    gpus: Count = 8
    gpu_model: str = Field(examples=["NVIDIA H100 80GB HBM3"])
    gpu_memory_mib: Count = Field(examples=[81559])
    kind: SlotKind = "gpu"
    # Where slots are locked; default: one directory for all users of the machine. Nodes that share
    # a machine but no slots, such as containers, each need one of their own.
    lock_dir: str = ""
    work_dir: str = ""  # default: the cluster's; nodes with one home each need one of their own

    @property
    def ssh_host(self) -> str:
        return self.host or self.name

    @property
    def dial_address(self) -> str:
        """The address by which other nodes reach this one."""
        return self.address or self.ssh_host


class SshProfile(Section):
    """How nodes are logged into. Keys come from the ssh agent, `config` or `identity`."""

    config: str = "~/.ssh/config"
    known_hosts: str | None = None  # None: what `config` says, else ~/.ssh/known_hosts
    identity: list[str] = Field(default=[])
    jump: str | None = None
    connect_timeout_s: Positive = 10.0
    login_timeout_s: Positive = 20.0
    keepalive_s: Positive = 15.0


class EngineProfile(Section):
    """The commands of a node, as argument lists."""

    vllm: list[str] = Field(default=["vllm", "serve"], min_length=1)
    version: str = "auto"  # auto: ask the node
    router: list[str] = Field(default=["vllm-router"], min_length=1)
    python: str = "python3"  # for the agent; 3.9 or newer


class PortsProfile(Section):
    """First port of each kind; replicas count up from it."""

    worker: Port = 8100
    side_channel: Port = 5600
    router: Port = 8000
    router_metrics: Port = 29000


class RayPorts(Section):
    """Where Ray listens on each of its nodes. On every interface, but for the dashboard.

    Where `fabric` is loopback all nodes are one machine, and each further node counts up from
    these: single ports by one, the range of workers by its length. Serve's proxy listens at
    `ports.router`, the application's readiness at `ports.router_metrics`.
    """

    gcs: Port = 6379
    dashboard: Port = 8265
    node_manager: Port = 6400
    object_manager: Port = 6420
    dashboard_agent_listen: Port = 6440
    dashboard_agent_grpc: Port = 6460
    runtime_env_agent: Port = 6480
    metrics_export: Port = 6500
    autoscaler_metrics: Port = 44217
    dashboard_metrics: Port = 44227
    client_server: Port = 10001
    min_worker: Port = 10100
    max_worker: Port = 10999

    @model_validator(mode="after")
    def _ordered(self) -> RayPorts:
        if self.max_worker < self.min_worker:
            raise FieldError(
                f"{self.max_worker} is below min_worker, {self.min_worker}",
                "write the larger of the two as max_worker",
                "max_worker",
            )
        return self


# An IPv6 address in brackets: its own colons would be taken for the port's.
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)"
_HOST_AND_PORT = re.compile(_HOST + r":\d{1,5}")
_WEB_ADDRESS = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?(?:/[^\s?#]*)?")


class RayProfile(Section):
    """Ray where `orchestrator: ray` has it serve: started for each run, or a cluster that runs."""

    start: Bool = True  # false: Ray runs already on the nodes, at `address`
    command: list[str] = Field(default=["ray"], min_length=1)  # its Python has vLLM and NIXL
    address: str = Field(default="", examples=["10.0.0.11:6379"])  # start: false; GCS, host:port
    dashboard: str = Field(default="", examples=["http://10.0.0.11:8265"])  # start: false
    ports: RayPorts = RayPorts()  # start: false: metrics_export counts
    ingress_replicas: Count = 1  # of Serve's HTTP front end, all on the driver node
    # For sockets and logs while Ray runs, at most 40 characters; default: a directory of its own
    # under /tmp that is removed at the end.
    temp_dir: Annotated[str, Field(max_length=40)] = ""
    object_store_mib: Count = 1024  # of each node; KV does not pass through it

    @model_validator(mode="after")
    def _consistent(self) -> RayProfile:
        named = {"address": self.address, "dashboard": self.dashboard}
        for field, value in named.items():
            if not self.start and not value:
                raise FieldError(
                    "a cluster that runs already must be named",
                    f"add ray.{field}, or write start: true to have Ray started",
                    field,
                )
            if self.start and value:
                raise FieldError(
                    "this names a cluster that runs already, and start is true",
                    "write start: false to join it, or remove the line",
                    field,
                )
        if not self.start and not _HOST_AND_PORT.fullmatch(self.address):
            raise FieldError(
                f"{self.address} is no host and port",
                "write what `ray start --address` takes, for example 10.0.0.11:6379",
                "address",
            )
        if not self.start and not _WEB_ADDRESS.fullmatch(self.dashboard):
            raise FieldError(
                f"{self.dashboard} is no URL",
                "write it with its scheme, for example http://10.0.0.11:8265",
                "dashboard",
            )
        return self


class Thresholds(Section):
    """Where a check or a quality flag speaks up."""

    clock_offset_ms: Positive = 50.0  # of a node's wall clock
    disk_free_gib: NotNegative = 5.0  # in the node's work_dir
    driver_cpu_pct: Positive = 80.0  # of one core: the load driver is single-threaded
    router_cpu_pct: Positive = 80.0  # of all cores of its node
    late_ms: Positive = 10.0  # open loop: p99 of sends behind their schedule
    simulated_late_ms: Positive = 10.0  # p99 lateness of a simulated worker


class ClusterProfile(Section):
    name: Name
    description: str = ""
    # direct: pdconsole starts replicas and router itself. ray: Ray Serve does, see `ray`
    orchestrator: Literal["direct", "ray"] = "direct"
    simulated: Bool = False
    nodes: list[NodeProfile] = Field(min_length=1)
    ssh: SshProfile = SshProfile()
    engine: EngineProfile = EngineProfile()
    ports: PortsProfile = PortsProfile()
    ray: RayProfile = RayProfile()  # only with orchestrator: ray
    env: Env = Field(default={})  # of every worker
    work_dir: str = "~/.pdconsole"
    client_node: str | None = None  # runs router and load driver; default: the first node
    fabric: Fabric = Field(examples=["ethernet"])
    lease_s: Positive = 300.0
    startup_timeout_s: Positive = 900.0
    thresholds: Thresholds = Thresholds()

    @property
    def driver_node(self) -> str:
        return self.client_node or self.nodes[0].name

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)

    @model_validator(mode="after")
    def _consistent(self) -> ClusterProfile:
        names = [node.name for node in self.nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FieldError(
                f"two nodes are named {twice[0]}", "give each node a name of its own", "nodes"
            )
        if self.client_node is not None and self.client_node not in names:
            raise FieldError(
                f"{self.client_node} is not one of the nodes",
                f"write {one_of(names)}, or leave it out for {names[0]}",
                "client_node",
            )
        if self.orchestrator == "ray" and self.simulated:
            raise FieldError(
                "simulated nodes have no Ray",
                "write direct, or name real nodes and simulated: false",
                "orchestrator",
            )
        return self


# --- models ---


class EngineTp(Section):
    """Constants of a replica's step time at one tensor-parallel degree (see EngineModel)."""

    a_ms: NotNegative
    w_ms: NotNegative
    c_us_per_seq: NotNegative
    d_ns_per_token: NotNegative
    b_us_per_token: NotNegative
    q_ps_per_token2: NotNegative
    kv_tokens_pd: Count  # KV capacity of a replica with a KV connector
    kv_tokens_collocated: Count


class EngineModel(Section):
    """Constants of the simulated engine.

    Step time with n sequences decoding over KV tokens, T prompt tokens in the step, and chunks of x
    prompt tokens after ctx earlier ones:
    `a + w (1 - exp(-(n+T)/saturation_tokens)) + c n + d KV + b T + q sum(x (ctx + x/2))
    + admit * newly admitted`.
    KV transfer: `link latency + tokens * kv_bytes_per_token / min(TP) / link gbps`, and where
    descriptors do not merge `unmerged_us_per_token` more latency, of which
    `unmerged_block_us_per_token` stops the decode replica; both times the link's factor.
    """

    source: str = Field(examples=["fit to measurements of ..."])
    tp: dict[Int, EngineTp] = Field(min_length=1)
    saturation_tokens: Positive = 31.5
    token_budget: Count = 8192
    max_seqs: Count = 256
    admit_ms: NotNegative = 5.8
    block_tokens: Count = 16
    kv_bytes_per_token: Count = Field(examples=[73728])
    ingress_ms: NotNegative = 12.7  # serial, one replica
    ingress_us_per_token: NotNegative = 2.0  # serial, one replica
    ingress_parallel_us_per_token: NotNegative = 4.1
    egress_ms: NotNegative = 8.0
    pd_hop_ms: NotNegative = 27.0
    # A front end streams one token at a time for all its active streams.
    stream_ms_per_token_collocated: NotNegative = 0.172
    stream_ms_per_token_pd: NotNegative = 0.208
    unmerged_us_per_token: NotNegative = 35.0
    unmerged_block_us_per_token: NotNegative = 16.0
    handshake_blocking_share: Annotated[Float, Field(ge=0, le=1)] = 0.8


# Flags that pdconsole writes itself, from the layout, the placement and the workload.
_OWN_FLAGS = {
    "host": "pdconsole chooses it from the node's address",
    "port": "set ports.worker in the cluster profile",
    "tensor-parallel-size": "it comes from the layout",
    "enable-expert-parallel": "write an expert-parallel layout such as 1xtpep4-1xtpep4",
    "served-model-name": "set served_name",
    "max-model-len": "set max_model_len",
    "kv-transfer-config": "it comes from the network profile",
    "enable-prefix-caching": "set prefix_caching in the workload profile",
    "no-enable-prefix-caching": "set prefix_caching in the workload profile",
}


def _engine_args(values: dict[str, Any]) -> dict[str, Any]:
    for key in values:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", key):
            plain = key.strip().lstrip("-").lower().replace("_", "-")
            raise FieldError("this is not the bare name of a flag", f"write {plain}", key)
        if key in _OWN_FLAGS:
            raise FieldError(
                "pdconsole sets this flag itself", f"remove it here; {_OWN_FLAGS[key]}", key
            )
    return refuse_secrets(values)


EngineArgs = Annotated[dict[str, Bool | Int | Float | str], AfterValidator(_engine_args)]


class ModelProfile(Section):
    name: Name
    short_name: Name = Field(examples=["gptoss"])  # begins the names of result directories
    source: str = Field(examples=["openai/gpt-oss-120b"])  # hub name, or a path on the nodes
    served_name: str = Field(examples=["gpt-oss-120b"])
    # flags of `vllm serve` without dashes in front; true: the bare flag
    engine_args: EngineArgs = Field(default={})
    kv_bytes_per_token: Count = Field(examples=[73728])
    kv_heads: Count = Field(examples=[8])
    layers: Count = Field(examples=[36])
    head_size: Count = Field(examples=[64])
    max_model_len: Count = Field(examples=[16000])
    vocab: tuple[Int, Int] = Field(examples=[[1000, 30000]])  # first and last id of ordinary tokens
    engine_model: EngineModel | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelProfile:
        first, last = self.vocab
        if not 0 <= first < last:
            raise FieldError(
                f"[{first}, {last}] holds no token ids",
                "write the first and the last id of ordinary tokens, for example [1000, 30000]",
                "vocab",
            )
        return self


# --- networks ---


class SimLink(Section):
    """The simulated link of this network.

    A transfer of tokens takes `latency_ms + tokens * kv bytes / min(TP) / gbps` (each rank pair
    moves its share at `gbps`). `unmerged_factor` scales the engine model's cost of unmerged
    descriptors where P and D differ in TP, `unmerged_factor_equal_tp` where they do not.
    """

    gbps: Positive = Field(examples=[10.0])  # GB/s (1e9 bytes)
    latency_ms: NotNegative = Field(examples=[39.0])
    handshake_s: NotNegative = Field(examples=[0.15])  # first contact of a P-D pair
    unmerged_factor: NotNegative = 1.0
    unmerged_factor_equal_tp: NotNegative = 1.0


class NetworkThresholds(Section):
    """Verdict on measured KV bandwidth, GB/s: at least good, below bad, in between doubtful."""

    good_gbps: Positive = Field(examples=[8.0])
    bad_gbps: Positive = Field(examples=[2.0])

    @model_validator(mode="after")
    def _ordered(self) -> NetworkThresholds:
        if self.bad_gbps > self.good_gbps:
            raise FieldError(
                f"{self.bad_gbps:g} is above good_gbps, {self.good_gbps:g}",
                "write the larger of the two as good_gbps",
                "bad_gbps",
            )
        return self


class NetworkProfile(Section):
    name: Name
    description: str = ""
    warning: str = ""  # why one should think twice; shown with every run on it
    backend: Literal["UCX", "LIBFABRIC"] = Field(examples=["UCX"])
    env: Env = Field(default={})
    connector_extra: Annotated[dict[str, Any], AfterValidator(refuse_secrets)] = Field(default={})
    across_nodes: Bool | None = None  # False: only within a node; True: only across; None: both
    thresholds: NetworkThresholds
    sim: SimLink | None = None


# --- workloads ---


class WorkloadProfile(Section):
    name: Name
    description: str = ""
    input_len: Count = Field(examples=[5000])
    output_len: Count = Field(examples=[250])
    modes: list[Mode] = Field(default=["mixed"], min_length=1)
    prompts: Prompts = "fresh"
    prefix_caching: Bool = False

    def workload(self, mode: Mode = "mixed") -> Workload:
        """This workload in one of its modes.

        Decode-only answers from a full prefix cache, so it has prefix caching on whatever the
        profile says. Raises ValueError for a mode that the profile does not list.
        """
        if mode not in self.modes:
            raise ValueError(
                f"workload {self.name} has no mode {mode}; it has {', '.join(self.modes)}"
            )
        return Workload(
            name=self.name,
            input_len=self.input_len,
            output_len=self.output_len,
            mode=mode,
            prompts=self.prompts,
            prefix_caching=self.prefix_caching or mode == "decode-only",
        )
