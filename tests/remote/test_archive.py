"""The zipapp: the same bytes every time, and nothing of the console in it."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from pdconsole import __version__
from pdconsole.remote import bootstrap
from pdconsole.remote.archive import agent_archive


def test_the_same_bytes_every_time() -> None:
    agent_archive.cache_clear()
    first = agent_archive()
    agent_archive.cache_clear()
    assert agent_archive() == first


def test_it_holds_the_agent_alone(tmp_path: Path) -> None:
    names = zipfile.ZipFile(io.BytesIO(agent_archive().data)).namelist()
    outside = [n for n in names if not n.startswith("pdconsole/agent/")]
    # A distribution too: where it is on PYTHONPATH, vLLM finds a plugin in it.
    info = f"pdconsole_agent-{__version__}.dist-info"
    assert sorted(outside) == [
        "__main__.py",
        "pdconsole/__init__.py",
        f"{info}/METADATA",
        f"{info}/entry_points.txt",
        f"{info}/top_level.txt",
    ]
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_archive().data)
    # Every module imports with the standard library alone.
    modules = [n[:-3].replace("/", ".") for n in names if n.endswith(".py") and "__" not in n]
    script = f"import sys; sys.path.insert(0, {str(path)!r})\n" + "\n".join(
        f"import {module}" for module in modules
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


def test_the_command_is_one_line_of_plain_words() -> None:
    line = bootstrap.command("~/my env/python", "~/work dir", "ab" * 32, 1, {"session": "it's"})
    assert "\n" not in line
    assert len(line) < 8000
    shown = subprocess.run(
        ["/bin/sh", "-c", line.replace("exec ", "printf '%s\\n' ", 1)],
        env={"HOME": "/home/me"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    assert shown[0] == "/home/me/my env/python"
    assert shown[1:3] == ["-I", "-c"]
    assert shown[4:] == ["~/work dir", "ab" * 32, "1", '{"session":"it\'s"}']
