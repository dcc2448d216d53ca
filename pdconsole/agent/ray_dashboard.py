"""Ray's dashboard over HTTP: the state of Serve, and the logs of actors on any node."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
from typing import Any, Dict, Iterator, List, Mapping, Optional
from urllib.parse import urlencode, urlsplit

from pdconsole.agent import paths

APPLICATIONS = "/api/serve/applications/"
VERSION = "/api/version"
TIMEOUT_S = 15.0
# A PUT starts Serve where it does not run yet, and imports the application.
PUT_TIMEOUT_S = 180.0
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = "~/.ray/auth_token"

Json = Dict[str, Any]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class DashboardError(Exception):
    """What the dashboard did not do; str() says it. `status` is 0 when it gave no answer."""

    def __init__(self, sentence: str, status: int = 0, *, refused: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.refused = refused  # nothing listens


class Dashboard:
    """No connection is kept: calls are rare, and come from several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._base = parts.path.rstrip("/")  # of a gateway before it
        self._headers = _authorization()

    def version(self) -> str:
        """Ray's version, once the dashboard answers."""
        return str(self._json("GET", VERSION).get("ray_version", ""))

    def serve_state(self) -> Json:
        """All of Serve: `applications`, `proxies`, `http_options`, …"""
        return self._json("GET", APPLICATIONS)

    def put_config(self, config: Json) -> None:
        """Deploys the applications of the config and removes all others that a config deployed."""
        self._ask("PUT", APPLICATIONS, config, PUT_TIMEOUT_S)

    def shut_serve_down(self) -> None:
        """Ends every application, and Serve itself."""
        self._ask("DELETE", APPLICATIONS, None, PUT_TIMEOUT_S)

    def follow_log(self, actor_id: str, suffix: str, interval_s: float = 0.5) -> Iterator[bytes]:
        """All that an actor's worker wrote, and what it goes on writing (`suffix`: out or err)."""
        asked = {"actor_id": actor_id, "suffix": suffix, "lines": -1, "interval": interval_s}
        path = "/api/v0/logs/stream?" + urlencode(asked)
        connection = self._connect(None)
        try:
            connection.request("GET", self._base + path, headers=self._headers)
            # It may be long until an actor writes.
            response = connection.getresponse()
            if response.status != 200:
                raise DashboardError(_refusal(response.status, response.read()), response.status)
            while True:
                data = response.read1(65536)
                if not data:
                    return
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from None
        finally:
            connection.close()

    def _json(self, method: str, path: str) -> Json:
        body = self._ask(method, path, None, TIMEOUT_S)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DashboardError(f"{self.url}{path} did not answer with a JSON object")
        return found

    def _ask(self, method: str, path: str, content: Optional[Json], timeout_s: float) -> bytes:
        connection = self._connect(timeout_s)
        body = None if content is None else json.dumps(content)
        headers = {**self._headers, **({"Content-Type": "application/json"} if body else {})}
        try:
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from None
        finally:
            connection.close()
        if response.status != 200:
            raise DashboardError(_refusal(response.status, answer), response.status)
        return answer

    def _connect(self, timeout_s: Optional[float]) -> http.client.HTTPConnection:
        """Straight to it: a proxy of the environment does not know the cluster."""
        return self._kind(self._host, self._port, timeout=timeout_s)

    def _silence(self, error: Exception) -> DashboardError:
        refused = isinstance(error, ConnectionRefusedError)
        if refused:
            why = "nothing listens there"
        elif isinstance(error, socket.timeout):
            why = "no answer in time"
        else:
            why = getattr(error, "strerror", None) or repr(error)
        sentence = f"Ray's dashboard at {self.url} does not answer: {why}"
        return DashboardError(sentence, refused=refused)


def _authorization() -> Dict[str, str]:
    """The header of a cluster with token authentication; none if its file cannot be read, which
    the dashboard will not take."""
    token = ""
    with contextlib.suppress(OSError):
        token = token_of(os.environ)
    return {"Authorization": f"Bearer {token}"} if token else {}


def token_of(env: Mapping[str, str]) -> str:
    """The cluster's token, from where Ray itself looks for it; raises OSError if it is said to be
    in a file that cannot be read."""
    token, path = env.get(TOKEN, "").strip(), env.get(TOKEN_PATH, "")
    if token:
        return token
    if not path:
        path = TOKEN_FILE
        if env.get(MODE, "").lower() != "token" or not os.path.exists(paths.expanded(path)):
            return ""
    with open(paths.expanded(path), encoding="utf-8") as file:
        return file.read().strip()


def _refusal(status: int, body: bytes) -> str:
    if status in (401, 403):
        return (
            f"Ray's dashboard asks for its token (HTTP {status}); "
            "set RAY_AUTH_MODE: token and RAY_AUTH_TOKEN_PATH in env of the cluster's profile"
        )
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["msg"])  # what went wrong in the dashboard: a traceback
    return f"Ray's dashboard answered HTTP {status}: {last_line(text) or 'nothing'}"


# -- Serve's state


def application(state: Json, name: str) -> Optional[Json]:
    found: Optional[Json] = (state.get("applications") or {}).get(name)
    return found


def deployment(state: Json, app: str, name: str) -> Optional[Json]:
    found: Optional[Json] = ((application(state, app) or {}).get("deployments") or {}).get(name)
    return found


def replicas(found: Optional[Json]) -> List[Json]:
    """A deployment's replicas, in the order of their ids."""
    listed = (found or {}).get("replicas") or []
    return sorted(listed, key=lambda replica: str(replica.get("replica_id", "")))


def plain(text: str) -> str:
    """Without the colours that Ray puts into tracebacks."""
    return _COLOUR.sub("", text)


def last_line(text: str) -> str:
    """The last line that says something: of a traceback, what was raised."""
    lines = [line.strip() for line in plain(text).split("\n") if line.strip()]
    return lines[-1][:500] if lines else ""
