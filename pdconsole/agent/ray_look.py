"""What a Ray cluster that runs already says of itself, by its dashboard's HTTP interface."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping, Optional

from pdconsole.agent import ray_dashboard

TIMEOUT_S = 15.0


class _NoAnswerError(Exception):
    """The sentence says why."""


def take(dashboard: str, env: Mapping[str, str]) -> Dict[str, Any]:
    """Version, nodes, applications; `trouble` where it cannot be had."""
    try:
        ask = _Dashboard(dashboard, env)
        said = ask.get(ray_dashboard.VERSION)
        found = {
            "version": str(said.get("ray_version", "")),
            "nodes": _nodes(ask),
            **_serve(ask.get(ray_dashboard.APPLICATIONS)),
        }
    except _NoAnswerError as error:
        return {"trouble": str(error)}
    return found


def _token(env: Mapping[str, str]) -> str:
    """Of a cluster with Ray's own authentication; it is never told on."""
    try:
        return ray_dashboard.token_of(env)
    except OSError as error:
        raise _NoAnswerError(f"the cluster's token, {error.filename}: {error.strerror}") from error


class _Dashboard:
    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        token = _token(env)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> Dict[str, Any]:
        return _get(self._url + path, self._headers)


def _get(url: str, headers: Mapping[str, str]) -> Dict[str, Any]:
    # A node's proxy settings are for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=dict(headers))
        with opener.open(request, timeout=TIMEOUT_S) as reply:
            said = json.loads(reply.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            said = f"{url} wants the cluster's token: name its file in {ray_dashboard.TOKEN_PATH}"
            raise _NoAnswerError(said) from error
        raise _NoAnswerError(f"{url} answers with HTTP {error.code}") from error
    except urllib.error.URLError as error:
        raise _NoAnswerError(f"{url} does not answer: {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _NoAnswerError(f"{url} gives no answer that can be read: {error}") from error
    if not isinstance(said, dict):
        raise _NoAnswerError(f"{url} is no dashboard of Ray")
    return said


def _nodes(dashboard: _Dashboard) -> List[Dict[str, Any]]:
    said = dashboard.get("/api/v0/nodes?limit=10000")
    listed = (said.get("data") or {}).get("result") or {}
    used = _used(dashboard)
    return [
        {
            "address": str(node.get("node_ip", "")),
            "name": str(node.get("node_name", "")),
            "state": str(node.get("state", "")),
            "message": str(node.get("state_message") or ""),
            "resources": _numbers(node.get("resources_total")),
            "used": used(node) if used else None,
        }
        for node in listed.get("result", [])
    ]


def _used(dashboard: _Dashboard) -> Optional[Any]:
    """node -> what is used there, as Ray's autoscaler counts it; None: it does not tell."""
    try:
        said = dashboard.get("/api/cluster_status")
    except _NoAnswerError:
        return None
    status = ((said.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}
    by_node = status.get("usageByNode")
    if not isinstance(by_node, dict):
        return None

    def used(node: Mapping[str, Any]) -> Optional[Dict[str, float]]:
        for key in (node.get("node_id"), node.get("node_ip"), node.get("node_name")):
            pairs = by_node.get(key)
            if isinstance(pairs, dict):
                return _numbers({name: pair[0] for name, pair in pairs.items()})
        return None

    return used


def _numbers(values: Any) -> Dict[str, float]:
    return {
        str(name): float(value)
        for name, value in (values or {}).items()
        if isinstance(value, (int, float))
    }


def _serve(said: Mapping[str, Any]) -> Dict[str, Any]:
    options = said.get("http_options") or {}
    return {
        "apps": [
            {
                "name": str(name),
                "status": str(app.get("status", "")),
                "route": str(app.get("route_prefix") or ""),
                "declared": app.get("source", "declarative") == "declarative",
            }
            for name, app in sorted((said.get("applications") or {}).items())
        ],
        "http_host": str(options.get("host") or ""),
        "http_port": int(options.get("port") or 0),
    }
