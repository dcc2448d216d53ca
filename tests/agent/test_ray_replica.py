"""A replica's door, with a dashboard and a Ray of paper."""

from __future__ import annotations

import http.client
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_node import until
from paper_ray import BREAK, COLOURED, NODES, PaperRay, paper_ray, replica

from pdconsole.agent import ray_app, ray_calls, ray_exact_metrics, ray_replica
from pdconsole.agent.ray_calls import CallError
from pdconsole.agent.ray_dashboard import DashboardError
from pdconsole.agent.ray_door import Request
from pdconsole.agent.ray_exact_metrics import ExactError
from pdconsole.agent.ray_replica import RayReplica, ReplicaError

EXACT = 'vllm:num_requests_running{engine="0"} 1.0\n'


class PaperCalls:
    """What the process that calls the replica would answer."""

    trouble = ""
    asked: list[tuple[dict[str, Any], str]] = []  # noqa: RUF012

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    def prepare(self) -> None:
        if self.trouble:
            raise CallError(self.trouble)

    def metrics(self) -> str:
        if self.trouble:
            raise CallError(self.trouble)
        return EXACT

    def complete(self, body: dict[str, Any], request_id: str) -> tuple[int, dict[str, Any]]:
        if self.trouble:
            raise CallError(self.trouble)
        self.asked.append((body, request_id))
        return 200, {"kv_transfer_params": body.get("kv_transfer_params")}

    def close(self) -> None: ...


def no_plugin(_: str) -> str:
    raise ExactError("no plugin")


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperRay]:
    monkeypatch.setattr(ray_replica, "Calls", PaperCalls)
    monkeypatch.setattr(ray_replica, "LAST_WORDS_S", 0.2)
    monkeypatch.setattr(PaperCalls, "trouble", "")
    monkeypatch.setattr(PaperCalls, "asked", [])
    monkeypatch.setattr(ray_exact_metrics, "fetch", no_plugin)
    with paper_ray() as ray:
        ray.runs_serve()
        yield ray


class Doorkeeper:
    """A `RayReplica` in a thread."""

    def __init__(self, ray: PaperRay, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        self.lines: list[str] = []
        monkeypatch.setattr(ray_replica, "say", self.lines.append)
        self.told = threading.Event()
        self.error: Exception | None = None
        self.door = RayReplica(door_spec(ray, **spec), self.told)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.door.run()
        except (ReplicaError, DashboardError) as error:
            self.error = error

    def get(self, path: str) -> tuple[int, str]:
        return self._answer("GET", path, b"")

    def post(self, body: Any, request_id: str = "r1") -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, text = self._answer("POST", "/v1/completions", raw, request_id)
        return status, json.loads(text)

    def _answer(self, method: str, path: str, body: bytes, request_id: str = "") -> tuple[int, str]:
        given = self.door._answer(Request(method, path, body, request_id))
        return given.status, given.body.decode()

    def runs(self) -> None:
        until(lambda: self.get("/health")[0] == 200, "the replica runs")

    def ended(self) -> str:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return str(self.error)


def door_spec(ray: PaperRay, **changed: Any) -> dict[str, Any]:
    spec = {
        "dashboard": ray.url,
        "app": "pdconsole",
        "deployment": "Decode:tiny",
        "replica": "D1",
        "node_ip": NODES[1],
        "rank": 0,
        "of": 1,
        "metrics_url": ray.url + "/metrics",
        "listen": ["127.0.0.1", 0],
        "gcs": "10.0.0.1:6379",
        "model": "tiny",
        "poll_s": 0.02,
    }
    return {**spec, **changed}


def test_it_is_healthy_once_its_replica_runs(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Doorkeeper(ray, monkeypatch)
    until(lambda: any("application is not there yet" in s for s in keeper.lines), "it waits")
    ray.deploys("DEPLOYING", replica("aa", None, "STARTING"))
    until(lambda: any("application is DEPLOYING" in s for s in keeper.lines), "it sees the app")
    assert keeper.get("/health") == (503, "not there yet\n")
    ray.deploys("DEPLOYING", replica("aa", 1, "STARTING"))
    until(lambda: keeper.get("/health") == (503, "STARTING\n"), "it starts")
    ray.deploys("RUNNING", replica("aa", 1))
    keeper.runs()
    keeper.told.set()
    assert keeper.ended() == "None"


def test_doors_of_a_node_share_its_replicas_out(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [replica("cc", 1), replica("aa", 1), replica("bb", 0)]
    ray.deploys("DEPLOYING", *here[1:], replica("cc", None, "STARTING"))
    keepers = [Doorkeeper(ray, monkeypatch, rank=rank, of=2) for rank in (0, 1)]
    time.sleep(0.2)
    assert [keeper.door._replica_id for keeper in keepers] == ["", ""], "not before all are there"
    ray.deploys("RUNNING", *here)
    for keeper in keepers:
        keeper.runs()
    assert [keeper.door._replica_id for keeper in keepers] == ["aa", "cc"]
    for keeper in keepers:
        keeper.told.set()


def test_another_placement_than_planned_is_told(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.deploys("RUNNING", replica("aa", 0), replica("bb", 0))
    keeper = Doorkeeper(ray, monkeypatch)
    assert keeper.ended() == (
        "D1: Serve placed Decode:tiny otherwise than planned: 0 instead of 1 on 10.0.0.2, "
        "all of it on 10.0.0.1, 10.0.0.1"
    )


@pytest.mark.parametrize("after", ["replaced", "STOPPING", "app gone"])
def test_a_replica_that_is_gone_ends_its_door(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    ray.deploys("RUNNING", replica("aa", 1))
    log = ray.log_of("actor-aa", "out")
    log.put(b":actor_name:x\n(EngineCore pid=7) INFO load\x1b[0ed\nloading  10%\rloading 20%\r")
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    log.put(b"ValueError: out of mem")
    log.put(b"ory\n")
    log.put(None)
    if after == "replaced":
        ray.deploys("RUNNING", replica("bb", 1), why="A replica's health check failed.")
    elif after == "STOPPING":
        ray.deploys("UNHEALTHY", replica("aa", 1, "STOPPING"), why=COLOURED)
    else:
        ray.state["applications"] = {}
    said = keeper.ended()
    assert said.startswith("D1 is gone, replica aa of Decode:tiny: Serve says it is ")
    assert ("gone; A replica's health" in said) == (after == "replaced")
    assert ("STOPPING; ValueError: no such model" in said) == (after == "STOPPING")
    assert "loading 20%" in keeper.lines
    assert "ValueError: out of memory" in keeper.lines
    assert not any(line.startswith(":actor_name") for line in keeper.lines)
    assert keeper.get("/health")[0] == 503


def test_a_log_that_breaks_off_goes_on_where_it_was(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_replica, "LOG_AGAIN_S", 0.02)
    ray.deploys("RUNNING", replica("aa", 1))
    log = ray.log_of("actor-aa", "err")
    for data in (b"one\ntwo\n", BREAK, b"one\n", b"two\nthree\n"):
        log.put(data)
    keeper = Doorkeeper(ray, monkeypatch)
    until(lambda: "three" in keeper.lines, "it goes on")
    assert [line for line in keeper.lines if line in ("one", "two", "three")] == [
        "one",
        "two",
        "three",
    ]
    assert not any("cannot be read" in line for line in keeper.lines)
    keeper.told.set()


def test_a_replica_whose_process_dies_is_missed_before_serve_misses_it(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import time; print(flush=True); time.sleep(99)  # ray::ServeReplica"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    ray.deploys("RUNNING", replica("aa", 1, pid=process.pid))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    process.kill()
    process.wait()
    assert f"its process {process.pid} ended" in keeper.ended()


def test_a_process_of_another_name_is_no_sign(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a replica in a container is somebody else's here."""
    with subprocess.Popen(["sleep", "99"]) as process:
        ray.deploys("RUNNING", replica("aa", 1, pid=process.pid))
        keeper = Doorkeeper(ray, monkeypatch)
        keeper.runs()
        process.kill()
    time.sleep(0.2)
    assert keeper.get("/health")[0] == 200
    keeper.told.set()


def test_a_deployment_that_fails_ends_a_door_that_waits(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.deploys("DEPLOY_FAILED", why=COLOURED)
    keeper = Doorkeeper(ray, monkeypatch)
    assert keeper.ended() == "Decode:tiny could not be deployed: ValueError: no such model"


def test_a_head_that_is_gone_ends_the_door(ray: PaperRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_app, "REFUSED_S", 0.2)
    ray.deploys("RUNNING", replica("aa", 1))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    ray.close()
    assert keeper.ended().endswith("does not answer: nothing listens there")


def test_metrics_are_those_of_the_plugin_where_the_replica_has_it(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_exact_metrics, "fetch", lambda replica_id: f"of {replica_id}\n")
    monkeypatch.setattr(PaperCalls, "trouble", "not asked")
    ray.deploys("RUNNING", replica("aa", 1))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    assert keeper.get("/metrics") == (200, "pdconsole_ray_metrics_exact 1\nof aa\n")
    assert "metrics come from the replica's own vLLM" in keeper.lines
    keeper.told.set()


def test_metrics_are_vllms_own_where_it_can_be_called(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.deploys("RUNNING", replica("aa", 1))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    assert keeper.get("/metrics") == (200, "pdconsole_ray_metrics_exact 1\n" + EXACT)
    monkeypatch.setattr(PaperCalls, "trouble", "Ray is gone")
    assert keeper.get("/metrics") == (503, "Ray is gone\n"), "no other counters in their place"
    keeper.told.set()


def test_metrics_are_the_exporters_where_it_cannot(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperCalls, "trouble", "no logger_manager")
    ray.exported = 'ray_vllm_num_requests_running{ReplicaId="aa",engine="0"} 2.0\n'
    ray.deploys("RUNNING", replica("aa", 1))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    said = "metrics come from Ray's exporter, without sums: no plugin; no logger_manager"
    assert said in keeper.lines
    status, text = keeper.get("/metrics")
    assert status == 200
    assert text.startswith("pdconsole_ray_metrics_exact 0\n")
    assert 'vllm:num_requests_running{engine="0"} 2.0\n' in text
    monkeypatch.setattr(PaperCalls, "trouble", "")
    assert keeper.get("/metrics")[1].startswith("pdconsole_ray_metrics_exact 0\n")
    keeper.told.set()


def test_completions_go_to_the_replica_itself(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.deploys("RUNNING", replica("aa", 1))
    keeper = Doorkeeper(ray, monkeypatch)
    keeper.runs()
    body = {"model": "tiny", "prompt": [1], "kv_transfer_params": {"remote_block_ids": [[1]]}}
    assert keeper.post(body, "pair-7") == (
        200,
        {"kv_transfer_params": {"remote_block_ids": [[1]]}},
    )
    assert PaperCalls.asked == [(body, "pair-7")]
    assert keeper.door._calls is not None
    spec = {"gcs": "10.0.0.1:6379", "node_ip": NODES[1], "app": "pdconsole"}
    actor = "SERVE_REPLICA::pdconsole#Decode:tiny#aa"
    assert keeper.door._calls.spec == {**spec, "actor_name": actor}
    for wrong in (b"{", b"[1]", {"stream": True}):
        assert keeper.post(wrong)[0] == 400
    monkeypatch.setattr(PaperCalls, "trouble", "the process that calls the replica ended")
    status, answer = keeper.post(body)
    assert status == 503
    assert answer["error"]["message"] == "D1: the process that calls the replica ended"
    keeper.told.set()


def test_the_door_speaks_http(ray: PaperRay, tmp_path: Path) -> None:
    """As a process of its own, kept alive over several requests."""
    with _free() as port:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps(door_spec(ray, listen=["127.0.0.1", port])))
    command = [sys.executable, "-m", "pdconsole.agent", "ray-replica", str(spec)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it waits for its replica
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for method, path, status in (
            ("GET", "/health", 503),
            ("GET", "/v1/models", 200),
            ("GET", "/metrics", 503),
            ("GET", "/nothing", 404),
            ("GET", "/v1/completions", 405),
            ("POST", "/v1/completions", 503),
        ):
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            response.read()
            assert (path, response.status) == (path, status)
        process.terminate()
        assert process.wait(30) == 0


class _free:  # noqa: N801
    """A port that nobody has right now."""

    def __enter__(self) -> int:
        import socket

        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            return int(found.getsockname()[1])

    def __exit__(self, *_: object) -> None: ...


PAPER_RAY = '''
"""A Ray of paper: its actor answers what it was asked."""
import json, pickle, types


class cloudpickle:
    @staticmethod
    def register_pickle_by_value(module):
        assert module.__name__.endswith("ray_inside")


def init(**asked):
    assert asked["address"] == "10.0.0.1:6379" and asked["namespace"] == "serve", asked
    print("Ray prints to stdout")


class Answer:
    def __init__(self, value):
        self._value = value

    def model_dump_json(self):
        return json.dumps(self._value)


class Call:
    def options(self, num_returns):
        assert num_returns == "streaming"
        return self

    def remote(self, metadata, request, engine_method):
        named = pickle.loads(metadata)
        if request.fields.get("prompt") == "die":
            import os
            os._exit(3)
        if request.fields.get("prompt") == "raise":
            raise RuntimeError("trace of five processes\\n\\nEngineDeadError: it is dead\\n")
        if request.fields.get("prompt") == "refused":
            return [Answer({"error": {"message": "too long", "code": 400}})]
        seen = {"method": named.call_method, "engine": engine_method, "id": named.request_id}
        return [Answer({**seen, "fields": request.fields})]


class Actor:
    handle_request_streaming = Call()
    __ray_call__ = types.SimpleNamespace(remote=lambda function: function.__name__)


def get_actor(name, namespace):
    if name == "gone":
        raise ValueError("Failed to look up actor\\nno actor of this name")
    return Actor()


def get(reference, timeout=None):
    return reference
'''
PAPER_SERVE = """
class CompletionRequest:
    def __init__(self, **fields):
        if "nonsense" in fields:
            raise ValueError("nonsense is no field")
        self.fields = fields


class RequestMetadata:
    def __init__(self, **fields):
        self.__dict__.update(fields)
"""


@pytest.fixture
def paper_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `ray` to import for the process that calls the replica."""
    for name, text in {
        "ray/__init__.py": PAPER_RAY,
        "ray/serve/__init__.py": "",
        "ray/serve/llm/__init__.py": "",
        "ray/serve/llm/openai_api_models.py": PAPER_SERVE,
        "ray/serve/_private/__init__.py": "",
        "ray/serve/_private/common.py": PAPER_SERVE,
    }.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    return tmp_path / "library"


def calls_spec(actor: str = "there") -> dict[str, Any]:
    return {"gcs": "10.0.0.1:6379", "node_ip": NODES[1], "app": "pdconsole", "actor_name": actor}


@pytest.mark.usefixtures("paper_library")
def test_the_replica_is_called_past_its_own_orchestration() -> None:
    calls = ray_calls.Calls(calls_spec())
    calls.prepare()
    status, answer = calls.complete({"prompt": [1, 2], "max_tokens": 1}, "pair-7")
    assert status == 200
    assert answer == {
        "method": "_run_request",
        "engine": "completions",
        "id": "pair-7",
        "fields": {"prompt": [1, 2], "max_tokens": 1, "request_id": "pair-7"},
    }
    assert calls.metrics() == "exposed"
    assert calls.complete({"prompt": "refused"}, "")[0] == 400
    status, answer = calls.complete({"nonsense": 1}, "")
    assert (status, answer["error"]["message"]) == (400, "nonsense is no field")
    status, answer = calls.complete({"prompt": "raise"}, "")
    assert (status, answer["error"]["message"]) == (500, "EngineDeadError: it is dead")
    with pytest.raises(CallError, match="Ray may be gone"):
        calls.complete({"prompt": "die"}, "")
    assert calls.complete({"prompt": "again"}, "")[0] == 200, "another process"
    calls.close()


@pytest.mark.usefixtures("paper_library")
def test_many_are_under_way_at_once() -> None:
    calls = ray_calls.Calls(calls_spec())
    found: list[str] = []

    def ask(name: str) -> None:
        found.append(calls.complete({"prompt": name}, name)[1]["fields"]["prompt"])

    threads = [threading.Thread(target=ask, args=(f"r{i}",)) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == sorted(f"r{i}" for i in range(30))
    calls.close()


def test_the_end_of_an_earlier_process_is_nothing_to_who_asks_a_later_one() -> None:
    calls = ray_calls.Calls({"gcs": "a:6379"})
    ended, later = (subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True) for _ in range(2))
    lost: queue.Queue[dict[str, Any]] = queue.Queue()
    kept: queue.Queue[dict[str, Any]] = queue.Queue()
    calls._waiting.update({"1": (ended, lost), "2": (later, kept)})
    calls._read(ended, queue.Queue())
    assert "Ray may be gone" in lost.get_nowait()["lost"]
    assert kept.empty()
    later.communicate()


@pytest.mark.usefixtures("paper_library")
def test_an_actor_that_is_gone_is_told() -> None:
    with pytest.raises(CallError, match=r"cannot join Ray at .*: no actor of this name"):
        ray_calls.Calls(calls_spec("gone")).metrics()


def test_a_python_without_ray_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the working directory has a folder of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CallError, match="has no Ray"):
        ray_calls.Calls(calls_spec()).metrics()
