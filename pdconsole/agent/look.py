"""A closer look at this node, when asked: ports, models, RDMA devices, the environment that
processes inherit, and what the engine's Python has."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import pwd
import socket
import subprocess
import sys
from typing import Any, Dict, Iterable, List, Mapping, Sequence

from pdconsole.agent import nics, paths, ray_look, sweep

ENGINE_TIMEOUT_S = 60.0
LISTENS = "0A"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
VERBS = "/dev/infiniband"


def take(asked: Mapping[str, Any], env: Mapping[str, str], nic_root: str) -> Dict[str, Any]:
    """`asked`: engine (argv), models (names or paths), ports ([address, port]), variables (names),
    dashboard (of a Ray cluster; empty: none is asked).
    `env` is what the cluster's profile adds to the environment of processes."""
    merged = {**os.environ, **env}
    return {
        "engine": engine(asked["engine"], merged),
        "models": {source: model(source, merged) for source in asked["models"]},
        "ports": taken_ports([(str(a), int(p)) for a, p in asked["ports"]]),
        "variables": {n: os.environ[n] for n in asked["variables"] if n in os.environ},
        "devices": devices(nic_root),
        "ray": ray_look.take(asked["dashboard"], merged) if asked.get("dashboard") else None,
    }


# --- the engine's Python


def engine(argv: Sequence[str], env: Mapping[str, str]) -> Dict[str, Any]:
    """What `engine_facts` says there; `trouble` says why it says nothing."""
    if not argv:
        return {"trouble": "not asked for"}
    words = [paths.expanded(word.replace("@agent@", os.path.abspath(sys.argv[0]))) for word in argv]
    try:
        done = subprocess.run(
            words,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ENGINE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"trouble": f"its Python does not answer within {ENGINE_TIMEOUT_S:g} s"}
    except OSError as error:
        return {"trouble": f"{words[0]}: {error.strerror}"}
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    try:
        said = json.loads(lines[-1]) if lines else None
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    return {"trouble": last[0] if last else f"it ended with {done.returncode} and said nothing"}


# --- models


def model(source: str, env: Mapping[str, str]) -> Dict[str, Any]:
    """Whether a model lies here: in its directory, or as a hub's name in the hub's cache."""
    is_path = source.startswith(("/", "~/", "./", "../"))
    if is_path:
        folder = paths.expanded(source)
    else:
        cache = _hub_cache(env)
        folder = _newest(os.path.join(cache, "models--" + source.replace("/", "--"), "snapshots"))
    config = os.path.join(folder, "config.json") if folder else ""
    return {
        "is_path": is_path,
        "folder": folder,
        "found": bool(folder) and os.path.isdir(folder),
        "config_sha256": _sha256(config),
        "weights": sum(len(glob.glob(os.path.join(folder, w))) for w in WEIGHTS) if folder else 0,
        "offline": _is_on(env.get("HF_HUB_OFFLINE", "")),
    }


def _hub_cache(env: Mapping[str, str]) -> str:
    """As huggingface_hub finds it."""
    home = env.get("HF_HOME") or os.path.join(
        env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    return os.path.expanduser(env.get("HF_HUB_CACHE") or os.path.join(home, "hub"))


def _newest(folder: str) -> str:
    found = [entry.path for entry in os.scandir(folder)] if os.path.isdir(folder) else []
    return max(found, key=os.path.getmtime) if found else ""


def _sha256(path: str) -> str:
    """Of a small file; "" if there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(1 << 20)).hexdigest()
    except OSError:
        return ""


def _is_on(value: str) -> bool:
    return value.upper() in ("1", "ON", "YES", "TRUE")


# --- ports


def taken_ports(wanted: Iterable[Sequence[Any]]) -> List[Dict[str, Any]]:
    """Those on which nothing could listen now, and why. Each is bound for an instant, without
    listening, as servers do it."""
    found = []
    for address, port in wanted:
        trouble = _trouble(address, port)
        if trouble:
            found.append({"address": address, "port": port, **trouble})
    if any(row["kind"] == "taken" for row in found):
        _name_holders(found)
    return found


def _trouble(address: str, port: int) -> Dict[str, str]:
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        return {"kind": "unknown-address", "message": error.strerror or "it has no address"}
    with socket.socket(family, kind, proto) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(where)
        except OSError as error:
            known = {errno.EADDRINUSE: "taken", errno.EADDRNOTAVAIL: "foreign-address"}
            name = known.get(error.errno or 0, "refused")
            return {"kind": name, "message": error.strerror or str(error)}
    return {}


def _name_holders(rows: List[Dict[str, Any]]) -> None:
    """Only processes of this user can be named."""
    inodes = _listening()
    by_inode = {inode: port for port, found in inodes.items() for inode in found}
    wanted = {row["port"] for row in rows}
    holders: Dict[int, int] = {}
    for pid in [os.getpid(), *sweep.own_pids()]:
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                link = os.readlink(entry.path)
                port = by_inode.get(link[8:-1], 0) if link.startswith("socket:[") else 0
                if port in wanted:
                    holders.setdefault(port, pid)
    for row in rows:
        pid = holders.get(row["port"], 0)
        process = sweep.look(pid) if pid else None
        if process is not None:
            token = sweep.environment(pid).get(sweep.TOKEN, "")
            user = pwd.getpwuid(os.getuid()).pw_name
            row.update(pid=pid, name=process.name, user=user, token=token)


def _listening() -> Dict[int, List[str]]:
    """Port -> inodes of the sockets that listen on it, whatever their address."""
    found: Dict[int, List[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        for row in rows:
            if row[3] == LISTENS:
                found.setdefault(int(row[1].rpartition(":")[2], 16), []).append(row[9])
    return found


# --- RDMA devices


def devices(root: str) -> List[Dict[str, Any]]:
    """Each with its driver, the state of its first port, and whether this user may open it."""
    return [_device(root, name) for name in nics.names(root)]


def _device(root: str, name: str) -> Dict[str, Any]:
    folder = os.path.join(root, name)
    driver = os.path.join(folder, "device", "driver")
    verbs = nics.names(os.path.join(folder, "device", "infiniband_verbs"))
    state = ""
    with contextlib.suppress(OSError), open(os.path.join(folder, "ports", "1", "state")) as file:
        state = file.read().strip().rpartition(" ")[2]
    return {
        "name": name,
        "driver": os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else "",
        "state": state,
        "usable": all(os.access(os.path.join(VERBS, v), os.R_OK | os.W_OK) for v in verbs),
    }
