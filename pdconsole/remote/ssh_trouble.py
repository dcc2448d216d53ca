"""Why a login failed, in a sentence that names the host and the next step."""

from __future__ import annotations

import socket

import asyncssh
import msgspec

from pdconsole.remote.errors import ErrorKind, RemoteError
from pdconsole.remote.values import SshTarget


class Hop(msgspec.Struct):
    """One host on the way, as the ssh configuration resolves it."""

    name: str
    address: str
    port: int
    user: str
    jump: str | None
    key_name: str  # what known_hosts calls it
    known_hosts: asyncssh.SSHKnownHosts
    known_hosts_file: str
    is_node: bool
    presented: list[asyncssh.SSHKey] = []

    def __str__(self) -> str:
        place = f"{self.address}:{self.port}"
        return place if self.is_node else f"jump host {self.name} ({place})"


def explain(target: SshTarget, hop: Hop, error: Exception) -> RemoteError:
    kind, sentence = _explain(target, hop, error)
    return RemoteError(target.node, kind, sentence)


def _explain(target: SshTarget, hop: Hop, error: Exception) -> tuple[ErrorKind, str]:
    match error:
        case asyncssh.HostKeyNotVerifiable() | asyncssh.KeyExchangeFailed() if _about_key(error):
            return "host-key", _host_key(hop)
        case asyncssh.PermissionDenied():
            return "auth", (
                f"{hop} refuses the login of user {hop.user}; check user and identity in the "
                f"cluster profile or {target.config}, that `ssh-add -l` lists the key, and that "
                f"it is in authorized_keys there"
            )
        case asyncssh.ChannelOpenError():
            return "unreachable", f"cannot get to {hop} through its jump host: {error.reason}"
        case asyncssh.KeyImportError() | asyncssh.KeyEncryptionError():
            return "config", (
                f"cannot read a private key: {error}; load an encrypted one with `ssh-add`, or "
                "correct identity in the cluster profile"
            )
        case asyncssh.ConnectionLost() | ConnectionResetError():
            return "unreachable", (
                f"{hop} drops the connection during login ({error}); check that sshd listens "
                "there, and its MaxStartups"
            )
        case asyncssh.DisconnectError():
            return "unreachable", f"{hop} ends the login: {error.reason}; see sshd's log there"
        case _:
            return _explain_system(hop, error)


def _explain_system(hop: Hop, error: Exception) -> tuple[ErrorKind, str]:
    match error:
        case socket.gaierror():
            return "unreachable", (
                f"the name {hop.address} cannot be resolved; correct host in the cluster "
                "profile, or give the node a HostName in the ssh configuration"
            )
        case ConnectionRefusedError():
            return "unreachable", (
                f"nothing listens at {hop} (connection refused); check that sshd runs there, and "
                "the port"
            )
        case TimeoutError():
            return "unreachable", (
                f"{hop} does not answer in time; check the address, the port, firewalls, and "
                "whether a jump host is needed"
            )
        case FileNotFoundError() | PermissionError():
            return "config", (
                f"cannot read {error.filename}: {error.strerror}; correct identity or known_hosts "
                "in the cluster profile or the ssh configuration"
            )
        case OSError():
            return "unreachable", f"cannot reach {hop}: {error.strerror or error}"
        case _:
            return "config", f"cannot log in to {hop}: {error}"


def _about_key(error: Exception) -> bool:
    return isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key" in str(error).lower()


def _host_key(hop: Hop) -> str:
    port = hop.port if hop.port != 22 else None
    keys = hop.known_hosts.match(hop.key_name, "", port)[0]
    shown = f" ({hop.presented[-1].get_fingerprint()})" if hop.presented else ""
    entry = hop.key_name if port is None else f"[{hop.key_name}]:{hop.port}"
    if keys:
        return (
            f"the host key of {hop}{shown} is not the one in {hop.known_hosts_file}: the host was "
            "set up anew, or somebody is in between; if it was, remove the old key with "
            f"`ssh-keygen -f {hop.known_hosts_file} -R '{entry}'` and add the new one"
        )
    return (
        f"the host key of {hop}{shown} is unknown; compare it with the host's own, then add it: "
        f"`ssh-keyscan -p {hop.port} {hop.address} >> {hop.known_hosts_file}`"
    )
