"""An ssh server for this machine where there is no sshd: `python ssh_door.py DIR`.

Logins are for whoever holds DIR/client_key; DIR/known_hosts has the server's key. A login runs one
command on this machine, as with a real sshd: a lost connection, or the end of this server, kills
nothing. The environment of a login is this process's own, with what --env says. Only loopback is
listened on. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncssh

from pdconsole.sim.embedded_session import SERVER_OPTIONS, CommandSession

HOST = "127.0.0.1"
KEY = "ssh-ed25519"
# What belongs to the Python that runs this server, not to a login.
NOT_HANDED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class Door(asyncssh.SSHServer):
    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def session_requested(self) -> CommandSession:
        return CommandSession(self._env.get("HOME", "/"), self._env)


def login_environment(changes: list[str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    return own | dict(change.split("=", 1) for change in changes)


def prepare(directory: Path, port: int) -> None:
    """The keys of both sides, once."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("host_key", "client_key"):
        path = directory / name
        if not path.exists():
            key = asyncssh.generate_private_key(KEY, comment="one_gpu")
            path.with_suffix(".pub").write_bytes(key.export_public_key())
            path.touch(mode=0o600)
            path.write_bytes(key.export_private_key())
    public = (directory / "host_key.pub").read_text().rsplit(" ", 1)[0]
    (directory / "known_hosts").write_text(f"[{HOST}]:{port} {public}\n")


async def serve(directory: Path, port: int, env: dict[str, str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncssh.listen(
        HOST,
        port,
        server_factory=lambda: Door(env),
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "client_key.pub"),
        **SERVER_OPTIONS,
    )
    print(f"listening on {HOST}:{port}", flush=True)
    await stop.wait()
    sys.stdout.flush()
    os._exit(0)  # not by an orderly end, which would kill what still runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=2222)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    prepare(asked.directory, asked.port)
    asyncio.run(serve(asked.directory, asked.port, login_environment(asked.env)))


if __name__ == "__main__":
    main()
