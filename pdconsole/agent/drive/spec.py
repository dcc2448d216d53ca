"""What to send and how to measure it, as the spec file says: read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from pdconsole.agent.drive.target import DriveError

PROTOCOL = 1
MODES = ("mixed", "prefill-only", "decode-only")


@dataclass(frozen=True)
class Pairs:
    """Replicas to introduce to each other before the warm-up: name -> base URL."""

    prefill: Mapping[str, str]
    decode: Mapping[str, str]
    input_len: int = 64


@dataclass(frozen=True)
class DriveSpec:
    """One point. Lengths are tokens, times seconds; `value` is requests in flight or a second."""

    urls: Tuple[str, ...]
    model: str
    kind: str  # concurrency | request_rate
    value: float
    input_len: int
    output_len: int
    vocab: Tuple[int, int]
    seed: str
    gaps: Path
    mode: str = "mixed"
    prime: bool = True  # decode-only: fill prefix caches first, and send those prompts again
    window: str = "steady"
    warmup_requests: int = 0
    warmup_s: float = 0.0
    window_requests: int = 1
    min_window_s: float = 0.0
    max_window_s: float = 600.0
    drain_timeout_s: float = 120.0
    timeout_s: float = 600.0
    until_relative_ci: Optional[float] = None
    warm_pairs: Optional[Pairs] = None
    replicas: Mapping[str, str] = field(default_factory=dict)  # "host:port" -> name

    @property
    def concurrency(self) -> int:
        """Requests in flight of a closed loop; 0 for an open one."""
        return int(self.value) if self.kind == "concurrency" else 0

    @property
    def fills_caches(self) -> bool:
        return self.mode == "decode-only" and self.prime

    @property
    def max_tokens(self) -> int:
        return 1 if self.mode == "prefill-only" else self.output_len


def read_spec(path: Path) -> DriveSpec:
    """The spec in `path`. Raises DriveError naming the file and the field that does not fit."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DriveError(f"cannot read the load driver's spec {path}: {error}") from None
    try:
        return parse_spec(raw, path.parent)
    except DriveError as error:
        raise DriveError(f"{path}: {error}") from None


def parse_spec(raw: Any, directory: Path) -> DriveSpec:
    """The spec that `raw` (parsed JSON) holds; a relative `gaps` is taken from `directory`."""
    if not isinstance(raw, dict):
        raise DriveError("the spec is not a JSON object")
    if raw.get("protocol") != PROTOCOL:
        raise DriveError(
            f"protocol is {raw.get('protocol')!r}, this load driver speaks {PROTOCOL}: "
            "the agent on this node is of another pdconsole version"
        )
    load = raw.get("load")
    if not isinstance(load, dict):
        raise DriveError('load is missing: {"kind": "concurrency", "value": 16}')
    values: Dict[str, Any] = {
        name: raw[name]
        for name in (each.name for each in fields(DriveSpec))
        if raw.get(name) is not None
    }
    values["kind"], values["value"] = load.get("kind"), load.get("value")
    values["urls"] = tuple(raw.get("urls") or [raw.get("url")])
    values["vocab"] = tuple(raw.get("vocab") or ())
    values["replicas"] = raw.get("replicas") or {}
    gaps = str(raw.get("gaps") or "gaps.bin").replace("@dir@", str(directory))
    values["gaps"] = directory / gaps
    pairs = raw.get("warm_pairs")
    values["warm_pairs"] = None if pairs is None else _parse_pairs(pairs)
    try:
        spec = DriveSpec(**values)
    except TypeError:
        needed = ("model", "input_len", "output_len", "seed")
        missing = [name for name in needed if raw.get(name) is None]
        raise DriveError(f"missing: {', '.join(missing)}") from None
    _check(spec)
    return spec


def _parse_pairs(raw: Any) -> Pairs:
    try:
        return Pairs(dict(raw["prefill"]), dict(raw["decode"]), int(raw.get("input_len", 64)))
    except (KeyError, TypeError, ValueError):
        raise DriveError("warm_pairs needs prefill and decode, each {name: URL}") from None


def _check(spec: DriveSpec) -> None:
    whole = ("input_len", "output_len", "warmup_requests", "window_requests")
    seconds = ("warmup_s", "min_window_s", "max_window_s", "drain_timeout_s", "timeout_s")
    for name in whole + seconds + ("value",):
        number = getattr(spec, name)
        kinds = (int,) if name in whole else (int, float)
        if not isinstance(number, kinds) or isinstance(number, bool) or number < 0:
            raise DriveError(f"{name} is {number!r}, not a number of at least 0")
    rules = (
        (all(isinstance(url, str) for url in spec.urls), "url is missing"),
        (isinstance(spec.model, str), "model is not a name"),
        (isinstance(spec.seed, str), "seed is not a text"),
        (isinstance(spec.prime, bool), f"prime is {spec.prime!r}, not true or false"),
        (spec.mode in MODES, f"mode is {spec.mode!r}, not one of {', '.join(MODES)}"),
        (spec.window in ("steady", "whole"), f"window is {spec.window!r}, not steady or whole"),
        (
            spec.kind in ("concurrency", "request_rate"),
            f"load kind is {spec.kind!r}, not concurrency or request_rate",
        ),
        (
            spec.concurrency == spec.value >= 1 or (spec.kind == "request_rate" and spec.value > 0),
            f"load value is {spec.value!r}, not a whole concurrency or a positive rate",
        ),
        (spec.input_len >= 1 and spec.output_len >= 1, "input_len and output_len start at 1"),
        (spec.window_requests >= 1, "window_requests starts at 1"),
        (
            len(spec.vocab) == 2
            and all(isinstance(token, int) for token in spec.vocab)
            and 0 <= spec.vocab[0] < spec.vocab[1],
            f"vocab is {list(spec.vocab)}, not [first id, last id]",
        ),
    )
    for holds, complaint in rules:
        if not holds:
            raise DriveError(complaint)
