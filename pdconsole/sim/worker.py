"""The simulated `vllm`: `python -m pdconsole.sim.worker serve MODEL ...`, `--version`.

The engine's constants come in PDCONSOLE_SIM_ENGINE and PDCONSOLE_SIM_LINK, as JSON. For tests,
PDCONSOLE_SIM_FAULT makes it fail: `die`, `oom`, `hang` (never ready), `slow:SECONDS` (to load),
`crash:SECONDS` (after it was ready).
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

import uvloop

from pdconsole.sim import constants
from pdconsole.sim.arguments import VERSION, ArgumentError, ServeArguments, parse_serve
from pdconsole.sim.constants import ConstantsError
from pdconsole.sim.engine import Replica, ReplicaSettings
from pdconsole.sim.gpus import MEMORY_MIB, WEIGHTS_MIB, GpuMemoryError, GpuUse
from pdconsole.sim.http import connection_factory
from pdconsole.sim.kv_handover import KvHandover
from pdconsole.sim.metrics import WorkerMetrics
from pdconsole.sim.nvidia_smi import NODE_DIR_VARIABLE
from pdconsole.sim.server import Server
from pdconsole.sim.side_channel import Identity
from pdconsole.sim.worker_log import ThroughputLog, log

FAULT_VARIABLE = "PDCONSOLE_SIM_FAULT"
DEFAULT_LOAD_S = 1.5
DEFAULT_LEASE_S = 30.0
LOG_EVERY_S = 10.0


class StartError(Exception):
    """The worker cannot start; the message is what vLLM would say."""


class Fault:
    """What PDCONSOLE_SIM_FAULT asks for."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.kind, _, value = env.get(FAULT_VARIABLE, "").partition(":")
        self.seconds = float(value) if value else 0.0
        if self.kind not in ("", "die", "oom", "hang", "slow", "crash"):
            raise StartError(f"{FAULT_VARIABLE}={self.kind} is not a fault that can be simulated")


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-v"]):
        print(VERSION)  # noqa: T201
        return 0
    if words[:1] != ["serve"]:
        print("usage: vllm serve MODEL ... (simulated)", file=sys.stderr)  # noqa: T201
        return 2
    try:
        arguments = parse_serve(words[1:])
        return uvloop.run(_serve(arguments, dict(os.environ)))
    except ArgumentError as error:
        print(f"vllm serve: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except (ConstantsError, GpuMemoryError, StartError) as error:
        log(f"{_vllm_error(error)}: {error}", level="ERROR", source="core.py")
        return 1


def _vllm_error(error: Exception) -> str:
    """The name that vLLM's own traceback would end with."""
    return "ValueError" if isinstance(error, GpuMemoryError) else "RuntimeError"


async def _serve(arguments: ServeArguments, env: Mapping[str, str]) -> int:
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = _bind(arguments)
    replica = _replica(arguments, env)
    gpus = GpuUse(env, arguments.tp)
    try:
        handover = _handover(arguments, env, replica)
        metrics = WorkerMetrics(replica, arguments.served_names[0], arguments.max_model_len)
        server = Server(arguments, replica, metrics, handover, loop)
        if not await _until(stop, _load(arguments, env, replica, gpus, began)):
            return 0
        if handover is not None:
            await _open_side_channel(handover, replica, server)
        http = await loop.create_server(connection_factory(server.handle), sock=listener)
        log("Application startup complete.", source="api_server.py")
        gc.collect()
        gc.freeze()  # what start-up made stays: collections then stay short
        jobs = [
            asyncio.create_task(_report(replica, metrics, gpus)),
            *([asyncio.create_task(handover.renew_forever())] if handover else []),
        ]
        crashed = await _until_end(stop, Fault(env))
        for job in jobs:
            job.cancel()
        http.close()
        log("Shutting down", source="launcher.py")
        return crashed
    finally:
        gpus.clear()
        listener.close()


def _bind(arguments: ServeArguments) -> socket.socket:
    """The port is taken before the model is loaded, so that a clash is seen at once."""
    _only_loopback(arguments.host)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((arguments.host, arguments.port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"[Errno {error.errno}] error while attempting to bind on address"
            f" ('{arguments.host}', {arguments.port}): {str(error.strerror).lower()}"
        ) from error
    return listener


def _only_loopback(host: str) -> None:
    """Whoever reaches a simulated worker may ask anything of it."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise StartError(f"{host} is no loopback address, and simulated workers listen on no other")


def _replica(arguments: ServeArguments, env: Mapping[str, str]) -> Replica:
    engine = constants.engine_from(env)
    transfer = arguments.kv_transfer
    link = constants.link_from(env) if transfer is not None else None
    older_lease = env.get("VLLM_NIXL_ABORT_REQUEST_TIMEOUT")
    lease = transfer.kv_connector_extra_config.kv_lease_duration if transfer else None
    blocks = arguments.gpu_blocks
    return Replica(
        engine,
        link,
        ReplicaSettings(
            tp=arguments.tp,
            connector=transfer is not None,
            prefix_caching=arguments.prefix_caching,
            token_budget=arguments.token_budget,
            max_seqs=arguments.max_seqs,
            kv_tokens=blocks * engine.block_tokens if blocks else None,
            lease_s=lease or float(older_lease or DEFAULT_LEASE_S),
        ),
    )


def _handover(
    arguments: ServeArguments, env: Mapping[str, str], replica: Replica
) -> KvHandover | None:
    transfer = arguments.kv_transfer
    if transfer is None:
        return None
    identity = Identity(
        engine_id=transfer.engine_id or str(uuid.uuid4()),
        node=Path(env.get(NODE_DIR_VARIABLE, "")).name,
        compatibility=arguments.compatibility,
        tp=replica.settings.tp,
    )
    host = env.get("VLLM_NIXL_SIDE_CHANNEL_HOST", "localhost")
    _only_loopback(host)
    port = int(env.get("VLLM_NIXL_SIDE_CHANNEL_PORT", "5600"))
    return KvHandover(transfer, identity, (host, port))


async def _load(
    arguments: ServeArguments,
    env: Mapping[str, str],
    replica: Replica,
    gpus: GpuUse,
    began: float,
) -> None:
    """What vLLM says and does while it loads; ends when the worker is ready."""
    fault = Fault(env)
    log(f"vLLM API server version {VERSION}", source="api_server.py")
    for word in arguments.unknown:
        log(f"Ignoring argument {word}", level="WARNING", source="arguments.py")
    if fault.kind == "die":
        raise StartError("Engine core initialization failed: PDCONSOLE_SIM_FAULT=die")
    gpus.check_free(arguments.gpu_memory_utilization)
    load_s = fault.seconds if fault.kind == "slow" else DEFAULT_LOAD_S
    weights_mib = WEIGHTS_MIB / arguments.tp
    gpus.occupy(weights_mib / 2)
    log(f"Starting to load model {arguments.model}...", source="gpu_model_runner.py")
    await asyncio.sleep(load_s * 0.6)
    if fault.kind == "oom":
        raise StartError(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.06 GiB. GPU 0 has a"
            f" total capacity of {MEMORY_MIB / 1024:.2f} GiB of which 0.52 GiB is free."
        )
    gpus.occupy(weights_mib)
    log(
        f"Model loading took {weights_mib / 1024:.2f} GiB and {load_s * 0.6:.2f} seconds",
        source="gpu_model_runner.py",
    )
    if fault.kind == "hang":
        await asyncio.Event().wait()
    gpus.occupy(MEMORY_MIB * arguments.gpu_memory_utilization)
    log(f"GPU KV cache size: {replica.kv_tokens:,} tokens", source="kv_cache_utils.py")
    log(f"Prefix caching: {arguments.prefix_caching}", source="core.py")
    await asyncio.sleep(load_s * 0.4)
    log(
        f"init engine (profile, create kv cache, warmup model) took"
        f" {time.monotonic() - began:.2f} seconds",
        source="core.py",
    )
    log(f"Starting vLLM API server 0 on http://{arguments.host}:{arguments.port}")


async def _open_side_channel(handover: KvHandover, replica: Replica, server: Server) -> None:
    try:
        await handover.listen(replica, server.tick)
    except OSError as error:
        raise StartError(f"zmq.error.ZMQError: side channel: {error.strerror or error}") from error


async def _until(stop: asyncio.Event, job: Coroutine[None, None, None]) -> bool:
    """Await a job, or the wish to stop. False: stopped first."""
    task = asyncio.create_task(job)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        stopped.cancel()
        task.result()
        return True
    task.cancel()
    return False


async def _until_end(stop: asyncio.Event, fault: Fault) -> int:
    """Exit status: 0 when asked to stop."""
    if fault.kind != "crash":
        await stop.wait()
        return 0
    try:
        async with asyncio.timeout(fault.seconds):
            await stop.wait()
    except TimeoutError:
        log("EngineDeadError: PDCONSOLE_SIM_FAULT=crash", level="ERROR", source="core_client.py")
        os._exit(1)
    return 0


async def _report(replica: Replica, metrics: WorkerMetrics, gpus: GpuUse) -> None:
    """What others look at: the GPUs' use each second, a line of throughput now and then."""
    throughput = ThroughputLog(replica, metrics, time.monotonic())
    logged = time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        now = time.monotonic()
        gpus.publish(now, replica.counters.busy_s, replica.counters.prefill_busy_s)
        if now - logged >= LOG_EVERY_S:
            throughput.write(now)
            logged = now


if __name__ == "__main__":
    sys.exit(main())
