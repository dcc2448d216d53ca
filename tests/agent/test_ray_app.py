"""An application of Ray Serve, from its deployment to its end, with a dashboard of paper."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_node import pythons, until
from paper_ray import COLOURED, PaperRay, config, paper_ray, replica

from pdconsole.agent import ray_app
from pdconsole.agent.ray_app import AppError, RayApp
from pdconsole.agent.ray_dashboard import Dashboard, DashboardError, token_of
from pdconsole.agent.ray_door import Door, DoorError, text
from pdconsole.remote.archive import agent_archive
from pdconsole.serving import ray_app as serving_ray_app


@pytest.fixture
def ray() -> Iterator[PaperRay]:
    with paper_ray() as ray:
        yield ray


class Kept:
    """A `RayApp` in a thread."""

    def __init__(self, ray: PaperRay, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        self.lines: list[str] = []
        monkeypatch.setattr(ray_app, "say", self.lines.append)
        self.told = threading.Event()
        self.error: Exception | None = None
        self.app = RayApp(app_spec(ray, **spec), self.told)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.app.run()
        except (AppError, DashboardError) as error:
            self.error = error

    def end(self) -> Exception | None:
        """As SIGTERM."""
        self.told.set()
        return self.ended()

    def ended(self) -> Exception | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def app_spec(ray: PaperRay, **changed: Any) -> dict[str, Any]:
    spec = {
        "dashboard": ray.url,
        "app": "pdconsole",
        "config": config(),
        "listen": ["127.0.0.1", 0],
        "startup_timeout_s": 60,
        "poll_s": 0.02,
    }
    return {**spec, **changed}


def test_it_is_deployed_serves_and_is_taken_away_with_the_serve_it_started(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    assert ray.puts == [config()]
    assert not kept.app._serves
    ray.deploys("DEPLOYING", replica("aa", None, "STARTING"))
    until(lambda: "Decode:tiny aa: STARTING" in kept.lines, "its replica is told")
    ray.deploys("RUNNING", replica("aa", 1, pid=7))
    until(lambda: kept.app._serves, "it serves")
    assert "Decode:tiny aa: RUNNING on 10.0.0.2, pid 7" in kept.lines
    assert len(kept.lines) == len(set(kept.lines)), "each change once"
    assert kept.end() is None
    assert ray.deleted == 1
    assert kept.lines[-1] == "pdconsole is taken away"


def test_it_does_not_serve_before_the_proxy_does(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    ray.state["proxies"] = {"node0": {"status": "STARTING"}}
    ray.deploys("RUNNING")
    until(lambda: kept.app._status == "RUNNING, proxies STARTING", "the proxy is waited for")
    assert not kept.app._serves
    ray.state["proxies"] = {"node0": {"status": "UNHEALTHY"}}
    assert "HTTP proxy on 127.0.0.1:18000 is UNHEALTHY" in str(kept.ended())


@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "UNHEALTHY"])
def test_why_it_failed_is_the_last_line_and_nothing_stays(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    ray.deploys(status, why=COLOURED)
    error = kept.ended()
    assert str(error) == f"pdconsole is {status}: Decode:tiny: ValueError: no such model"
    assert not any("\x1b" in line for line in kept.lines)
    assert ray.deleted == 1


def test_what_a_cluster_has_no_room_for_is_given_up(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch, startup_timeout_s=0.2)
    until(lambda: ray.puts, "the config is put")
    error = kept.ended()
    assert "pdconsole is still DEPLOYING, proxies HEALTHY after 0 s" in str(error)
    assert ray.deleted == 1


def test_a_config_that_serve_refuses_is_told(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.put_answer = (400, "ValidationError(num_replicas)")
    kept = Kept(ray, monkeypatch)
    assert str(kept.ended()).endswith("HTTP 400: ValidationError(num_replicas)")
    trace = "Traceback:\n  File x\nRuntimeError: the port is taken\n"
    ray.put_answer = (500, json.dumps({"result": False, "msg": trace}))
    kept = Kept(ray, monkeypatch)
    assert str(kept.ended()).endswith("HTTP 500: RuntimeError: the port is taken")


def test_others_applications_are_named_and_not_touched(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.runs_serve()
    ray.deploys("RUNNING", name="chat")
    ray.deploys("RUNNING", name="answers", source="imperative")
    kept = Kept(ray, monkeypatch)
    assert "other applications on this cluster: answers, chat." in str(kept.ended())
    assert (ray.puts, ray.deleted) == ([], 0)


def test_who_came_meanwhile_keeps_what_is_his(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    theirs = {"name": "chat", "import_path": "chat:app"}
    ray.deploys("RUNNING", name="chat", deployed_app_config=theirs)
    ray.deploys("RUNNING", name="answers", source="imperative")
    assert kept.end() is None
    assert ray.puts[-1]["applications"] == [theirs]
    assert sorted(ray.state["applications"]) == ["answers", "chat"]
    assert ray.deleted == 0


def test_a_serve_that_was_there_stays(ray: PaperRay, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.runs_serve()
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    assert kept.end() is None
    assert (ray.deleted, ray.state["applications"]) == (0, {})


def test_a_serve_that_listens_elsewhere_is_refused(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.runs_serve(port=8000)
    kept = Kept(ray, monkeypatch)
    assert "proxy on 127.0.0.1:8000 instead of 127.0.0.1:18000; set ports.router" in str(
        kept.ended()
    )
    assert (ray.puts, ray.deleted) == ([], 0)


def test_an_earlier_one_is_waited_for_taken_over_or_refused(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.runs_serve()
    ray.deploys("DELETING")
    kept = Kept(ray, monkeypatch)
    until(lambda: "waiting until an earlier pdconsole is deleted" in kept.lines, "it waits")
    assert not ray.puts
    ray.deploys("RUNNING")
    until(lambda: kept.app._serves, "it is taken over")
    kept.end()
    ray.deploys("RUNNING", deployed_app_config={"import_path": "x", "args": {}})
    error = Kept(ray, monkeypatch).ended()
    assert "an application pdconsole with another config is on this cluster" in str(error)
    assert "pdconsole" in ray.state["applications"]


def of_run(mark: str) -> dict[str, Any]:
    """A config of that session's and run's."""
    return config(args={"decode_config": {"runtime_env": {"env_vars": {"PDCONSOLE_RUN": mark}}}})


def deployed_by(mark: str) -> dict[str, Any]:
    return dict(of_run(mark)["applications"][0])


def test_the_mark_is_the_one_that_plans_have() -> None:
    assert ray_app.MARK == serving_ray_app.MARK


def test_what_an_earlier_run_of_the_session_left_is_replaced_and_anothers_is_not(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.runs_serve()
    ray.deploys("RUNNING", deployed_app_config=deployed_by("theirs/1"))
    kept = Kept(ray, monkeypatch, config=of_run("mine/2"))
    assert "another session's or left behind" in str(kept.ended())
    assert (ray.puts, ray.deleted) == ([], 0)
    ray.deploys("RUNNING", deployed_app_config=deployed_by("mine/1"))
    kept = Kept(ray, monkeypatch, config=of_run("mine/2"))
    until(lambda: ray.puts, "the config is put")
    assert "replacing pdconsole that an earlier run of this session left there" in kept.lines
    ray.deploys("RUNNING", deployed_app_config=deployed_by("mine/2"))
    assert kept.end() is None
    assert ray.state["applications"] == {}


def test_who_deployed_another_one_of_the_name_meanwhile_keeps_it(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch, config=of_run("mine/1"))
    until(lambda: "pdconsole: DEPLOYING" in kept.lines, "it is deployed")
    ray.deploys("DEPLOYING", deployed_app_config=deployed_by("theirs/1"))
    assert str(kept.ended()) == "another config was deployed as pdconsole, by session theirs"
    assert (
        kept.lines[-1] == "the pdconsole that is there is another one, by session theirs: it stays"
    )
    assert "pdconsole" in ray.state["applications"]
    assert (len(ray.puts), ray.deleted) == (1, 0)


@pytest.mark.parametrize(
    ("listens", "dialled", "is_heard"),
    [
        ("0.0.0.0", "10.0.0.1", True),
        ("::", "fd00::1", True),
        ("fd00:0::1", "fd00::1", True),
        ("10.0.0.1", "head.cluster", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("localhost", "head.cluster", False),
        ("10.0.0.2", "10.0.0.1", False),
    ],
)
def test_where_a_proxy_listens_and_where_it_is_dialled(
    listens: str, dialled: str, is_heard: bool
) -> None:
    assert ray_app.is_heard(listens, dialled) is is_heard


def test_a_serve_that_listens_everywhere_is_taken_and_one_for_its_machine_alone_is_not(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {**config(), "http_options": {"host": "10.0.0.1", "port": 18000}}
    ray.runs_serve()
    said = str(Kept(ray, monkeypatch, config=everywhere).ended())
    assert "proxy on 127.0.0.1:18000 instead of 10.0.0.1:18000, where the load is not" in said
    assert not ray.puts
    ray.runs_serve(host="0.0.0.0")
    kept = Kept(ray, monkeypatch, config=everywhere)
    until(lambda: ray.puts, "the config is put")
    assert kept.end() is None


def test_what_somebody_deletes_is_missed(ray: PaperRay, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    ray.state["applications"] = {}
    assert "pdconsole is gone from Ray Serve" in str(kept.ended())


def test_a_replica_that_serve_replaced_is_missed_though_the_application_runs(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    ray.deploys("RUNNING", replica("aa", 1))
    until(lambda: kept.app._serves, "it serves")
    ray.deploys("RUNNING", replica("bb", 1))
    assert str(kept.ended()) == (
        "a replica of pdconsole died and Serve replaced it: Decode:tiny aa"
    )


def test_a_dashboard_that_is_gone_ends_it_soon(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_app, "REFUSED_S", 0.2)
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    ray.close()
    assert str(kept.ended()).endswith("does not answer: nothing listens there")


def test_a_token_goes_with_every_call_and_a_missing_one_is_told(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.token = "secret"
    assert "asks for its token (HTTP 401)" in str(Kept(ray, monkeypatch).ended())
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    kept = Kept(ray, monkeypatch)
    until(lambda: ray.puts, "the config is put")
    assert kept.end() is None
    assert not any("secret" in line for line in kept.lines)


def test_a_token_is_found_where_ray_looks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "named"
    file.write_text("of-a-file\n")
    assert token_of({"RAY_AUTH_TOKEN": "mine", "RAY_AUTH_TOKEN_PATH": str(file)}) == "mine"
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(file)}) == "of-a-file"
    assert token_of({}) == ""


def test_a_token_of_the_home_is_for_clusters_that_ask_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token_of({"RAY_AUTH_MODE": "token"}) == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-home\n")
    assert token_of({"RAY_AUTH_MODE": "token"}) == "of-home"
    assert token_of({}) == ""


def test_a_dashboard_by_tls_is_never_told_the_token_without(
    ray: PaperRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    ray.token = "secret"
    assert Dashboard(ray.url).version() == "2.60.0"
    with pytest.raises(DashboardError, match="does not answer"):
        Dashboard(ray.url.replace("http:", "https:")).version()


def test_a_door_at_an_ipv6_address() -> None:
    try:
        door = Door(["::1", 0], lambda request: text(200, request.path))
    except DoorError as error:  # no IPv6 on this machine
        pytest.skip(str(error))
    connection = http.client.HTTPConnection("::1", door.port, timeout=10)
    connection.request("GET", "/readiness?x=1")
    assert connection.getresponse().read() == b"/readiness\n"
    door.close()


def test_a_port_at_an_ipv6_address_that_cannot_be_had_is_named() -> None:
    with pytest.raises(DoorError, match=r"cannot listen on \[2001:db8::1\]:7000"):
        Door(["2001:db8::1", 7000], lambda request: text(200, ""))


@pytest.mark.parametrize("python", pythons())
def test_the_command_that_is_killed_leaves_no_application(
    ray: PaperRay, tmp_path: Path, python: str
) -> None:
    ray.runs_serve()
    archive, spec = tmp_path / "agent.pyz", tmp_path / "spec.json"
    archive.write_bytes(agent_archive().data)
    spec.write_text(json.dumps(app_spec(ray, config=of_run("mine/1"))))
    process = subprocess.Popen(
        [python, "-I", str(archive), "ray-app", str(spec)], stdout=subprocess.PIPE, text=True
    )
    until(lambda: ray.puts, "the config is put")
    process.kill()
    out, _ = process.communicate(timeout=30)
    assert "who kept pdconsole died; taking it away" in out
    assert out.splitlines()[-1] == "pdconsole is taken away"
    assert (ray.state["applications"], ray.deleted) == ({}, 0)


@pytest.mark.parametrize("python", pythons())
def test_the_command_answers_readiness_and_ends_in_order_on_term(
    ray: PaperRay, tmp_path: Path, python: str
) -> None:
    archive, spec = tmp_path / "agent.pyz", tmp_path / "spec.json"
    archive.write_bytes(agent_archive().data)
    port = _free_port()
    spec.write_text(json.dumps(app_spec(ray, listen=["127.0.0.1", port])))
    process = subprocess.Popen(
        [python, "-I", str(archive), "ray-app", str(spec)], stdout=subprocess.PIPE, text=True
    )
    try:
        until(lambda: ray.puts, "the config is put")
        assert _readiness(port)[0] == 503
        ray.deploys("RUNNING")
        until(lambda: _readiness(port) == (200, "RUNNING, proxies HEALTHY\n"), "it is ready")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out.splitlines()[-1] == "pdconsole is taken away"


def _readiness(port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/readiness")
    response = connection.getresponse()
    return response.status, response.read().decode()


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_port_that_is_taken_is_named(ray: PaperRay, tmp_path: Path) -> None:
    port = int(ray.url.rpartition(":")[2])
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(app_spec(ray, listen=["127.0.0.1", port])))
    command = [sys.executable, "-m", "pdconsole.agent", "ray-app", str(spec)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stdout
    assert not ray.puts
