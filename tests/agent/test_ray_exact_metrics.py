"""The plugin that gives a replica's own metrics, and the door's side of it, without Ray and vLLM:
stand-ins of what they have is all that is on the path beside the agent's archive."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdconsole.agent import ray_exact_metrics
from pdconsole.agent.ray_exact_metrics import ExactError, address, fetch
from pdconsole.remote.archive import agent_archive

# What of prometheus_client and vLLM the plugin touches, with the same names.
PROMETHEUS_CLIENT = """
class Family:
    def __init__(self, name):
        self._name, self.value = name, 0

    def collect(self):
        return [self]


class Registry:
    def __init__(self):
        self._collector_to_names = {}


REGISTRY = Registry()


def register(name):
    family = Family(name)
    REGISTRY._collector_to_names[family] = [name]
    return family


def generate_latest(registry):
    return "".join(f"{f._name} {f.value}\\n" for f in registry.collect()).encode()
"""
LOGGERS = """
from prometheus_client import REGISTRY, register


class PrometheusStatLogger:
    def __init__(self, vllm_config, engine_indexes=None):
        for family in list(REGISTRY._collector_to_names):
            if family._name.startswith("vllm:"):
                del REGISTRY._collector_to_names[family]
        self.moved = register("vllm:nixl_bytes_transferred_sum")

    def log_engine_initialized(self):
        register("vllm:cache_config_info")

    def record(self, size):
        self.moved.value += size
"""
SERVE = """
from types import SimpleNamespace


def get_replica_context():
    return SimpleNamespace(replica_id=SimpleNamespace(unique_id="{replica_id}"))
"""
# As vLLM finds a plugin (vllm/plugins), and as it uses one.
REPLICA = """
import sys
from importlib.metadata import entry_points, packages_distributions

from prometheus_client import register
from vllm.v1.metrics.loggers import PrometheusStatLogger

register("python_gc_objects_collected_total")
(found,) = entry_points(group="vllm.stat_logger_plugins")
own = found.load()
assert issubclass(own, PrometheusStatLogger), own
assert packages_distributions()["pdconsole"] == ["pdconsole-agent"]
logger = own(vllm_config=None, engine_indexes=[0])
PrometheusStatLogger(None, [0])  # another one of vLLM's takes ours out of the registry
logger.log_engine_initialized()
print("ready", flush=True)
for line in sys.stdin:
    if line == "anew\\n":
        logger = own(vllm_config=None)
        logger.log_engine_initialized()
    else:
        logger.record(int(line))
    print("recorded", flush=True)
"""


class Replica:
    def __init__(self, folder: Path, python: str, replica_id: str) -> None:
        self.replica_id = replica_id
        self.archive = folder / "agent.pyz"
        self.archive.write_bytes(agent_archive().data)
        stand_ins = folder / "stand-ins"
        for name, text in {
            "prometheus_client.py": PROMETHEUS_CLIENT,
            "vllm/v1/metrics/loggers.py": LOGGERS,
            "ray/serve.py": SERVE.replace("{replica_id}", replica_id),
        }.items():
            path = stand_ins / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.process = subprocess.Popen(
            [python, "-S", "-c", REPLICA],
            env={"PYTHONPATH": f"{self.archive}:{stand_ins}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if first != "ready\n":
            assert self.process.stderr is not None
            pytest.fail(self.process.stderr.read())

    def record(self, size: int | str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{size}\n")
        assert self.process.stdout.readline() == "recorded\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=["3.10", "3.11", "3.12", "3.13"])
def replica(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replica]:
    python = _python(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param}")
    replica = Replica(tmp_path, python, uuid.uuid4().hex[:8])
    yield replica
    replica.end()


def test_the_replica_gives_vllms_own_text(replica: Replica) -> None:
    replica.record(65536)
    # The archive may go, as with the session that brought it.
    replica.archive.unlink()
    replica.record(65536)
    assert fetch(replica.replica_id) == (
        "vllm:nixl_bytes_transferred_sum 131072\nvllm:cache_config_info 0\n"
    )
    replica.end()
    with pytest.raises(ExactError, match="plugin"):
        fetch(replica.replica_id)


def test_a_client_that_takes_its_time_holds_nobody_up(replica: Replica) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(address(replica.replica_id))
        slow.sendall(b"GET /metr")
        replica.record(1)
        began = time.monotonic()
        assert fetch(replica.replica_id).startswith("vllm:nixl_bytes_transferred_sum 1\n")
        assert time.monotonic() - began < 5


def test_an_engine_that_takes_anothers_place_counts_for_itself(replica: Replica) -> None:
    replica.record(5)
    replica.record("anew")
    replica.record(7)
    assert "vllm:nixl_bytes_transferred_sum 7\n" in fetch(replica.replica_id)


def test_many_at_once(replica: Replica) -> None:
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(fetch(replica.replica_id))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["vllm:nixl_bytes_transferred_sum 0\nvllm:cache_config_info 0\n"] * 12


def test_without_what_it_needs_the_engine_starts_all_the_same(tmp_path: Path) -> None:
    """Another prometheus_client, say; and an address that is taken."""
    script = """
import sys, types
sys.modules["prometheus_client"] = types.ModuleType("prometheus_client")
from pdconsole.agent.ray_stat_logger import OFFER
OFFER.take()
from pdconsole.agent import ray_stat_logger
assert ray_stat_logger.replica_id() == ""
"""
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(agent_archive().data)
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search("metrics are not offered: AttributeError", done.stderr)


def test_a_socket_of_another_user_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    replica_id = uuid.uuid4().hex[:8]
    monkeypatch.setattr(ray_exact_metrics, "peer_uid", lambda _: os.getuid() + 1)
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(address(replica_id))
        squatter.listen()
        with pytest.raises(ExactError, match="another user"):
            fetch(replica_id)


def test_a_replica_that_hangs_is_an_error(tmp_path: Path) -> None:
    replica_id = uuid.uuid4().hex[:8]
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(address(replica_id))
        silent.listen()
        with pytest.raises(ExactError, match="timed out"):
            fetch(replica_id, timeout_s=0.2)


def _python(version: str) -> str | None:
    """A Python of a version, if one can be run: a name alone may be a version manager's."""
    name = f"python{version}"
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for python in [name, *sorted(map(str, versions.glob(f"{version}.*/bin/python")))]:
        try:
            if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
                return python
        except OSError:
            continue
    return None
