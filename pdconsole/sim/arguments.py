"""The command line of the simulated worker: that of `vllm serve`."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from typing import NoReturn

import msgspec

VERSION = "0.33.0+simulated"
NIXL_CONNECTOR_VERSION = 2

DEFAULT_MAX_MODEL_LEN = 131_072


class ArgumentError(Exception):
    """A command line that `vllm` would refuse; the message says why."""


class ConnectorExtra(msgspec.Struct, frozen=True):
    kv_lease_duration: float | None = None


class KvTransferConfig(msgspec.Struct, frozen=True):
    kv_connector: str = ""
    kv_role: str = ""
    engine_id: str | None = None
    kv_load_failure_policy: str = "fail"
    kv_connector_extra_config: ConnectorExtra = ConnectorExtra()


class ServeArguments(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    tp: int
    max_model_len: int
    max_seqs: int | None
    token_budget: int | None
    gpu_blocks: int | None
    gpu_memory_utilization: float
    prefix_caching: bool
    hybrid_kv: bool
    per_request_metrics: bool
    dtype: str
    kv_cache_dtype: str
    kv_transfer: KvTransferConfig | None
    unknown: tuple[str, ...]

    @property
    def compatibility(self) -> str:
        """Hash of what a prefill and a decode replica must have in common."""
        common = (
            VERSION,
            NIXL_CONNECTOR_VERSION,
            self.model,
            self.dtype,
            self.kv_cache_dtype,
            self.hybrid_kv,
        )
        return hashlib.sha256(repr(common).encode()).hexdigest()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ArgumentError(message)


def parse_serve(argv: Sequence[str]) -> ServeArguments:
    """The arguments after `serve`. Flags that the simulation has no use for come in `unknown`.

    Raises ArgumentError.
    """
    parser = _parser()
    known, rest = parser.parse_known_args([_dashed(word) for word in argv])
    model = known.model_flag or known.model
    if not model:
        raise ArgumentError("which model? `vllm serve MODEL` names it")
    transfer = _kv_transfer(known.kv_transfer_config)
    hybrid = known.hybrid_kv
    return ServeArguments(
        model=model,
        served_names=tuple(known.served_model_name or [model]),
        host=known.host,
        port=known.port,
        tp=known.tensor_parallel_size,
        max_model_len=known.max_model_len,
        max_seqs=known.max_num_seqs,
        token_budget=known.max_num_batched_tokens,
        gpu_blocks=known.num_gpu_blocks_override,
        gpu_memory_utilization=known.gpu_memory_utilization,
        prefix_caching=known.enable_prefix_caching,
        hybrid_kv=hybrid if hybrid is not None else transfer is None,
        per_request_metrics=known.enable_per_request_metrics,
        dtype=known.dtype,
        kv_cache_dtype=known.kv_cache_dtype,
        kv_transfer=transfer,
        unknown=tuple(rest),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vllm serve", allow_abbrev=False)
    add = parser.add_argument
    add("model", nargs="?")
    add("--model", dest="model_flag")
    add("--served-model-name", nargs="+")
    add("--host", default="127.0.0.1")  # vLLM's own default is every interface
    add("--port", type=int, default=8000)
    add("--tensor-parallel-size", "-tp", type=int, default=1)
    add("--max-model-len", type=int, default=DEFAULT_MAX_MODEL_LEN)
    add("--max-num-seqs", type=int)
    add("--max-num-batched-tokens", type=int)
    add("--num-gpu-blocks-override", type=int)
    add("--gpu-memory-utilization", type=float, default=0.9)
    add("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True)
    add("--disable-hybrid-kv-cache-manager", dest="hybrid_kv", action="store_false", default=None)
    add("--no-disable-hybrid-kv-cache-manager", dest="hybrid_kv", action="store_true")
    add("--enable-per-request-metrics", action=argparse.BooleanOptionalAction, default=False)
    add("--dtype", default="auto")
    add("--kv-cache-dtype", default="auto")
    add("--kv-transfer-config")
    # Accepted and of no consequence here.
    for flag in ("--enable-expert-parallel", "--enforce-eager", "--trust-remote-code"):
        add(flag, action="store_true")
    for flag in ("--enable-chunked-prefill", "--enable-log-requests", "--async-scheduling"):
        add(flag, action=argparse.BooleanOptionalAction)
    for flag in ("--disable-log-requests", "--disable-uvicorn-access-log"):
        add(flag, action="store_true")
    for flag in ("--load-format", "--tokenizer", "--seed", "--uvicorn-log-level", "--block-size"):
        add(flag)
    return parser


def _dashed(word: str) -> str:
    """vLLM takes underscores in the names of flags too."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _kv_transfer(text: str | None) -> KvTransferConfig | None:
    if text is None:
        return None
    try:
        config = msgspec.json.decode(text, type=KvTransferConfig)
    except msgspec.DecodeError as error:
        raise ArgumentError(f"--kv-transfer-config: {error}") from error
    if config.kv_connector != "NixlConnector":
        raise ArgumentError(
            f"--kv-transfer-config: kv_connector {config.kv_connector!r} is not simulated"
            " (NixlConnector is)"
        )
    if config.kv_role not in ("kv_producer", "kv_consumer", "kv_both"):
        raise ArgumentError(f"--kv-transfer-config: kv_role {config.kv_role!r} is unknown")
    if config.kv_load_failure_policy not in ("fail", "recompute"):
        raise ArgumentError(
            f"--kv-transfer-config: kv_load_failure_policy {config.kv_load_failure_policy!r} is"
            " neither fail nor recompute"
        )
    return config
