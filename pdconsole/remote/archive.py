"""The agent as one zipapp, the same bytes every time, so that its name can be its hash."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec

from pdconsole import __version__

MAIN = """\
import sys

from pdconsole.agent.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
# On PYTHONPATH the archive is a distribution too, for vLLM to find a plugin in. Of a name of its
# own: one that is installed as `pdconsole` would be hidden.
DISTRIBUTION = f"pdconsole_agent-{__version__}.dist-info"
METADATA = f"Metadata-Version: 2.1\nName: pdconsole-agent\nVersion: {__version__}\n"
ENTRY_POINTS = """\
[vllm.stat_logger_plugins]
pdconsole = pdconsole.agent.ray_stat_logger:StatLogger
"""


class Archive(msgspec.Struct, frozen=True):
    data: bytes
    sha256: str


@functools.cache
def agent_archive() -> Archive:
    """`pdconsole/agent` with a bare `pdconsole/__init__.py`, stored uncompressed: what zlib makes
    differs from build to build."""
    sources = dict(_sources(resources.files("pdconsole.agent"), "pdconsole/agent"))
    sources["pdconsole/__init__.py"] = f'__version__ = "{__version__}"\n'.encode()
    sources["__main__.py"] = MAIN.encode()
    sources[f"{DISTRIBUTION}/METADATA"] = METADATA.encode()
    sources[f"{DISTRIBUTION}/entry_points.txt"] = ENTRY_POINTS.encode()
    sources[f"{DISTRIBUTION}/top_level.txt"] = b"pdconsole\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, sources[name])
    data = buffer.getvalue()
    return Archive(data, hashlib.sha256(data).hexdigest())


def _sources(folder: Traversable, name: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            found += _sources(item, f"{name}/{item.name}")
        elif item.name.endswith(".py"):
            found.append((f"{name}/{item.name}", item.read_bytes()))
    return found
