"""vLLM's plugin (entry point group `vllm.stat_logger_plugins`) that offers a Serve replica's own
metrics, exactly.

Ray Serve LLM has vLLM count through Ray alone, whose exporter loses the sums of histograms. This
is vLLM's own Prometheus logger beside it, with a thread that gives the text on the replica's
socket (`ray_exact_metrics`). vLLM finds it where this archive is on PYTHONPATH; nothing else in a
replica needs the archive, nor does this once it is imported. What goes wrong here is told in the
log and leaves the replica as it would be without.
"""

from __future__ import annotations

import importlib
import logging
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Dict, Iterable, Optional, cast

from pdconsole.agent import ray_exact_metrics

PREFIX = "vllm:"
# For a client that takes its time: its thread ends.
CLIENT_S = 10.0

_log = logging.getLogger("vllm.pdconsole")


def __getattr__(name: str) -> Any:
    """`StatLogger`, what the entry point names. Its base is vLLM's, which only a replica has."""
    if name == "StatLogger":
        return _stat_logger()
    raise AttributeError(name)


def _stat_logger() -> type:
    base: Any = importlib.import_module("vllm.v1.metrics.loggers").PrometheusStatLogger

    class StatLogger(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            OFFER.take(anew=True)

        def log_engine_initialized(self) -> None:
            super().log_engine_initialized()
            OFFER.take()  # it is here that the description of the cache is added

    return StatLogger


class Offer:
    """What this process offers: the collectors that vLLM registered last, and who gives them."""

    def __init__(self) -> None:
        self._collectors: Dict[str, Any] = {}
        self._rendering = threading.Lock()
        self._server: Optional[_Server] = None
        self._generate: Any = None

    def take(self, anew: bool = False) -> None:
        """`anew`: for an engine that takes an earlier one's place in this process. Never raises:
        metrics are no reason for an engine not to start."""
        try:
            self._take({} if anew else dict(self._collectors))
        except Exception as error:  # noqa: BLE001
            _log.warning("pdconsole: the replica's own metrics are not offered: %r", error)

    def _take(self, collectors: Dict[str, Any]) -> None:
        client: Any = importlib.import_module("prometheus_client")
        self._generate = client.generate_latest
        # As vLLM finds its own (vllm/v1/metrics/prometheus.py). They are held here: another logger
        # of vLLM in this process takes these out of the registry.
        for collector in list(client.REGISTRY._collector_to_names):
            name = str(getattr(collector, "_name", ""))
            if name.startswith(PREFIX):
                collectors.setdefault(name, collector)
        self._collectors = collectors
        if self._server is None:
            name = replica_id() or str(os.getpid())
            self._server = _Server(ray_exact_metrics.address(name), _Handler)
            threading.Thread(
                target=self._server.serve_forever, name="pdconsole-metrics", daemon=True
            ).start()
            _log.info("pdconsole: offering the metrics of replica %s", name)

    def text(self) -> bytes:
        """One reader at a time, and one family at a time: the thread of the engine's loop, if it
        waits to run, waits for one family, not for all."""
        parts = []
        with self._rendering:
            for collector in list(self._collectors.values()):
                parts.append(cast(bytes, self._generate(_One(collector))))
                time.sleep(0)
        return b"".join(parts)


class _One:
    """A registry of one collector, as much of it as rendering needs."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Any]:
        return cast(Iterable[Any], self._collector.collect())


def replica_id() -> str:
    """Serve's id of the replica that this process is; "" if it is none."""
    try:
        serve: Any = importlib.import_module("ray.serve")
        return str(serve.get_replica_context().replica_id.unique_id)
    except Exception:  # noqa: BLE001 - no Ray, no replica, or another Ray's names
        return ""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return ray_exact_metrics.peer_uid(request) in (os.getuid(), 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_S

    def do_GET(self) -> None:
        body = OFFER.text()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The replica's log is vLLM's."""


OFFER = Offer()
