"""The door of one Serve replica: what a vLLM server of its own would answer, for a replica that has
no port.

`/health` is 200 while the replica is RUNNING. `/metrics` are this replica's vLLM metrics under
vLLM's names: exact where its vLLM can be asked, else made of what Ray's exporter says. `POST
/v1/completions` is answered by this replica itself, past the ingress. Its log lines go to stdout.
The door ends, with the replica's last lines, when its replica is gone.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Callable, Iterable, Iterator, List, Optional

from pdconsole.agent import ray_dashboard, ray_exact_metrics, ray_exporter, ray_metrics, sweep
from pdconsole.agent.ray_app import AppError, Patience, say, until_told_to_end
from pdconsole.agent.ray_calls import CallError, Calls
from pdconsole.agent.ray_dashboard import Dashboard, DashboardError, Json
from pdconsole.agent.ray_door import Answer, Door, Request, as_json, text, trouble
from pdconsole.agent.ray_exact_metrics import ExactError
from pdconsole.agent.ray_exporter import ExporterError

# Between a replica's end and what its log says of it.
LAST_WORDS_S = 2.0
LOG_AGAIN_S = 1.0
# Deployments whose replicas hand KV over, pair by pair through their doors. P waits half a minute
# for D to fetch it: too short for a door that imports vLLM first.
HAND_OVER = ("Prefill:", "Decode:")


class ReplicaError(AppError):
    """Why the replica does not serve."""


def main(argv: List[str]) -> int:
    """`argv`: the file that says which replica."""
    return until_told_to_end(argv[0], lambda spec, told: RayReplica(spec, told).run())


class RayReplica:
    def __init__(self, spec: Json, told_to_end: threading.Event) -> None:
        self._spec = spec
        self._name = str(spec["replica"])
        self._deployment = str(spec["deployment"])
        self._dashboard = Dashboard(spec["dashboard"])
        self._patience = Patience(self._dashboard)
        self._told_to_end = told_to_end
        self._replica_id = ""
        self._state = ""
        self._process: Optional[sweep.Process] = None
        self._calls: Optional[Calls] = None
        self._prepared = threading.Event()
        # Where metrics come from is settled once: counters of another source would jump.
        self._source: Optional[Callable[[], str]] = None
        self._told = ""

    def run(self) -> None:
        """Until told to end; raises what made it end by itself."""
        Door(self._spec["listen"], self._answer)
        try:
            while not self._told_to_end.is_set():
                state = self._patience.state()
                if state is not None:
                    self._look(state)
                self._told_to_end.wait(float(self._spec["poll_s"]))
        finally:
            self._state = ""
            if self._calls is not None:
                self._calls.close()

    # -- which it is, and how it is

    def _look(self, state: Json) -> None:
        found = ray_dashboard.deployment(state, self._spec["app"], self._deployment)
        if self._replica_id:
            self._follow(found)
            return
        app = ray_dashboard.application(state, self._spec["app"])
        if found is not None and str(found.get("status")) == "DEPLOY_FAILED":
            why = ray_dashboard.last_line(str(found.get("message") or ""))
            raise ReplicaError(f"{self._deployment} could not be deployed: {why}")
        here = [r for r in ray_dashboard.replicas(found) if self._is_here(r)]
        wanted = int(self._spec["of"])
        if len(here) != wanted:
            if (app or {}).get("status") == "RUNNING":
                raise ReplicaError(
                    f"{self._name}: Serve placed {self._deployment} otherwise than planned: "
                    f"{len(here)} instead of {wanted} on {self._spec['node_ip']}, all of it on "
                    + ", ".join(str(r.get("node_ip")) for r in ray_dashboard.replicas(found))
                )
            self._tell(
                f"waiting for {self._deployment}: {len(here)} of {wanted} replicas are on this "
                f"node, the application is {(app or {}).get('status', 'not there yet')}"
            )
            return
        replica = here[int(self._spec["rank"])]
        self._replica_id = str(replica["replica_id"])
        say(
            f"{self._name} is replica {self._replica_id} of {self._deployment} on "
            f"{replica['node_ip']}, pid {replica.get('pid')}, actor {replica.get('actor_id')}"
        )
        self._process = _own_process(replica)
        for suffix in ("out", "err"):
            arguments = (str(replica.get("actor_id")), suffix)
            threading.Thread(target=self._copy_log, args=arguments, daemon=True).start()
        self._follow(found)

    def _is_here(self, replica: Json) -> bool:
        """A replica has an address only once its actor is up."""
        return replica.get("node_ip") == self._spec["node_ip"] and bool(replica.get("actor_id"))

    def _follow(self, found: Optional[Json]) -> None:
        mine = [r for r in ray_dashboard.replicas(found) if r["replica_id"] == self._replica_id]
        state = str(mine[0].get("state")) if mine else "gone"
        if self._process is not None and not _is_alive(self._process):
            self._lose(f"its process {self._process.pid} ended", found)
        if state not in ("STARTING", "UPDATING", "RECOVERING", "RUNNING"):
            self._lose(f"Serve says it is {state}", found)
        if mine and self._calls is None:
            self._calls = Calls(
                {
                    "gcs": self._spec["gcs"],
                    "node_ip": self._spec["node_ip"],
                    "app": self._spec["app"],
                    "actor_name": mine[0]["actor_name"],
                }
            )
            # While the replica loads.
            threading.Thread(target=self._prepare, args=(self._calls,), daemon=True).start()
        if state == "RUNNING" and not self._prepared.is_set():
            self._tell(f"{self._name} is {state}, and its door is getting ready to call it")
            return
        if state == "RUNNING" and self._source is None:
            self._settle_metrics()
        self._state = state
        self._tell(f"{self._name} is {state}")

    def _prepare(self, calls: Calls) -> None:
        try:
            if self._deployment.startswith(HAND_OVER):
                calls.prepare()
        except CallError as error:
            say(f"completions: {error}")
        finally:
            self._prepared.set()

    def _settle_metrics(self) -> None:
        """vLLM's own, by pdconsole's plugin in the replica or called in through Ray; else Ray's."""
        assert self._calls is not None
        reasons = []
        for source, words in (
            (self._plugins_metrics, "come from the replica's own vLLM"),
            (self._calls.metrics, "come from the replica's own vLLM, called through Ray"),
        ):
            try:
                source()
            except (CallError, ExactError) as error:
                reasons.append(str(error))
                continue
            self._source = source
            say(f"metrics {words}")
            return
        self._source = self._exported_metrics
        say(f"metrics come from Ray's exporter, without sums: {'; '.join(reasons)}")

    def _lose(self, how: str, found: Optional[Json]) -> None:
        self._state = ""
        # Its own last lines first; they are still on their way.
        self._told_to_end.wait(LAST_WORDS_S)
        said = ray_dashboard.last_line(str((found or {}).get("message") or ""))
        raise ReplicaError(
            f"{self._name} is gone, replica {self._replica_id} of {self._deployment}: {how}"
            + (f"; {said}" if said else "")
        )

    def _copy_log(self, actor_id: str, suffix: str) -> None:
        """Until the process ends. A log that cannot be had is no reason to end the replica, and
        silence is told of by who asks for its state."""
        refused = ""
        told = Told()
        while True:
            try:
                for line in lines_of(told.rest_of(self._dashboard.follow_log(actor_id, suffix))):
                    say(line)
                return
            except DashboardError as error:
                if error.status and str(error) != refused and self._state:
                    refused = str(error)
                    say(f"its log ({suffix}) cannot be read: {error}")
                time.sleep(LOG_AGAIN_S)

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._told = line
            say(line)

    # -- what it answers

    def _answer(self, request: Request) -> Answer:
        if request.path == "/health":
            return text(200 if self._runs else 503, self._state or "not there yet")
        if request.path == "/metrics":
            return self._metrics()
        if request.path == "/v1/completions":
            return self._complete(request)
        if request.path == "/v1/models":
            model = {"id": self._spec["model"], "object": "model", "owned_by": "ray"}
            return as_json(200, {"object": "list", "data": [model]})
        return trouble(404, "this answers /health, /metrics, /v1/models and POST /v1/completions")

    @property
    def _runs(self) -> bool:
        return self._state == "RUNNING"

    def _metrics(self) -> Answer:
        if not self._runs:
            return text(503, "the replica does not run")
        source = self._source
        assert source is not None, "settled before it runs"
        try:
            body = source()
        except (CallError, ExactError, ExporterError) as error:
            return text(503, str(error))
        is_exact = source != self._exported_metrics
        body = f"{ray_metrics.EXACT} {int(is_exact)}\n{body}"
        return Answer(200, body.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _plugins_metrics(self) -> str:
        return ray_exact_metrics.fetch(self._replica_id)

    def _exported_metrics(self) -> str:
        exported = ray_exporter.fetch(self._spec["metrics_url"])
        return ray_metrics.vllm_text(exported, self._replica_id, self._spec["model"])

    def _complete(self, request: Request) -> Answer:
        if request.method != "POST":
            return trouble(405, "POST a completion")
        if not self._runs or self._calls is None:
            return trouble(503, f"{self._name} does not run")
        try:
            body = json.loads(request.body)
        except ValueError:
            return trouble(400, "the body is not JSON")
        if not isinstance(body, dict):
            return trouble(400, "the body is not an object")
        if body.get("stream"):
            return trouble(400, "a door does not stream; the load goes through Serve's proxy")
        try:
            status, answer = self._calls.complete(body, request.request_id)
        except CallError as error:
            return trouble(503, f"{self._name}: {error}")
        return as_json(status, answer)


def _own_process(replica: Json) -> Optional[sweep.Process]:
    """The replica's process, if its number means on this node what it means to Ray: a replica in a
    container has another."""
    process = sweep.look(int(replica.get("pid") or 0))
    if process is None:
        return None
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            return process if b"ray::" in file.read() else None
    except OSError:
        return None


def _is_alive(process: sweep.Process) -> bool:
    now = sweep.look(process.pid)
    return now is not None and now.identity == process.identity


class Told:
    """What of a log has been told already: it is followed from its start again after a break."""

    def __init__(self) -> None:
        self._bytes = 0

    def rest_of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        seen = 0
        for chunk in chunks:
            fresh = chunk[max(0, self._bytes - seen) :]
            seen += len(chunk)
            if fresh:
                self._bytes = seen
                yield fresh


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines out of chunks that end anywhere; a progress bar's redrawing counts as lines."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            shown = ray_dashboard.plain(line.decode("utf-8", "replace")).rstrip()
            if shown and not shown.startswith(":"):  # Ray's own marks: `:actor_name:…`
                yield shown
