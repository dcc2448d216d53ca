"""What the engine's Python has: packages that matter, and the UCX that its NIXL would use.

Run by that Python, not by the agent's: `python agent.pyz engine` prints one JSON object, its last
line on stdout. UCX is asked for its transports as a process that opens it would be: what it names
can be used here and now. CUDA is left out of that, so that nothing touches a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from typing import Any, Dict, Iterator, List

PACKAGES = ("vllm", "nixl", "nixl-cu12", "nixl-cu13", "vllm-router", "ray", "torch")
# Packages that bring NIXL's libraries; `nixl` itself may only name the others.
BRING_NIXL = ("nixl", "nixl-cu12", "nixl-cu13")
RMA = 1 << 1
FEATURES_GIVEN = 1 << 0
RESOURCE = re.compile(r"resource\s+\d+\s*:.*--\s*(\S+)/(\S+)")


def main() -> int:
    facts: Dict[str, Any] = {
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "packages": packages(),
    }
    try:
        facts["ucx"] = ucx()
    except (OSError, AttributeError) as error:  # no library, or one that lacks what is called
        facts["ucx_trouble"] = f"{type(error).__name__}: {error}"
    sys.stdout.flush()
    print("\n" + json.dumps(facts))
    return 0


def packages() -> Dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def ucx() -> Dict[str, Any]:
    """Version, library, loadable modules and usable transports. Raises OSError."""
    # Before it is loaded: UCX reads these once.
    os.environ.update(UCX_TLS="^cuda", UCX_LOG_LEVEL="fatal", UCX_WARN_UNUSED_ENV_VARS="n")
    path = _library()
    library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.ucp_get_version_string.restype = ctypes.c_char_p
    return {
        "version": library.ucp_get_version_string().decode(),
        "library": path,
        "modules": _modules(path),
        "transports": _transports(library),
    }


def _library() -> str:
    """The libucp that NIXL's plugin pulls in; without one, what the system would load."""
    for plugin in _plugins():
        with contextlib.suppress(OSError):
            ctypes.CDLL(plugin)
            break
    loaded = _loaded("libucp")
    return loaded or _beside_nixl() or "libucp.so.0"


def _plugins() -> Iterator[str]:
    folder = os.environ.get("NIXL_PLUGIN_DIR")
    if folder:
        yield os.path.join(folder, "libplugin_UCX.so")
    for name in _nixl_files():
        if os.path.basename(name) == "libplugin_UCX.so":
            yield name


def _beside_nixl() -> str:
    return next((f for f in _nixl_files() if os.path.basename(f).startswith("libucp")), "")


def _nixl_files() -> Iterator[str]:
    for package in BRING_NIXL:
        try:
            files = importlib.metadata.files(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files or []:
            if ".so" in file.name:
                yield str(file.locate())


def _loaded(name: str) -> str:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith(name):
                return "/" + path
    return ""


def _modules(library: str) -> List[str]:
    """Transport modules that lie beside the library: cma, cuda, ib, ib_efa, …"""
    found = glob.glob(os.path.join(os.path.dirname(library), "ucx", "libuct_*.so*"))
    names = (re.match(r"libuct_(\w+)\.so", os.path.basename(path)) for path in found)
    return sorted({match[1] for match in names if match})


class _Params(ctypes.Structure):
    """ucp_params_t as far as its mask says that it is filled."""

    _fields_ = [
        ("field_mask", ctypes.c_uint64),
        ("features", ctypes.c_uint64),
        ("rest", ctypes.c_char * 512),
    ]


def _transports(library: Any) -> List[str]:
    """transport/device of every resource that UCX opens here, such as tcp/eth0."""
    major, minor, release = (ctypes.c_uint() for _ in range(3))
    library.ucp_get_version(*map(ctypes.byref, (major, minor, release)))
    config, context = ctypes.c_void_p(), ctypes.c_void_p()
    _checked(library.ucp_config_read(None, None, ctypes.byref(config)), "ucp_config_read")
    params = _Params(field_mask=FEATURES_GIVEN, features=RMA)
    status = library.ucp_init_version(
        major, minor, ctypes.byref(params), config, ctypes.byref(context)
    )
    library.ucp_config_release(config)
    _checked(status, "ucp_init")
    try:
        return _resources(_printed(library, context))
    finally:
        library.ucp_cleanup(context)


def _checked(status: int, call: str) -> None:
    if status != 0:
        raise OSError(f"{call} fails with status {status}")


def _printed(library: Any, context: ctypes.c_void_p) -> str:
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    with tempfile.TemporaryFile() as file:
        stream = ctypes.c_void_p(libc.fdopen(os.dup(file.fileno()), b"w"))
        library.ucp_context_print_info(context, stream)
        libc.fclose(stream)
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _resources(printed: str) -> List[str]:
    return sorted({f"{name}/{device}" for name, device in RESOURCE.findall(printed)})
