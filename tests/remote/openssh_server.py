"""A real OpenSSH server of this user on loopback, with a home of its own for what it runs."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from pdconsole.remote.values import SshTarget

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class Sshd:
    """An sshd of this user on loopback, its files in one folder.

    Its logins count as a simulated node's, with locks of its own, unless `simulated` is false.
    """

    def __init__(self, folder: Path, settings: str = "", *, simulated: bool = True) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("host", "id"):
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "authorized").write_text((folder / "id.pub").read_text())
        public = " ".join((folder / "host.pub").read_text().split()[:2])
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        env = f"HOME={self.home}"
        if simulated:
            env += f" PDCONSOLE_SIM_NODE_DIR={self.home}"
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized\nPidFile none\nStrictModes no\n"
            f"UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"SetEnv {env}\n{settings}"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "config")], stderr=log
            )
        give_up = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert time.monotonic() < give_up, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the listener and every connection under it."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._process.kill()
        self._process.wait()
        for pid in children.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def target(self, **changes: object) -> SshTarget:
        fields: dict[str, object] = {
            "node": "n1",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "config": "",
            "known_hosts": str(self.known_hosts),
            "identity": (str(self.folder / "id"),),
        }
        return SshTarget(**{**fields, **changes})  # type: ignore[arg-type]

    def clean_up(self) -> None:
        self.stop()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"HOME={self.home}".encode() in (entry / "environ").read_bytes().split(
                        b"\0"
                    ):
                        found.append(int(entry.name))
        return found

    def _run(self, *argv: str) -> None:
        subprocess.run(argv, check=True, capture_output=True)
