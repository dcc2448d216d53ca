"""The lines that the agent and its client exchange, and the errors they carry.

A request is `{"id": 7, "op": "start", ...}`, its answer `{"id": 7, "ok": {...}}` or
`{"id": 7, "error": {"kind": ..., "message": ...}}`; what nobody asked for is `{"news": ...}`.
Bytes travel as base64.
"""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any, Dict

PROTOCOL = 1
# The longest line that either side accepts.
MAX_LINE = 64 << 20

Message = Dict[str, Any]


class AgentError(Exception):
    """A refusal with its kind; the client puts the node's name before the sentence."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


def encode(message: Message) -> bytes:
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    # Names from the file system may hold undecodable bytes (lone surrogates).
    return text.encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> Message:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def pack(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def unpack(text: str) -> bytes:
    return base64.b64decode(text)


def log(sentence: str) -> None:
    """One line in agent.log, where stderr goes."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        os.write(2, f"{stamp} {sentence}\n".encode("utf-8", "replace"))
    except OSError:
        return  # a full disk must not keep processes from being kept, or ended
