"""What this node is and has: GPUs and who is on them, versions, NICs, disk, limits."""

from __future__ import annotations

import os
import platform
import pwd
import re
import resource
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Sequence

from pdconsole.agent import gpus, nics, paths, sweep

VERSION = re.compile(r"\d+\.\d+[0-9A-Za-z.+\-]*")
VERSION_TIMEOUT_S = 60.0


def take(
    *,
    work_dir: str,
    nic_root: str,
    version_commands: Mapping[str, Sequence[str]],
    version_env: Mapping[str, str],
) -> Dict[str, Any]:
    with ThreadPoolExecutor(max_workers=max(1, len(version_commands))) as pool:
        asked = {
            name: pool.submit(_version, argv, version_env)
            for name, argv in version_commands.items()
        }
        found, driver, trouble = gpus.listed()
        _add_residents(found, work_dir)
        versions = {name: version for name, job in asked.items() if (version := job.result())}
    if driver:
        versions.setdefault("driver", driver)
    versions.setdefault("python", platform.python_version())
    return {
        "hostname": hostname(),
        "user": _user_name(os.getuid()),
        "python": platform.python_version(),
        "gpus": found,
        "gpu_trouble": trouble,
        "driver": driver,
        "versions": versions,
        "nics": nics.names(nic_root),
        "disk_free_bytes": shutil.disk_usage(work_dir).free,
        "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        "cores": len(os.sched_getaffinity(0)),
        "simulated": simulated(),
        "work_dir": work_dir,
        "agent_pid": os.getpid(),
    }


def hostname() -> str:
    """A simulated node has a name of its own, whatever machine it is on."""
    given = os.environ.get("HOSTNAME", "") if simulated() else ""
    return given or socket.gethostname()


def simulated() -> bool:
    return bool(os.environ.get("PDCONSOLE_SIM_NODE_DIR"))


def _version(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """The first thing that looks like a version in the last line that has one; "" if the command
    is not there, fails, or does not answer in time."""
    words = [sys.executable if word == "@python@" else paths.expanded(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode != 0:
        return ""
    said = done.stdout.decode("utf-8", "replace") or done.stderr.decode("utf-8", "replace")
    for line in reversed(said.splitlines()):
        match = VERSION.search(line)
        if match:
            return match.group()
    return ""


def _add_residents(found: List[Dict[str, Any]], work_dir: str) -> None:
    by_uuid = {gpu["uuid"]: gpu for gpu in found}
    for gpu in found:
        gpu["processes"] = []
    for uuid, pid, name, memory_mib in gpus.residents() if found else []:
        if uuid not in by_uuid:
            continue
        variables = sweep.environment(pid)
        ours = variables.get(sweep.WORK_DIR) == work_dir
        by_uuid[uuid]["processes"].append(
            {
                "pid": pid,
                "name": name,
                "user": _user_of(pid),
                "memory_mib": memory_mib,
                "token": variables.get(sweep.TOKEN, "") if ours else "",
            }
        )


def _user_of(pid: int) -> str:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return ""
    return _user_name(uid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
