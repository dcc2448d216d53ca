"""Which Python a node's command runs in, by the real sh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdconsole.serving.engine_python import in_python_of

PRINT = ("-c", "import sys; print('python', *sys.argv[1:])", "a b", "c")


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def outcome(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = in_python_of(command, *PRINT)
    return subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **env})


@pytest.mark.parametrize("first", [sys.executable, "/usr/bin/env python3", f"{sys.executable} -I"])
def test_a_script_names_its_python(tmp_path: Path, first: str) -> None:
    # What lies beside it is of another environment.
    script(tmp_path / "bin/python", "#!/bin/sh\necho another\n")
    command = script(tmp_path / "bin/vllm", f"#!{first}\nimport vllm\n")
    assert outcome(command).stdout == "python a b c\n"


def test_a_command_is_found_on_the_path(tmp_path: Path) -> None:
    script(tmp_path / "vllm", f"#!{sys.executable}\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert outcome("vllm", PATH=path).stdout == "python a b c\n"


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexport X=1\nexec vllm serve\n",
        # What pip writes where the path of the environment is too long for a first line.
        "#!/bin/sh\n'''exec' /long/path/python \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_a_wrapper_means_the_python_beside_it(tmp_path: Path, text: str) -> None:
    # A directory may be called after Python, or have a space.
    folder = tmp_path / "my python3" / "bin"
    command = script(folder / "vllm", text)
    script(folder / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert outcome(command).stdout == "python a b c\n"


def test_a_python_is_itself() -> None:
    assert outcome(sys.executable).stdout == "python a b c\n"


def test_what_cannot_be_told_says_so(tmp_path: Path) -> None:
    found = outcome(script(tmp_path / "vllm", "#!/bin/sh\n"))
    assert (found.returncode, found.stdout) == (127, "")
    assert f"cannot tell in which Python {tmp_path}/vllm runs" in found.stderr
    missing = outcome("no-such-vllm")
    assert missing.returncode == 127
    assert "there is no no-such-vllm here" in missing.stderr
