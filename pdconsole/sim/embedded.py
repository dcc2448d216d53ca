"""The embedded cluster: simulated nodes behind real ssh servers, in a process of their own.

They outlive who started them, as real nodes do, and go away when nobody needs them any longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import pdconsole
from pdconsole.runtime_dir import VARIABLE, RuntimeDirError, private_dir, runtime_dir
from pdconsole.sim.embedded_state import (
    CLIENT_KEY_FILE,
    KNOWN_HOSTS_FILE,
    LOCK_FILE,
    SPEC_FILE,
    STATE_FILE,
    EmbeddedSpec,
    EmbeddedState,
    NodeSpec,
    write_whole,
)

if TYPE_CHECKING:
    from pdconsole.profiles import ClusterProfile

IDLE_S = 60.0
START_TIMEOUT_S = 30.0
START_ATTEMPTS = 6  # a server may end, or be dying, at the very moment it is asked for
RETRY_PAUSE_S = 0.5
BANNER_TIMEOUT_S = 5.0
_START_LOCK_FILE = "start.lock"
_SSH_CONFIG_FILE = "ssh_config"
_LOG_FILE = "server.log"


class EmbeddedError(Exception):
    """The embedded cluster cannot be started; the message says why and what to do."""


async def ensure_embedded(cluster: ClusterProfile, *, idle_s: float = IDLE_S) -> ClusterProfile:
    """The cluster with its nodes running: addresses, ports, keys and known hosts filled in.

    Starts the nodes unless they run already. Safe to call at once from several places and
    processes. `idle_s`: how long the nodes wait for someone when nothing is left on them. Raises
    EmbeddedError.
    """
    if not cluster.simulated:
        raise EmbeddedError(
            f"Cluster {cluster.name} is not simulated, so its nodes cannot be started here; use a"
            " cluster profile with `simulated: true`, such as embedded"
        )
    directory = await asyncio.to_thread(_directory, cluster)
    spec = EmbeddedSpec(_node_specs(cluster), idle_s)
    state = await _running(directory)
    for _ in range(START_ATTEMPTS):
        if state is not None:
            return _filled_in(cluster, directory, state)
        try:
            await asyncio.to_thread(_start, directory, spec)
        except OSError as error:
            raise EmbeddedError(
                f"The embedded cluster cannot be started in {directory}: {error.strerror or error};"
                f" make room there, or name another place in {VARIABLE}"
            ) from error
        state = await _running(directory)
    raise EmbeddedError(
        f"The embedded cluster's server does not answer; see its log, {directory / _LOG_FILE}, and"
        " end it if it hangs"
    )


async def stop_embedded(cluster: ClusterProfile) -> bool:
    """End the nodes' servers; what runs on the nodes goes on. False: they were not running."""
    directory = await asyncio.to_thread(_directory, cluster)
    return await asyncio.to_thread(_stop, directory)


# --- where ---


def _node_specs(cluster: ClusterProfile) -> tuple[NodeSpec, ...]:
    return tuple(
        NodeSpec(node.name, node.gpus, node.gpu_model, node.gpu_memory_mib)
        for node in cluster.nodes
    )


def _directory(cluster: ClusterProfile) -> Path:
    """Of these nodes, for this user and this installation."""
    what = (_node_specs(cluster), sys.prefix, pdconsole.__file__)
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:8]
    try:
        return private_dir(runtime_dir() / f"embedded-{digest}")
    except RuntimeDirError as error:
        raise EmbeddedError(f"The embedded cluster has no place: {error}") from error


# --- whether it runs ---


async def _running(directory: Path) -> EmbeddedState | None:
    """The state of a server that is there and answers; None otherwise."""
    if not _locked(directory):
        return None  # whatever the state file says is of a server that is dead
    state = _read_state(directory)
    return state if state is not None and await _answers(state) else None


def _locked(directory: Path) -> bool:
    """Whether a server lives: it holds the lock to its end, however that comes."""
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _read_state(directory: Path) -> EmbeddedState | None:
    try:
        return msgspec.json.decode((directory / STATE_FILE).read_bytes(), type=EmbeddedState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


async def _answers(state: EmbeddedState) -> bool:
    """Whether every node greets; that it was asked keeps the server from ending for a while."""
    greetings = await asyncio.gather(*(_greets(n.address, n.port) for n in state.nodes))
    return all(greetings)


async def _greets(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(BANNER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                return (await reader.readline()).startswith(b"SSH-2.0")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


# --- start and stop (blocking: in a thread) ---


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    lock = os.open(directory / _START_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _start(directory: Path, spec: EmbeddedSpec) -> None:
    """Start a server unless someone else just did; returns when all its nodes listen."""
    with _only_one(directory):
        if not _locked(directory):
            (directory / STATE_FILE).unlink(missing_ok=True)
            write_whole(directory / SPEC_FILE, msgspec.json.encode(spec).decode())
            write_whole(directory / _SSH_CONFIG_FILE, "")
            pid = _spawn(directory)
        else:
            pid = None
        deadline = time.monotonic() + START_TIMEOUT_S
        while _read_state(directory) is None:
            ended = pid is not None and os.waitpid(pid, os.WNOHANG)[0] == pid
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"was not ready after {START_TIMEOUT_S:.0f} s"
                raise EmbeddedError(
                    f"The embedded cluster's server {why}. It said: {_last_words(directory)}."
                    f" Its log is {directory / _LOG_FILE}"
                )
            time.sleep(0.02)


def _spawn(directory: Path) -> int:
    """In a session of its own, so that no signal to who starts it reaches it."""
    log = directory / _LOG_FILE
    open_log = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    argv = [sys.executable, "-P", "-m", "pdconsole.sim.embedded_server", str(directory)]
    return os.posix_spawn(
        sys.executable,
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), open_log, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _last_words(directory: Path) -> str:
    try:
        lines = (directory / _LOG_FILE).read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return "nothing"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "nothing"


def _stop(directory: Path) -> bool:
    state = _read_state(directory)
    if state is None or not _locked(directory):
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + START_TIMEOUT_S
    while _locked(directory):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The embedded cluster's server, pid {state.pid}, does not end")
        time.sleep(0.02)
    return True


# --- the profile ---


def _filled_in(cluster: ClusterProfile, directory: Path, state: EmbeddedState) -> ClusterProfile:
    places = {place.name: place for place in state.nodes}
    nodes = [
        node.model_copy(
            update={
                "host": places[node.name].address,
                "address": places[node.name].address,
                "port": places[node.name].port,
                "user": state.user,
            }
        )
        for node in cluster.nodes
    ]
    ssh = cluster.ssh.model_copy(
        update={
            # An empty one: what the user's own says of hosts does not concern these.
            "config": str(directory / _SSH_CONFIG_FILE),
            "known_hosts": str(directory / KNOWN_HOSTS_FILE),
            "identity": [str(directory / CLIENT_KEY_FILE)],
            "jump": None,
        }
    )
    return cluster.model_copy(update={"nodes": nodes, "ssh": ssh})
