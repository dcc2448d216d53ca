"""Keeps one Serve application: puts its config to the cluster's dashboard, tells how it goes, and
takes it away when told to end.

Its door answers `/readiness` with 200 while the application is RUNNING. It ends by itself, with a
last line that says why, when the application cannot be deployed, when it is no longer healthy, or
when the dashboard is gone. Applications of others are never touched: a PUT would remove them, so
where there are any it is refused.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from pdconsole.agent import ray_calls, ray_dashboard
from pdconsole.agent.ray_dashboard import Dashboard, DashboardError, Json
from pdconsole.agent.ray_door import Answer, Door, DoorError, Request, text

# Silence shorter than this is load, or a controller that restarts.
SILENCE_S = 30.0
REFUSED_S = 5.0
# What is being deleted takes its replicas' time to end.
DELETION_S = 60.0
# A node's agent gives what it ends 10 s.
REMOVAL_S = 8.0
# In the replicas' environment, and so in the config: whose application it is, `<session>/<run>`.
MARK = "PDCONSOLE_RUN"


class AppError(Exception):
    """Why what is kept does not serve; str() is the last line of the log."""


def main(argv: List[str]) -> int:
    """`argv`: the file that says what to do."""
    return until_told_to_end(argv[0], lambda spec, told: RayApp(spec, told).run())


def until_told_to_end(path: str, run: Callable[[Json, threading.Event], None]) -> int:
    """The exit status of a command whose spec is in a file; it says why it ended by itself."""
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    told_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_end.set())
    try:
        run(spec, told_to_end)
    except (AppError, DoorError, DashboardError) as error:
        say(str(error))
        return 1
    return 0


def say(line: str) -> None:
    print(line, flush=True)


class RayApp:
    def __init__(self, spec: Json, told_to_end: threading.Event) -> None:
        self._spec = spec
        self._name = str(spec["app"])
        self._config: Json = spec["config"]
        self._listen: List[Any] = spec["listen"]
        self._startup_timeout_s = float(spec["startup_timeout_s"])
        self._poll_s = float(spec["poll_s"])
        self._dashboard = Dashboard(spec["dashboard"])
        self._patience = Patience(self._dashboard)
        self._told_to_end = told_to_end
        self._serves = False
        self._status = "not deployed yet"
        self._serve_is_ours = False
        self._seen_deployed = False
        self._replicas: Optional[Dict[str, str]] = None  # id -> deployment, once it serves
        self._told: Dict[str, str] = {}

    def run(self) -> None:
        """Until told to end; raises what made it end by itself."""
        Door(self._listen, self._answer)
        before = self._wait_for_room()
        if before is None:
            return
        self._serve_is_ours = not serve_runs(before)
        say(f"deploying {self._name} through {self._dashboard.url}")
        guard = Guard({"spec": self._spec, "serve_is_ours": self._serve_is_ours})
        try:
            self._dashboard.put_config(self._config)
            self._watch()
        finally:
            self._serves = False
            self._status = "being taken away"
            self._remove()
            guard.dismiss()

    def remove_of_dead(self, serve_is_ours: bool) -> None:
        """What the guard does once who kept the application is dead."""
        say(f"who kept {self._name} died; taking it away")
        self._serve_is_ours = serve_is_ours
        self._remove()

    def _answer(self, request: Request) -> Answer:
        if request.path not in ("/readiness", "/health"):
            return text(404, "this answers /readiness")
        return text(200 if self._serves else 503, self._status)

    # -- before

    def _wait_for_room(self) -> Optional[Json]:
        """Serve's state, once nothing of it is in the way; None if told to end meanwhile."""
        give_up = time.monotonic() + DELETION_S
        while not self._told_to_end.is_set():
            state = self._patience.state()
            if state is not None:
                self._refuse_others(state)
                mine = ray_dashboard.application(state, self._name)
                if mine is None or mine.get("status") != "DELETING":
                    self._refuse_another_of_the_name(mine)
                    self._refuse_another_address(state)
                    return state
                if time.monotonic() > give_up:
                    raise AppError(
                        f"an earlier application {self._name} is still being deleted after "
                        f"{DELETION_S:.0f} s; see it in the dashboard at {self._dashboard.url}"
                    )
                self._tell("app", f"waiting until an earlier {self._name} is deleted")
            self._told_to_end.wait(self._poll_s)
        return None

    def _refuse_others(self, state: Json) -> None:
        others = sorted(set(state.get("applications") or {}) - {self._name})
        if others:
            raise AppError(
                f"Ray Serve has other applications on this cluster: {', '.join(others)}. To deploy "
                "there would remove them, so nothing was done; use a cluster without Serve "
                "applications, or let pdconsole start Ray itself (ray: start: true)"
            )

    def _refuse_another_of_the_name(self, mine: Optional[Json]) -> None:
        if mine is None:
            return
        deployed, ours = _deployed(mine), self._ours()
        if _is_same(deployed, ours):
            say(f"taking over {self._name}, which is deployed as it should be")
            return
        session = mark_of(ours).rpartition("/")[0]
        if session and mark_of(deployed).rpartition("/")[0] == session:
            say(f"replacing {self._name} that an earlier run of this session left there")
            return
        raise AppError(
            f"an application {self._name} with another config is on this cluster, another "
            "session's or left behind by one. If nobody uses it, take it away with `serve "
            f"shutdown -y -a {self._dashboard.url}`"
        )

    def _refuse_another_address(self, state: Json) -> None:
        """Where the proxy listens cannot be changed while Serve runs."""
        wanted, there = self._config.get("http_options") or {}, state.get("http_options") or {}
        if not serve_runs(state):
            return
        runs = (
            f"Ray Serve runs on this cluster already, with its HTTP proxy on {there.get('host')}:"
            f"{there.get('port')} instead of {wanted.get('host')}:{wanted.get('port')}"
        )
        end = f"end Serve with `serve shutdown -y -a {self._dashboard.url}` if nobody uses it"
        if "port" in wanted and there.get("port") != wanted["port"]:
            raise AppError(
                f"{runs}; set ports.router in the cluster profile to {there.get('port')}, or {end}"
            )
        if "host" in wanted and not is_heard(str(there.get("host")), str(wanted["host"])):
            raise AppError(
                f"{runs}, where the load is not heard; write the head's address that it listens at "
                f"into ray.address of the cluster profile, or {end}"
            )

    # -- while it is there

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._told_to_end.is_set():
            state = self._patience.state()
            if state is not None:
                self._look(state, time.monotonic() - began)
            self._told_to_end.wait(self._poll_s)

    def _look(self, state: Json, elapsed_s: float) -> None:
        mine = ray_dashboard.application(state, self._name)
        if mine is None:
            raise AppError(
                f"{self._name} is gone from Ray Serve: somebody deleted it, deployed another "
                "config, or shut Serve down"
            )
        if self._is_ours(mine):
            self._seen_deployed = True
        elif self._seen_deployed:
            raise AppError(f"another config was deployed as {self._name}{_of_whom(mine)}")
        self._tell_all(mine)
        status = str(mine.get("status"))
        if status in ("DEPLOY_FAILED", "UNHEALTHY", "DELETING"):
            raise AppError(f"{self._name} is {status}: {reason(mine)}")
        proxies = {str(p.get("status")) for p in (state.get("proxies") or {}).values()}
        if "UNHEALTHY" in proxies:
            there = state.get("http_options") or {}
            raise AppError(
                f"Serve's HTTP proxy on {there.get('host')}:{there.get('port')} is UNHEALTHY; "
                "its port may be taken: see serve/proxy_*.log in Ray's log directory"
            )
        self._serves = status == "RUNNING" and "HEALTHY" in proxies
        self._status = f"{status}, proxies {', '.join(sorted(proxies)) or 'none'}"
        if self._serves:
            self._miss_replicas(mine, elapsed_s)
        elif self._replicas is None and elapsed_s > self._startup_timeout_s:
            raise AppError(
                f"{self._name} is still {self._status} after {elapsed_s:.0f} s: {reason(mine)}"
            )

    def _miss_replicas(self, mine: Json, elapsed_s: float) -> None:
        """Serve replaces a replica that died, lets requests wait meanwhile and stays RUNNING: what
        is measured then is another deployment."""
        now = {
            str(replica.get("replica_id")): str(name)
            for name, found in (mine.get("deployments") or {}).items()
            for replica in ray_dashboard.replicas(found)
        }
        if self._replicas is None:
            say(f"{self._name} serves after {elapsed_s:.0f} s")
            self._replicas = now
        lost = sorted(set(self._replicas) - set(now))
        if lost:
            named = ", ".join(f"{self._replicas[replica]} {replica}" for replica in lost)
            raise AppError(f"a replica of {self._name} died and Serve replaced it: {named}")

    def _tell_all(self, mine: Json) -> None:
        self._tell("app", f"{self._name}: {mine.get('status')}{_behind(mine.get('message'))}")
        for name, found in (mine.get("deployments") or {}).items():
            self._tell(name, f"{name}: {found.get('status')}{_behind(found.get('message'))}")
            for replica in ray_dashboard.replicas(found):
                where = replica.get("node_ip")
                words = f" on {where}, pid {replica.get('pid')}" if where else ""
                line = f"{name} {replica.get('replica_id')}: {replica.get('state')}{words}"
                self._tell(f"{name} {replica.get('replica_id')}", line)

    def _tell(self, about: str, line: str) -> None:
        if self._told.get(about) != line:
            self._told[about] = line
            say(line)

    def _ours(self) -> Json:
        found: Json = next(a for a in self._config["applications"] if a["name"] == self._name)
        return found

    def _is_ours(self, mine: Json) -> bool:
        """Whether it is what this put, not what somebody else put under the same name."""
        deployed, ours = _deployed(mine), self._ours()
        if mark_of(ours):
            return mark_of(deployed) == mark_of(ours)
        return _is_same(deployed, ours)

    # -- after

    def _remove(self) -> None:
        """Takes the application away, and Serve where this started it; others' stay as they are."""
        try:
            state = self._dashboard.serve_state()
            mine = ray_dashboard.application(state, self._name)
            if mine is None and not self._serve_is_ours:
                return
            if mine is not None and not self._is_ours(mine):
                say(f"the {self._name} that is there is another one{_of_whom(mine)}: it stays")
                return
            others = {n: a for n, a in state["applications"].items() if n != self._name}
            if self._serve_is_ours and not others:
                self._dashboard.shut_serve_down()
            else:
                # What a config deployed would go with the PUT, so it is in it, as it is.
                kept = [a["deployed_app_config"] for a in others.values() if _is_configured(a)]
                self._dashboard.put_config({**self._config, "applications": kept})
                self._wait_until_gone()
            say(f"{self._name} is taken away")
        except DashboardError as error:
            say(f"{self._name} could not be taken away: {error}")

    def _wait_until_gone(self) -> None:
        give_up = time.monotonic() + REMOVAL_S
        while time.monotonic() < give_up:
            if ray_dashboard.application(self._dashboard.serve_state(), self._name) is None:
                return
            time.sleep(0.2)


class Guard:
    """A process beside the one that keeps the application, which takes it away where that one is
    killed: on a cluster that runs already it would stay for ever."""

    def __init__(self, order: Json) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _GUARD, ray_calls.home()], stdin=subprocess.PIPE, text=True
        )
        self._tell(json.dumps(order))

    def dismiss(self) -> None:
        self._tell("done")
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            say("what takes the application away if this is killed has itself ended")


_GUARD = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pdconsole.agent import ray_app; ray_app.guard()"
)


def guard() -> None:
    """Told to end as all of its session is, it waits for the other one, which has an order of its
    own to end by."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline() or "{}")
    if order and sys.stdin.readline().strip() != "done":
        RayApp(order["spec"], threading.Event()).remove_of_dead(order["serve_is_ours"])


class Patience:
    """Asks for Serve's state; bears with silence for a while."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._silent_since: Optional[float] = None

    def state(self) -> Optional[Json]:
        """None if there was no answer this time; DashboardError once that lasts."""
        try:
            state = self._dashboard.serve_state()
        except DashboardError as error:
            now = time.monotonic()
            if self._silent_since is None:
                self._silent_since = now
            patience_s = REFUSED_S if error.refused else SILENCE_S
            if now - self._silent_since > patience_s or error.status in (401, 403, 501):
                raise
            return None
        self._silent_since = None
        return state


def serve_runs(state: Json) -> bool:
    return bool((state.get("controller_info") or {}).get("node_id"))


def mark_of(config: Any) -> str:
    """Whose application a config is; "" if it does not say so."""
    if isinstance(config, dict):
        if isinstance(config.get(MARK), str):
            return str(config[MARK])
        config = list(config.values())
    return next(filter(None, map(mark_of, config)), "") if isinstance(config, list) else ""


def is_heard(listens: str, dialled: str) -> bool:
    """Whether who listens at the one is reached at the other, as far as addresses tell: a name may
    be any."""
    if listens in ("0.0.0.0", "::", dialled):
        return True
    try:
        there = ipaddress.ip_address("127.0.0.1" if listens == "localhost" else listens)
        return there == ipaddress.ip_address("127.0.0.1" if dialled == "localhost" else dialled)
    except ValueError:
        return listens != "localhost" and not listens.startswith("127.")


def _deployed(mine: Json) -> Json:
    """The config that an application was deployed by."""
    found: Json = mine.get("deployed_app_config") or {}
    return found


def _is_same(deployed: Json, ours: Json) -> bool:
    return all(deployed.get(key) == ours.get(key) for key in ("import_path", "args"))


def _of_whom(mine: Json) -> str:
    mark = mark_of(_deployed(mine))
    return f", by session {mark.rpartition('/')[0]}" if mark else ""


def reason(mine: Json) -> str:
    """What an application's deployments say about it, in one line."""
    said = []
    for name, found in (mine.get("deployments") or {}).items():
        if found.get("status") != "HEALTHY" and found.get("message"):
            said.append(f"{name}: {ray_dashboard.last_line(str(found['message']))}")
    return "; ".join(said) or ray_dashboard.last_line(str(mine.get("message") or "")) or "no reason"


def _behind(message: Any) -> str:
    text_ = ray_dashboard.plain(str(message or "")).strip()
    return f": {text_}" if text_ else ""


def _is_configured(other: Json) -> bool:
    return other.get("source") == "declarative" and bool(other.get("deployed_app_config"))
