"""A Ray cluster of paper: the dashboard's HTTP interface over loopback; the test sets its state."""

from __future__ import annotations

import contextlib
import copy
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
EMPTY: Json = {"controller_info": {}, "proxies": {}, "applications": {}, "target_capacity": None}
BREAK = b"the connection breaks"
NODES = ("10.0.0.1", "10.0.0.2")
COLOURED = (
    "A replica failed. Error:\n"
    "\x1b[36mray::ServeReplica\x1b[39m\n  File x\nValueError: no such model"
)


def config(**changed: Any) -> Json:
    app = {
        "name": "pdconsole",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_pd_openai_app",
        "args": {"prefill_config": {"num": 1}},
        **changed,
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 18000},
        "applications": [app],
    }


def replica(name: str, node: int | None, state: str = "RUNNING", pid: int = 0) -> Json:
    """One that has no node yet is as Serve shows it while its actor starts."""
    found = {
        "actor_name": f"SERVE_REPLICA::pdconsole#Decode:tiny#{name}",
        "replica_id": name,
        "state": state,
        "start_time_s": 1.0,
    }
    if node is None:
        return found
    where = {"node_id": f"node{node}", "node_ip": NODES[node], "actor_id": f"actor-{name}"}
    return {**found, **where, "worker_id": f"worker-{name}", "pid": pid}


class PaperRay:
    def __init__(self) -> None:
        self.state: Json = copy.deepcopy(EMPTY)
        self.puts: list[Json] = []
        self.deleted = 0
        self.put_answer = (200, "")
        self.token = ""
        self.exported = ""
        self.scrapes = 0
        self.logs: dict[tuple[str, str], queue.Queue[bytes | None]] = {}
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- what a test says of it

    def runs_serve(self, port: int = 18000, host: str = "127.0.0.1") -> None:
        self.state["controller_info"] = {"node_id": "node0"}
        self.state["http_options"] = {"host": host, "port": port}
        self.state["proxies"] = {"node0": {"status": "HEALTHY"}}

    def deploys(self, status: str, *replicas: Json, name: str = "pdconsole", **said: Any) -> None:
        """An application with one deployment, `Decode:tiny`."""
        healthy = status in ("RUNNING", "DEPLOYING")
        found = {
            "name": "Decode:tiny",
            "status": "HEALTHY" if healthy else status,
            "message": said.pop("why", ""),
            "replicas": list(replicas),
        }
        self.state["applications"][name] = {
            "name": name,
            "status": status,
            "message": "",
            "source": "declarative",
            "deployed_app_config": config()["applications"][0] if name == "pdconsole" else {},
            "deployments": {"Decode:tiny": found},
            **said,
        }

    def on_put(self, document: Json) -> None:
        """As Serve: what is not in the document goes, unless a program deployed it."""
        self.puts.append(document)
        self.runs_serve()
        apps = self.state["applications"]
        wanted = {app["name"]: app for app in document["applications"]}
        for name in [n for n, a in apps.items() if a.get("source") == "declarative"]:
            if name not in wanted:
                del apps[name]
        for name, app in wanted.items():
            if name not in apps:
                self.deploys("DEPLOYING", name=name, deployed_app_config=app)

    def log_of(self, actor: str, suffix: str) -> queue.Queue[bytes | None]:
        return self.logs.setdefault((actor, suffix), queue.Queue())


@contextlib.contextmanager
def paper_ray() -> Iterator[PaperRay]:
    ray = PaperRay()
    try:
        yield ray
    finally:
        ray.close()


def _handler(ray: PaperRay) -> Any:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/metrics":
                ray.scrapes += 1
                self._send(200, ray.exported)
            elif ray.token and self.headers.get("Authorization") != f"Bearer {ray.token}":
                self._send(401, "Unauthorized: Missing authentication token")
            elif path == "/api/serve/applications/":
                self._send(200, json.dumps(ray.state))
            elif path == "/api/version":
                self._send(200, json.dumps({"ray_version": "2.60.0"}))
            elif path == "/api/v0/logs/stream":
                self._stream(parse_qs(urlsplit(self.path).query))
            else:
                self._send(404, "no such page")

        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if ray.put_answer[0] == 200:
                ray.on_put(body)
            self._send(*ray.put_answer)

        def do_DELETE(self) -> None:
            ray.deleted += 1
            ray.state = copy.deepcopy(EMPTY)
            self._send(200, "")

        def _stream(self, asked: dict[str, list[str]]) -> None:
            assert asked["lines"] == ["-1"]
            lines = ray.log_of(asked["actor_id"][0], asked["suffix"][0])
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                while (data := lines.get()) is not None:
                    if data == BREAK:
                        self.close_connection = True
                        return
                    data = b"%x\r\n%s\r\n" % (len(data), data)
                    self.wfile.write(data)
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None: ...

    return Handler
