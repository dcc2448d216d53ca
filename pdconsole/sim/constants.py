"""Constants of the simulated engine and link, as the worker reads them from its environment.

The values live in the model and network profiles; a worker gets them as JSON. They are decoded here
into plain structs, because importing the profiles (and pydantic) would cost each of many workers
a good part of a second on few cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

ENGINE_VARIABLE = "PDCONSOLE_SIM_ENGINE"
LINK_VARIABLE = "PDCONSOLE_SIM_LINK"


class ConstantsError(Exception):
    """Constants are missing or do not fit; the message names the variable."""


class TpConstants(msgspec.Struct, frozen=True, kw_only=True):
    """Step time of a replica at one tensor-parallel degree; see `EngineConstants.step_s`."""

    a_ms: float
    w_ms: float
    c_us_per_seq: float
    d_ns_per_token: float
    b_us_per_token: float
    q_ps_per_token2: float
    kv_tokens_pd: int
    kv_tokens_collocated: int


class EngineConstants(msgspec.Struct, frozen=True, kw_only=True):
    """The engine model's constants; names and units as in the model profile's `engine_model`."""

    tp: dict[int, TpConstants]
    saturation_tokens: float
    token_budget: int
    max_seqs: int
    admit_ms: float
    block_tokens: int
    kv_bytes_per_token: int
    ingress_ms: float
    ingress_us_per_token: float
    ingress_parallel_us_per_token: float
    egress_ms: float
    pd_hop_ms: float
    stream_ms_per_token_collocated: float
    stream_ms_per_token_pd: float
    unmerged_us_per_token: float
    unmerged_block_us_per_token: float
    handshake_blocking_share: float
    source: str = ""

    def for_tp(self, tp: int) -> TpConstants:
        """Raises ConstantsError for a degree that the profile has no constants for."""
        if tp not in self.tp:
            known = ", ".join(str(degree) for degree in sorted(self.tp))
            raise ConstantsError(
                f"the engine model has no constants for tensor-parallel size {tp} (it has {known}):"
                f" use one of these, or add {tp} to engine_model.tp in the model profile"
            )
        return self.tp[tp]


class LinkConstants(msgspec.Struct, frozen=True, kw_only=True):
    """A network's simulated link; names and units as in the network profile's `sim`."""

    gbps: float  # GB/s (1e9 bytes) of each rank pair
    latency_ms: float
    handshake_s: float
    unmerged_factor: float = 1.0
    unmerged_factor_equal_tp: float = 1.0


_T = TypeVar("_T", EngineConstants, LinkConstants)


def engine_from(env: Mapping[str, str]) -> EngineConstants:
    """The engine's constants in `env`. Raises ConstantsError."""
    return _decode(env, ENGINE_VARIABLE, EngineConstants, "the model profile's engine_model")


def link_from(env: Mapping[str, str]) -> LinkConstants:
    """The link's constants in `env`. Raises ConstantsError."""
    return _decode(env, LINK_VARIABLE, LinkConstants, "the network profile's sim")


def _decode(env: Mapping[str, str], name: str, kind: type[_T], origin: str) -> _T:
    text = env.get(name)
    if text is None:
        raise ConstantsError(f"{name} is not set: pass {origin} as JSON in it")
    try:
        # Keys of a JSON object are text: not strict, so that "2" becomes the degree 2.
        return msgspec.json.decode(text, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise ConstantsError(f"{name} does not hold {origin}: {error}") from error
