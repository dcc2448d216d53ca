"""The driver as a process, from a zipapp, as a node runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import zipapp
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import Any

import pytest

import pdconsole
from tests.agent_drive.paced import Request, answer_well, serving
from tests.agent_drive.test_drive import Said, spec_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    source = Path(pdconsole.__file__).parent
    (tree / "pdconsole").mkdir()
    copy(source / "__init__.py", tree / "pdconsole")
    copytree(source / "agent", tree / "pdconsole" / "agent", ignore=ignore_patterns("__pycache__"))
    (tree / "__main__.py").write_text(
        "import sys\nfrom pdconsole.agent.drive import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    target = tree.parent / "drive.pyz"
    zipapp.create_archive(tree, target)
    return target


def start(archive: Path, directory: Path, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    path = directory / "spec.json"
    path.write_text(json.dumps(spec))
    return subprocess.Popen(
        [sys.executable, "-I", str(archive), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_point_from_the_zipapp(archive: Path, tmp_path: Path) -> None:
    with serving(answer_well) as server:
        out, err = start(archive, tmp_path, spec_of(server.url)).communicate(timeout=60)
    said = Said(out, (tmp_path / "gaps.bin").read_bytes())
    assert err == b""
    assert said.summary["completed"] == 12
    assert len(said.gap_records()) == len(said.of("request"))


def test_sigterm_ends_it_with_what_has_finished(archive: Path, tmp_path: Path) -> None:
    def answer(request: Request) -> None:
        if request.index >= 8:
            waiting.set()
            release.wait(60)
        answer_well(request)

    waiting, release = threading.Event(), threading.Event()
    with serving(answer) as server:
        driver = start(archive, tmp_path, spec_of(server.url, window_requests=1000))
        assert waiting.wait(60)
        driver.send_signal(signal.SIGTERM)
        out, _ = driver.communicate(timeout=60)
        release.set()
    said = Said(out, (tmp_path / "gaps.bin").read_bytes())
    assert driver.returncode == 0
    assert said.summary["stopped"]
    assert len(said.gap_records()) == len(said.of("request")) >= 5
    assert said.summary["completed"] == sum(r["phase"] == "window" for r in said.of("request"))
    assert said.summary["abandoned"] >= 1


def test_what_cannot_be_measured_is_said_last_and_on_stderr(archive: Path, tmp_path: Path) -> None:
    with serving(answer_well) as server:
        url = server.url
    driver = start(archive, tmp_path, spec_of(url))
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 1
    last = Said(out).lines[-1]
    assert last["kind"] == "error"
    assert "connection refused" in last["message"]
    assert err.decode().strip() == last["message"]


def test_wrong_usage(archive: Path) -> None:
    done = subprocess.run([sys.executable, "-I", archive], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage" in done.stderr
