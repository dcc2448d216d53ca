"""What a replica or the router complains of while it serves: the cause, and its next step.

An answer says no more than "HTTP 500 Internal server error"; the log says why. Read with vLLM
0.32.0, NIXL 1.5.1 and vllm-router 0.1.17.
"""

from __future__ import annotations

import re

from pdconsole.serving.log_words import Diagnosis, known, log_lines, plain, recognised

_KNOWN = (
    known(
        r"NIXL compatibility hash mismatch|incompatible configurations",
        "prefill and decode replicas do not fit together: their NIXL handshake compares vLLM, the "
        "model's path, dtype, KV heads, layers, attention backend and the hybrid KV cache manager",
        "give both the same: one vLLM on all nodes, a model source that is the same path on each "
        "(~ is another one for every user), and no setting that holds for one side only",
    ),
    known(
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation",
        "GPU memory ran out",
        "take a larger TP, lower gpu-memory-utilization or max_model_len in the model profile, and "
        "see that nobody else uses the GPU (nvidia-smi)",
    ),
    known(
        r"NIXL_ERR_REMOTE_DISCONNECT|RemoteDisconnectError",
        "the prefill replica whose KV it wanted is gone",
        "read the prefill replicas' logs: one ended, was restarted, or its node was cut off",
    ),
    known(
        r"Potentially invalid KV blocks|Releasing expired KV blocks",
        "KV expired on the prefill replica before the decode replica had fetched it",
        "decode replicas were too busy, or gone: lower the load or place more of them; "
        "kv_lease_duration in connector_extra of the network profile makes KV live longer",
    ),
    known(
        r"handshake_(?:setup_)?failed|NIXL handshake|zmq\.error\.Again",
        "its NIXL handshake with a prefill replica failed",
        "see that the prefill replica is up and that its side channel (ports.side_channel of the "
        "cluster profile, at the node's address) can be reached from the decode replica's node",
    ),
    known(
        r"NIXL transfer failure|KV load failure|NIXL_ERR_\w+",
        "KV did not come over from the prefill replica",
        "try the network itself with `pdconsole netbench`, and look for what its log says before",
    ),
    known(
        r"no (?:healthy |available )?(?:prefill |decode )?workers? (?:is |are )?available|"
        r"error sending request|connection refused",
        "the router cannot reach a replica",
        "see which replica ended or hangs; with --disable-retries the router tries once",
    ),
)

# A line at level ERROR. vLLM repeats the prefix before each line of a traceback; frames stand
# further in.
_ERROR = (
    re.compile(r"(?:^|\) )ERROR \d\d-\d\d [\d:]+ \[[^\]]+\] (?!Traceback)(?P<said>\S.*)"),
    re.compile(r"^\S+\s+ERROR\s+(?P<said>\S.*)"),
)
# What stands in a log because a process was told to end, or because of an error said elsewhere.
_NO_CAUSE = re.compile(
    r"\[shutdown\]|EngineDeadError|output_handler failed|force killing|resource_tracker|leaked|"
    r"port \d+ is (?:already )?(?:in use|used by)|failed with an internal error during generation",
    re.IGNORECASE,
)
_ENDING = re.compile(r"\[shutdown\]|received signal=SIG|Shutting down", re.IGNORECASE)


def complaint(log: str) -> Diagnosis | None:
    """Why requests failed, from what a process logged meanwhile; None if it does not complain.

    What it says after it was told to end is not looked at. Without a known cause `line` is the
    last error.
    """
    served = _before_the_end(plain(log).splitlines())
    errors = [said for line in served if (said := _error(line))]
    text = log_lines("\n".join(served))
    found = recognised(errors, _KNOWN) or recognised(text, _KNOWN)
    if found is not None:
        return found
    return Diagnosis("", "", errors[-1]) if errors else None


def _before_the_end(lines: list[str]) -> list[str]:
    ends = (i for i, line in enumerate(lines) if _ENDING.search(line))
    return lines[: next(ends, len(lines))]


def _error(line: str) -> str:
    """What a line at level ERROR says; empty for other lines and for what is no cause."""
    if _NO_CAUSE.search(line):
        return ""
    for level in _ERROR:
        match = level.search(line)
        if match:
            return match["said"].strip()
    return ""
