"""What lies around the engine: the server's way in, and its streaming out.

Requests enter one after another (part of the work) and side by side (the rest). Tokens leave
through one stream that serves all of a server's clients in turn, so it has a ceiling of its own.
"""

from __future__ import annotations

from pdconsole.sim.constants import EngineConstants


class Ingress:
    """The way from a request's arrival to the scheduler of one replica; seconds."""

    def __init__(self, engine: EngineConstants) -> None:
        self._engine = engine
        self._free_at = 0.0

    def enter(self, now: float, prompt_tokens: int) -> float:
        """When the scheduler sees a request that arrived now."""
        engine = self._engine
        serial = engine.ingress_ms * 1e-3 + engine.ingress_us_per_token * 1e-6 * prompt_tokens
        self._free_at = max(self._free_at, now) + serial
        return self._free_at + engine.ingress_parallel_us_per_token * 1e-6 * prompt_tokens

    def enter_decode(self, now: float) -> float:
        """The same where a prefill replica has already read the prompt in."""
        return now + self._engine.pd_hop_ms * 1e-3


class TokenStream:
    """The way of tokens from the engine to their clients; seconds."""

    def __init__(self, engine: EngineConstants, *, connector: bool) -> None:
        per_token_ms = (
            engine.stream_ms_per_token_pd if connector else engine.stream_ms_per_token_collocated
        )
        self._per_token_s = per_token_ms * 1e-3
        self._egress_s = engine.egress_ms * 1e-3
        self._free_at = 0.0

    def leave(self, made: float, tokens: int) -> float:
        """When clients get these tokens, made together by one step."""
        self._free_at = max(self._free_at, made) + tokens * self._per_token_s
        return self._free_at + self._egress_s
