"""What a process's last words mean: the failures that people meet, each with its next step."""

from __future__ import annotations

import re

from pdconsole.serving.log_words import Diagnosis, known, log_lines, recognised

KILLED = "somebody killed it, most likely the kernel because the node's memory ran out"
KILLED_ADVICE = "look at `dmesg` and `free -g` on the node"

# The first that some line matches wins, so a cause stands before what it leads to.
_KNOWN = (
    known(
        r"unrecognized arguments?: (?P<flag>--?[\w.-]+)",
        "it does not know the flag {flag}",
        "remove the flag from engine_args of the model profile, or set engine.version of the "
        "cluster profile to the version that is installed",
    ),
    known(
        r"error: argument (?P<flag>--[\w.-]+)",
        "it refuses the value of {flag}",
        "correct it in engine_args of the model profile",
    ),
    known(
        r"gated repo|GatedRepoError|access to model .* is restricted|401 client error",
        "the hub wants to know who asks: the model is gated",
        "accept its licence and log in with `hf auth login` on the node, or put the model on the "
        "node and write its path as the model profile's source",
    ),
    known(
        r"outgoing traffic has been disabled|offline mode is enabled|LocalEntryNotFoundError|"
        r"couldn't connect to '?https://huggingface\.co|max retries exceeded with url",
        "it cannot reach the model hub and has no copy of the model",
        "put the model on the node and write its path as the model profile's source, or let the "
        "node reach the hub",
    ),
    known(
        r"not a valid model identifier|repository not found|RepositoryNotFoundError|"
        r"HFValidationError|Repo id must |"
        r"invalid repository id or local directory|can't load the configuration of",
        "there is no such model, neither on the hub nor as a path on the node",
        "correct the model profile's source",
    ),
    known(
        r"does not appear to have a file named config\.json|cannot find any model weights",
        "the model's directory on the node is not complete",
        "copy the whole model there, or correct the model profile's source",
    ),
    known(
        r"free memory on device .* less than desired",
        "its GPU has too little free memory: somebody else is using it",
        "run `pdconsole clean` for leftovers of ours, look at nvidia-smi for others, or lower "
        "gpu-memory-utilization in engine_args of the model profile",
    ),
    known(
        r"no available memory for the cache blocks|KV cache is needed.*larger than|"
        r"larger than the (?:available KV cache memory|maximum number of tokens)",
        "the model leaves too little GPU memory for its KV cache",
        "take a larger TP, lower max_model_len, or raise gpu-memory-utilization in engine_args of "
        "the model profile",
    ),
    known(
        r"available memory on node \d+ .* less than requested memory for kv",
        "the node has too little free memory for the KV cache that the CPU engine was told to take",
        "lower VLLM_CPU_KVCACHE_SPACE in the env of the cluster profile, or free memory there",
    ),
    known(
        r"max_model_len \(\d+\) is greater than the derived max_model_len",
        "the model does not go as far as its profile's max_model_len",
        "lower max_model_len in the model profile to what the model's config.json allows",
    ),
    known(
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation",
        "GPU memory ran out",
        "take a larger TP, lower gpu-memory-utilization or max_model_len in the model profile, and "
        "see that nobody else uses the GPU (nvidia-smi)",
    ),
    known(
        r"address already in use|errno 98\b|os error 98\b",
        "another process listens on one of its ports",
        "run `pdconsole clean` for leftovers of ours, or move the ports of the cluster profile",
    ),
    known(
        r"cannot assign requested address|errno 99\b|os error 99\b|name or service not known|"
        r"nodename nor servname",
        "it cannot listen on the node's address",
        "set the node's address in the cluster profile to one of its own interfaces",
    ),
    known(
        r"libuc[pst]\S*: cannot open shared object file|UCX plugin .*not found",
        "NIXL does not find the libraries of UCX",
        "install NIXL anew in vLLM's environment on the node: its wheels bring a UCX of their own; "
        "one that was built there needs its UCX in LD_LIBRARY_PATH",
    ),
    known(
        r"NIXL is not available|no module named '?nixl",
        "NIXL is not installed beside vLLM",
        "install nixl into vLLM's environment on the node",
    ),
    known(
        r"nixlBackendError|NIXL_ERR_\w+|failed to create .*\bbackend|no usable transports|"
        r"backend .* not found",
        "NIXL cannot make its backend",
        "check backend and env of the network profile against the node: the libfabric or UCX "
        "plugin must be installed, and UCX_TLS must hold tcp beside the fast transport",
    ),
    known(
        r"no CUDA GPUs are available|invalid device ordinal|failed to infer device type|"
        r"driver version is insufficient",
        "it finds no usable GPU",
        "check `nvidia-smi` on the node, and the number of GPUs in the cluster profile",
    ),
    known(
        r"must be divisible by tensor parallel size|not divisible by .*tensor",
        "the model cannot be split over so many GPUs",
        "choose a layout with a TP that divides the model's attention heads",
    ),
    known(
        r"no space left on device|errno 28\b",
        "a disk of the node is full",
        "make room in the node's work_dir, /tmp and model cache",
    ),
    known(
        r"no module named '?(?P<module>[\w.]+)",
        "the Python module {module} is missing on the node",
        "install it into the environment of engine.vllm on the node",
    ),
    # The API server ends in order after a process of its own was killed.
    known(
        r"Failed core proc\(s\): \{.*: -9\b|died unexpectedly \(exit code: -9\)",
        KILLED,
        KILLED_ADVICE,
    ),
    known(
        r"command not found|no such file or directory: '?vllm",
        "its command is not installed on the node",
        "install it, or name its path in engine.vllm or engine.router of the cluster profile",
    ),
)

_ERROR_LINE = re.compile(
    r"\b(\w*(?:Error|Exception)\b|panicked at)|\b(?:error|fatal):", re.IGNORECASE
)
# What vLLM says last although the cause was said long before.
_ECHO = re.compile(r"see root cause above|EngineDeadError|engine core initialization failed", re.I)

# After these a process stays and never answers: vLLM's engine waits for a thread that has ended.
_STUCK = (
    known(
        r"zmq\.error\.ZMQError: Address already in use",
        "another process listens on its side channel's port",
        "run `pdconsole clean` for leftovers of ours, or move ports.side_channel of the cluster "
        "profile",
    ),
)


def stuck(log: str) -> Diagnosis | None:
    """Why a process that still runs will never answer."""
    return recognised(log_lines(log), _STUCK)


def diagnose(log: str, exit_code: int | None) -> Diagnosis:
    """The likeliest cause of the end of a process that logged `log` (its tail)."""
    lines = log_lines(log)
    cause = recognised(lines, _KNOWN)
    if cause is not None:
        return cause
    telling = [line for line in lines if _ERROR_LINE.search(line)]
    causes = [line for line in telling if not _ECHO.search(line)] or telling
    if exit_code == -9:
        return Diagnosis(KILLED, KILLED_ADVICE)
    line = causes[-1] if causes else (lines[-1] if lines else "")
    return Diagnosis("", "", line)
