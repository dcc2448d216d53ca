"""What Ray that a session starts asks of everyone who speaks to it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pdconsole.runtime_dir import runtime_dir
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.ray_nodes import TOKEN

KEY_FILE = "ray-key"


def secrets_of(plan: DeploymentPlan) -> Mapping[str, str]:
    """The values of what the plan's processes name, the same for all of its session.

    Made of a key of this user that never leaves the runtime directory, so that a runner that comes
    back speaks to the Ray that an earlier one started. Raises RuntimeDirError.
    """
    if not any(process.secrets for process in plan.processes):
        return {}
    token = hmac.new(_key(runtime_dir()), plan.session.encode(), hashlib.sha256).hexdigest()
    return {TOKEN: token}


def _key(directory: Path) -> bytes:
    path = directory / KEY_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    # Whole before it has its name: two may come at once.
    mine = directory / f".{KEY_FILE}.{os.getpid()}"
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
    return path.read_bytes()
