"""What the load driver is told: where to send, what, how much, and what counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pdconsole.measure.deployment import Process
from pdconsole.model.workload import MeasurePolicy, Point, Workload

COMPLETIONS = "/v1/completions"
WARM_INPUT_LEN = 64  # more than one block, so that KV really moves
REQUEST_TIMEOUT_S = 600.0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a point loads. `urls` are bases; more than one are taken in turn."""

    urls: tuple[str, ...]
    workers: tuple[str, ...]  # the replicas that get the load
    warm_pairs: bool = False
    by_prefix_cache: bool = False
    made_up_kv: bool = False


def target_of(
    workload: Workload,
    workers: Sequence[Process],
    router_url: str,
    *,
    made_up_kv: bool = False,
    by_ray: bool = False,
) -> Target:
    """Whom to load in this mode.

    mixed: all, through the router. prefill-only: the prefill replicas alone, past the router;
    collocated ones through it. decode-only: the replicas that decode, past the router. They have
    `made_up_kv`, or they answer from a full prefix cache, where a prompt must meet the one that
    was primed with it. `by_ray`: replicas have no ports of their own, and of a mode that loads one
    role alone no others are deployed, so that all goes through Serve.
    """
    by_role = {
        role: [worker for worker in workers if worker.role == role]
        for role in ("prefill", "decode", "collocated")
    }
    is_pd = bool(by_role["prefill"])
    direct: tuple[str, ...] = ()
    if workload.mode == "mixed":
        loaded = [*by_role["prefill"], *by_role["decode"], *by_role["collocated"]]
    elif workload.mode == "prefill-only":
        loaded = by_role["prefill"] or by_role["collocated"]
        direct = tuple(worker.url for worker in loaded) if is_pd else ()
    else:
        loaded = by_role["decode"] or by_role["collocated"]
        direct = tuple(worker.url for worker in loaded)
    return Target(
        urls=(() if by_ray else direct) or (router_url,),
        workers=tuple(worker.name for worker in loaded),
        warm_pairs=is_pd and workload.mode == "mixed",
        by_prefix_cache=workload.mode == "decode-only" and not made_up_kv,
        made_up_kv=workload.mode == "decode-only" and made_up_kv,
    )


def prompt_seed(seed: str, point: Point, attempt: int, workload: Workload) -> str:
    """The seed of a point's prompts: the same for every layout, another at every point.

    Where the workload asks for `fixed` prompts it is one for all points, as the field's older
    data have it: later points then meet prompts that are cached.
    """
    if workload.prompts == "fixed":
        return f"{seed}/fixed"
    return f"{seed}/{point.id}/{attempt}"


def wanted_requests(policy: MeasurePolicy, point: Point) -> int:
    """The least number of finished requests of a window."""
    if point.kind == "concurrency":
        return max(1, policy.min_requests, math.ceil(policy.window_rounds * point.value))
    return max(1, policy.min_requests)


def warmup_requests(policy: MeasurePolicy, point: Point) -> int:
    """A closed loop's finished requests before its window opens: its rounds, and half a round.

    Requests that were sent together end in bunches that widen from round to round. A window from
    the end of one bunch to the end of a wider one is too long, its rates 1 to 3 % too low; from
    middle to middle it is right.
    """
    rounds = policy.warmup_rounds
    return math.ceil((rounds + 0.5) * point.value) if rounds else 0


def driver_spec(
    *,
    target: Target,
    workers: Sequence[Process],
    workload: Workload,
    point: Point,
    policy: MeasurePolicy,
    served_name: str,
    vocab: tuple[int, int],
    seed: str,
) -> dict[str, Any]:
    """The driver's spec.json."""
    warm: dict[str, Any] | None = None
    if target.warm_pairs:
        warm = {
            role: {worker.name: worker.url for worker in workers if worker.role == role}
            for role in ("prefill", "decode")
        } | {"input_len": WARM_INPUT_LEN}
    closed = point.kind == "concurrency"
    return {
        "protocol": 1,
        "url": target.urls[0] + COMPLETIONS,
        "urls": list(target.urls) if len(target.urls) > 1 else [],
        "model": served_name,
        "warm_pairs": warm,
        "replicas": {urlsplit(worker.url).netloc: worker.name for worker in workers},
        "load": {
            "kind": point.kind,
            "value": int(point.value) if closed else point.value,
        },
        "input_len": workload.input_len,
        "output_len": output_len(workload),
        "mode": workload.mode,
        "prime": target.by_prefix_cache,
        "prompts": workload.prompts,
        "vocab": list(vocab),
        "seed": seed,
        "window": policy.window,
        "warmup_requests": warmup_requests(policy, point) if closed else 0,
        "warmup_s": policy.warmup_s,
        "window_requests": wanted_requests(policy, point),
        "min_window_s": policy.min_window_s,
        "max_window_s": policy.max_window_s,
        "drain_timeout_s": policy.drain_timeout_s,
        "until_relative_ci": policy.until_relative_ci,
        "timeout_s": REQUEST_TIMEOUT_S,
        "gaps": "@dir@/gaps.bin",
    }


def output_len(workload: Workload) -> int:
    """Tokens to ask for: a prefill alone makes one."""
    return 1 if workload.mode == "prefill-only" else workload.output_len
