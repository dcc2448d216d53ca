"""The door of one Serve replica: what a vLLM server of its own would answer, for a replica that has
no port.

`/health` is 200 while the replica is RUNNING, `/metrics` are this replica's vLLM metrics under
vLLM's names, and `POST /v1/completions` is answered by this replica itself, past the ingress. Its
log lines go to stdout. The door ends, with the replica's last lines, when its replica is gone.
"""

from __future__ import annotations

from typing import List


def main(argv: List[str]) -> int:
    """`argv`: the file that says which replica."""
    raise NotImplementedError
