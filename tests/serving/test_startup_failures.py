"""Last words of real programs, and what they are taken to mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.serving.failures_at_work import complaint
from pdconsole.serving.log_words import log_lines
from pdconsole.serving.startup_failures import diagnose, stuck

CASES = {
    "vllm serve: error: unrecognized arguments: --enable-warp": "does not know the flag --enable-w",
    "vllm serve: error: argument --dtype: invalid choice: 'bf15'": "refuses the value of --dtype",
    "(Worker_TP0 pid=71) ERROR 01-02 03:04:09 [multiproc_executor.py:597] "
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB.": "GPU memory ran out",
    "ValueError: Free memory on device (3.1/79.1 GiB) on startup is less than desired GPU memory "
    "utilization (0.9, 71.2 GiB).": "somebody else is using it",
    "ValueError: No available memory for the cache blocks. Try increasing "
    "`gpu_memory_utilization` when initializing the engine.": "too little GPU memory for its KV",
    "OSError: [Errno 98] Address already in use": "another process listens",
    "zmq.error.ZMQError: Address already in use (addr='tcp://10.0.0.11:5600')": "another process",
    "RuntimeError: Address already in use (os error 98)": "another process listens",
    "OSError: openai/gpt-oss-12b is not a local folder and is not a valid model identifier listed "
    "on 'https://huggingface.co/models'": "there is no such model",
    "huggingface_hub.errors.GatedRepoError: 401 Client Error.": "the model is gated",
    "OSError: We couldn't connect to 'https://huggingface.co' to load it": "cannot reach the model",
    "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co: "
    "offline mode is enabled.": "cannot reach the model hub",
    "RuntimeError: NIXL is not available": "NIXL is not installed",
    "nixl_cu12._bindings.nixlNotFoundError: NIXL_ERR_NOT_FOUND": "NIXL cannot make its backend",
    "RuntimeError: No CUDA GPUs are available": "finds no usable GPU",
    "ModuleNotFoundError: No module named 'flashinfer'": "module flashinfer is missing",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
    "{'EngineCore': -9}": "the node's memory ran out",
    "(EngineCore pid=9) ERROR 01-02 03:04:05 [multiproc_executor.py:316] Worker proc VllmWorker-1 "
    "died unexpectedly (exit code: -9), shutting down executor.": "the node's memory ran out",
    "OSError: /models/x does not appear to have a file named config.json.": "is not complete",
    "RuntimeError: Cannot find any model weights with `/models/x`": "is not complete",
    "OSError: [Errno 28] No space left on device": "a disk of the node is full",
}


@pytest.mark.parametrize(("line", "meaning"), CASES.items())
def test_known_failures(line: str, meaning: str) -> None:
    log = f"INFO 01-02 03:04:05 [api_server.py:1839] vLLM API server version 0.33.0\n{line}\n"
    log += "RuntimeError: Engine core initialization failed. See root cause above.\n"
    cause = diagnose(log, 1)
    assert meaning in cause.what
    assert cause.advice
    assert cause.line in line


def test_an_unknown_failure_is_told_in_its_own_words_and_not_in_their_echo() -> None:
    log = """\
(EngineCore_0 pid=9) ERROR 01-02 03:04:05 [core.py:708] KeyError: 'layers.0.sinks'
(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. {}
"""
    cause = diagnose(log, 1)
    assert cause.what == ""
    assert cause.line == "KeyError: 'layers.0.sinks'"


def test_a_kill_without_words_points_at_the_nodes_memory() -> None:
    assert "memory ran out" in diagnose("INFO loading safetensors shards: 40%\n", -9).what


def test_an_empty_log_gives_no_cause() -> None:
    assert diagnose("", 1).line == ""


def test_colours_and_prefixes_are_not_shown() -> None:
    line = "\x1b[2m2026-01-02 03:04:05\x1b[0m \x1b[31mERROR\x1b[0m no worker is healthy\n\n"
    assert log_lines(line) == ("2026-01-02 03:04:05 ERROR no worker is healthy",)


# Logs of vLLM 0.32.0 with NIXL 1.5.1, shortened: frames of tracebacks are left out.
LOGS = Path(__file__).parent / "logs"
STARTS = {
    "start_model_missing": "there is no such model, neither on the hub nor as a path on the node",
    "start_model_not_on_hub": "it cannot reach the model hub and has no copy of the model",
    "start_port_taken": "another process listens on one of its ports",
    "stuck_side_channel_taken": "another process listens on one of its ports",
    "start_no_memory": "the node has too little free memory for the KV cache",
    "start_ucx_missing": "NIXL does not find the libraries of UCX",
    "start_no_ucx_transport": "NIXL cannot make its backend",
    "start_max_len": "the model does not go as far as its profile's max_model_len",
}
AT_WORK = {
    "work_hash_mismatch": ("do not fit together", "NIXL compatibility hash mismatch"),
    "work_prefill_gone": ("the prefill replica whose KV it wanted is gone", "REMOTE_DISCONNECT"),
    "work_kv_expired": ("KV expired on the prefill replica", "Potentially invalid KV blocks"),
}


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text()


@pytest.mark.parametrize(("name", "meaning"), STARTS.items())
def test_starts_that_really_failed(name: str, meaning: str) -> None:
    cause = diagnose(log(name), 1)
    assert meaning in cause.what
    assert cause.advice


def test_a_start_that_hangs_for_ever_is_recognised_while_it_runs() -> None:
    last_lines = "\n".join(log("stuck_side_channel_taken").splitlines()[-5:])
    cause = stuck(last_lines)
    assert cause is not None
    assert "side channel" in cause.what
    assert stuck(log("start_port_taken")) is None
    assert stuck(log("stop_by_term")) is None


@pytest.mark.parametrize(("name", "expected"), AT_WORK.items())
def test_what_replicas_complain_of_while_they_serve(name: str, expected: tuple[str, str]) -> None:
    said = complaint(log(name))
    assert said is not None
    what, line = expected
    assert what in said.what
    assert line in said.line


@pytest.mark.parametrize("name", ["stop_by_term", "stop_by_term_quiet"])
def test_what_a_replica_logs_because_it_was_told_to_end_is_no_complaint(name: str) -> None:
    assert complaint(log(name)) is None
    assert complaint(log("work_prefill_gone") + log(name)) == complaint(log("work_prefill_gone"))


def test_an_error_of_unknown_cause_is_quoted_without_its_traceback() -> None:
    error = "(Worker pid=7) ERROR 01-02 03:04:05 [runner.py:9]"
    said = complaint(
        f'{error} Traceback (most recent call last):\n{error}   File "x.py", line 1, in f\n'
        f"{error} KeyError: 'layers.0.sinks'\n"
        "(APIServer pid=1) ERROR 01-02 03:04:05 [serving.py:2] Request cmpl-1 failed with an "
        "internal error during generation\n"
    )
    assert said is not None
    assert (said.what, said.line) == ("", "KeyError: 'layers.0.sinks'")
    assert complaint("INFO 01-02 03:04:05 [x.py:1] all is well\n") is None
