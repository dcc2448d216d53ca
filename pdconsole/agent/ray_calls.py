"""Completions and metrics of one Serve replica itself, past Serve's ingress and Ray's exporter.

A process of its own beside the door: a program that has joined a Ray cluster can be ended by Ray
at any time. It reads requests as JSON lines from stdin and writes answers to what was stdout;
whatever Ray prints goes to stderr.

The replica is called as Serve's own handles call it, but by the name of its actor, and at the
engine's method behind `completions`: on a decode replica `completions` asks a prefill replica
first, which is what must not happen when the KV to fetch is named in the request.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import uuid
from typing import Any, Dict, Optional, Tuple

from pdconsole.agent import ray_inside
from pdconsole.agent.ray_door import error_body

NAMESPACE = "serve"
METHOD = "_run_request"
JOIN_S = 120.0
ANSWER_S = 600.0
METRICS_S = 15.0

Json = Dict[str, Any]


class CallError(Exception):
    """There is no answer; str() says why."""


# -- the process


def main(spec: Json) -> int:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(message: Json) -> None:
        with lock:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    try:
        replica = Replica(spec)
    except CallError as error:
        tell({"fatal": str(error)})
        return 1
    # Ray's own handler prints a stack.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    tell({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)

        def answer(asked: Json = asked) -> None:
            status, body = replica.do(asked)
            tell({"id": asked["id"], "status": status, "body": body})

        threading.Thread(target=answer, daemon=True).start()
    return 0


class Replica:
    """The actor of a Serve replica."""

    def __init__(self, spec: Json) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise CallError(
                f"{sys.executable} has no Ray ({error}); doors need the Python that the replicas "
                "have"
            ) from error
        # The replica has no pdconsole to import what it is to run from.
        self._ray.cloudpickle.register_pickle_by_value(ray_inside)
        self._app = str(spec["app"])
        self._classes: Optional[Tuple[Any, Any]] = None
        self._classes_lock = threading.Lock()
        try:
            self._ray.init(
                address=spec["gcs"],
                namespace=NAMESPACE,
                _node_ip_address=spec["node_ip"],
                log_to_driver=False,
                configure_logging=False,
            )
            self._actor = self._ray.get_actor(spec["actor_name"], namespace=NAMESPACE)
        except Exception as error:  # Ray raises many kinds
            raise CallError(f"cannot join Ray at {spec['gcs']}: {_said(error)}") from error

    def do(self, asked: Json) -> Tuple[int, Any]:
        if asked["op"] == "prepare":
            return self.prepare()
        if asked["op"] == "metrics":
            return self.metrics()
        return self.complete(asked["body"], asked["request_id"])

    def complete(self, body: Json, request_id: str) -> Tuple[int, Json]:
        """HTTP status and body, as the replica's vLLM would answer."""
        try:
            request_class, metadata_class = self._imported()
        except ImportError as error:
            return 501, error_body(501, f"{sys.executable} has no Ray Serve LLM: {error}")
        try:
            request = request_class(**{**body, "request_id": request_id})
        except (TypeError, ValueError) as error:
            return 400, error_body(400, str(error))
        metadata = metadata_class(
            request_id=request_id,
            internal_request_id=uuid.uuid4().hex,
            call_method=METHOD,
            app_name=self._app,
            is_streaming=True,
        )
        try:
            call = self._actor.handle_request_streaming.options(num_returns="streaming")
            made = call.remote(pickle.dumps(metadata), request, engine_method="completions")
            found = [self._ray.get(reference) for reference in made]
        except Exception as error:  # noqa: BLE001 - whatever the replica raised is its answer
            return 500, error_body(500, _said(error))
        if not found:
            return 500, error_body(500, "the replica gave no answer")
        answer = json.loads(found[0].model_dump_json())
        trouble = answer.get("error")
        if isinstance(trouble, dict):
            return int(trouble.get("code") or 500), answer
        return 200, answer

    def prepare(self) -> Tuple[int, str]:
        try:
            self._imported()
        except ImportError as error:
            return 501, f"{sys.executable} has no Ray Serve LLM: {error}"
        return 200, ""

    def metrics(self) -> Tuple[int, str]:
        """HTTP status and vLLM's own exposition text, or why there is none."""
        try:
            exposed = self._actor.__ray_call__.remote(ray_inside.exposed)
            return 200, str(self._ray.get(exposed, timeout=METRICS_S))
        except Exception as error:  # noqa: BLE001 - of another version anything may be missing
            return 500, _said(error)

    def _imported(self) -> Tuple[Any, Any]:
        """The classes of a request. They import vLLM, which takes seconds and half a gigabyte: only
        where there are completions."""
        with self._classes_lock:
            if self._classes is None:
                models: Any = importlib.import_module("ray.serve.llm.openai_api_models")
                common: Any = importlib.import_module("ray.serve._private.common")
                self._classes = models.CompletionRequest, common.RequestMetadata
            return self._classes


def _said(error: Exception) -> str:
    """The last line of what Ray raised: the rest are traces of several processes."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


# -- the door's side of it


class Calls:
    """Starts the process when it is first needed, and again when it has ended."""

    def __init__(self, spec: Json) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._process: "subprocess.Popen[str] | None" = None
        # By whose answer each is waited for: an ended process's end is told to no other's.
        self._waiting: Dict[str, Tuple[Any, "queue.Queue[Json]"]] = {}

    def complete(self, body: Json, request_id: str) -> Tuple[int, Json]:
        """HTTP status and body. CallError if the replica could not be asked."""
        request_id = request_id or f"door-{uuid.uuid4().hex}"
        return self._ask({"op": "complete", "body": body, "request_id": request_id})

    def prepare(self) -> None:
        """What the first completion would wait for. CallError if there can be none."""
        status, body = self._ask({"op": "prepare"})
        if status != 200:
            raise CallError(str(body))

    def metrics(self) -> str:
        status, body = self._ask({"op": "metrics"})
        if status != 200:
            raise CallError(str(body))
        return str(body)

    def _ask(self, order: Json) -> Tuple[int, Any]:
        number = uuid.uuid4().hex
        answers: "queue.Queue[Json]" = queue.Queue()
        asked = {"id": number, **order}
        with self._lock:
            process = self._started()
            self._waiting[number] = process, answers
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
            except OSError:
                self._process = None
                self._waiting.pop(number, None)
                raise CallError("the process that calls the replica ended") from None
        try:
            answer = answers.get(timeout=ANSWER_S)
        except queue.Empty:
            raise CallError(f"the replica did not answer within {ANSWER_S:.0f} s") from None
        finally:
            self._waiting.pop(number, None)
        if "lost" in answer:
            raise CallError(str(answer["lost"]))
        return int(answer["status"]), answer["body"]

    def close(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, home(), json.dumps(self._spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        first: "queue.Queue[Json]" = queue.Queue()
        threading.Thread(target=self._read, args=(process, first), daemon=True).start()
        try:
            hello = first.get(timeout=JOIN_S)
        except queue.Empty:
            hello = {"fatal": f"joining Ray at {self._spec['gcs']} took over {JOIN_S:.0f} s"}
        if "ready" not in hello:
            process.kill()
            raise CallError(str(hello.get("fatal", "the process that calls the replica ended")))
        self._process = process
        return process

    def _read(self, process: "subprocess.Popen[str]", first: "queue.Queue[Json]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            _, waiting = self._waiting.get(message.get("id", ""), (process, first))
            waiting.put(message)
        process.wait()
        first.put({"fatal": f"joining Ray at {self._spec['gcs']} ended it; see the log above"})
        for asked, waiting in list(self._waiting.values()):
            if asked is process:
                waiting.put({"lost": "the process that calls the replica ended; Ray may be gone"})


_PROGRAM = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); "
    "from pdconsole.agent import ray_calls; "
    "sys.exit(ray_calls.main(json.loads(sys.argv[2])))"
)


def home() -> str:
    """What `pdconsole` is imported from: the zipapp, or a directory."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(ray_inside.__file__))))
