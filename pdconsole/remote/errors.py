"""The one exception of this part: what went wrong with a node, as a sentence for people."""

from __future__ import annotations

from typing import Literal, TypeAlias

ErrorKind: TypeAlias = Literal[
    "unreachable",  # name, network, port, or the connection cannot be had back
    "host-key",  # unknown or changed host key
    "auth",  # the node refuses our keys
    "config",  # ssh configuration, identity or known_hosts file
    "python",  # no python on the node, or one that is too old
    "disk",  # the work directory cannot be written, or is full
    "agent",  # the agent does not start, answer, or speak our protocol
    "occupied",  # GPUs that somebody else holds
    "start",  # a process could not be started
    "stuck",  # a process does not die
    "http",  # the node cannot connect to a URL
    "missing",  # no such process or file
    "lost",  # the connection broke under a request that must not be repeated
    "taken-over",  # another runner speaks for this session now
]


class RemoteError(Exception):
    """`str()` names the node, says what happened and what to do next."""

    def __init__(self, node: str, kind: ErrorKind, sentence: str) -> None:
        super().__init__(f"{node}: {sentence}")
        self.node = node
        self.kind: ErrorKind = kind
        self.sentence = sentence
