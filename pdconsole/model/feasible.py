"""Which layouts are possible: the rules of a vLLM version, and every layout that fits a grid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from pdconsole.model.layout import Layout, ReplicaGroup, Role

# How large prefill TP may be where it exceeds decode TP.
PrefillLimit = Literal["decode-tp", "below-kv-heads", "kv-heads"]

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})", re.IGNORECASE)

# From which vLLM version on which limit holds. Read in the handshake checks of the NIXL connector
# of vLLM 0.11 to 0.32: vllm#27274 lifted "Decode TP cannot be smaller than prefill TP" in 0.14,
# where prefill ranks counted as replicated from TP == KV heads on; since 0.20 only beyond that.
_LIMITS: tuple[tuple[tuple[int, int], PrefillLimit], ...] = (
    ((0, 11), "decode-tp"),
    ((0, 14), "below-kv-heads"),
    ((0, 20), "kv-heads"),
)


class VllmRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which prefill and decode TP of one vLLM version can pass KV to each other."""

    version: str
    prefill_limit: PrefillLimit
    note: str = ""  # why these rules, where the version does not tell

    def refusal(self, prefill_tp: int, decode_tp: int, kv_heads: int | None) -> str | None:
        """Why the pair cannot work, as a clause for people; None if it can.

        `kv_heads` is the model's number of KV heads; None for a model whose KV is not split by
        heads (multi-head latent attention).
        """
        if prefill_tp > decode_tp and self.prefill_limit == "decode-tp":
            return (
                f"prefill TP{prefill_tp} is larger than decode TP{decode_tp}, "
                f"which vLLM {self.version} refuses (0.14 and later may)"
            )
        large, small = max(prefill_tp, decode_tp), min(prefill_tp, decode_tp)
        if large % small:
            return f"TP{large} is not a multiple of TP{small}"
        if prefill_tp <= decode_tp or kv_heads is None:
            return None
        if prefill_tp > kv_heads:
            return f"prefill TP{prefill_tp} is larger than the model's {kv_heads} KV heads"
        if prefill_tp == kv_heads and self.prefill_limit == "below-kv-heads":
            return (
                f"prefill TP{prefill_tp} is not below the model's {kv_heads} KV heads, "
                f"which vLLM {self.version} asks for (0.20 and later do not)"
            )
        return None

    def layout_refusal(self, layout: Layout, kv_heads: int | None) -> str | None:
        """Why some prefill replica of the layout cannot pass KV to some decode replica."""
        pairs = ((p.tp, d.tp) for p in layout.of("prefill") for d in layout.of("decode"))
        reasons = (self.refusal(p, d, kv_heads) for p, d in pairs)
        return next((reason for reason in reasons if reason), None)


def rules_for(version: str) -> VllmRules:
    """The rules of a vLLM version such as `0.11.0` or `0.32.0+cpu`.

    A version that cannot be read (`auto`) gets the newest rules and one before the oldest known
    gets the oldest; `note` says so.
    """
    match = _VERSION.match(version.strip())
    if match is None:
        note = f"vLLM version {version!r} is not a known one; the rules of the newest are used"
        return VllmRules(version=version, prefill_limit=_LIMITS[-1][1], note=note)
    number = (int(match[1]), int(match[2]))
    known = [limit for since, limit in _LIMITS if since <= number]
    if known:
        return VllmRules(version=version, prefill_limit=known[-1])
    note = f"vLLM {version} is older than 0.11; the rules of 0.11 are used"
    return VllmRules(version=version, prefill_limit=_LIMITS[0][1], note=note)


def feasible(
    nodes: int,
    gpus_per_node: int,
    tp_degrees: Iterable[int],
    rules: VllmRules,
    kv_heads: int | None,
    *,
    pd: bool = True,
    collocated: bool = True,
    ep: bool = False,
    gpus: int | None = None,
) -> Iterator[Layout]:
    """Every layout of equal replicas per role that fits `nodes` x `gpus_per_node` GPUs.

    No replica spans nodes, so TP degrees above `gpus_per_node` give none. `ep` adds, for TP above
    1, the variants whose experts are split over the TP group. `gpus` keeps the layouts of exactly
    that many GPUs. Collocated layouts come first, then by prefill TP, decode TP and counts.
    """
    degrees = sorted({tp for tp in tp_degrees if 1 <= tp <= gpus_per_node})
    sizes = [
        (tp, split) for tp in degrees for split in ((False, True) if ep and tp > 1 else (False,))
    ]
    if collocated:
        for tp, split in sizes:
            for count in _counts(nodes * (gpus_per_node // tp), tp, gpus):
                yield Layout((ReplicaGroup("collocated", count, tp, split),))
    if pd:
        for prefill in sizes:
            for decode in sizes:
                if rules.refusal(prefill[0], decode[0], kv_heads) is None:
                    yield from _pairs(nodes, gpus_per_node, prefill, decode, gpus)


def _pairs(
    nodes: int,
    gpus_per_node: int,
    prefill: tuple[int, bool],
    decode: tuple[int, bool],
    gpus: int | None,
) -> Iterator[Layout]:
    most = nodes * (gpus_per_node // prefill[0])
    decodes = _groups("decode", nodes * (gpus_per_node // decode[0]), decode)
    for p in _groups("prefill", most, prefill):
        room = _most_beside(nodes, gpus_per_node, p.count, p.tp, decode[0])
        for count in _counts(room, decode[0], None if gpus is None else gpus - p.gpus):
            yield Layout((p, decodes[count - 1]))


def _most_beside(nodes: int, gpus_per_node: int, count: int, tp: int, other_tp: int) -> int:
    """How many replicas of `other_tp` fit beside `count` of `tp`, none across nodes.

    One TP divides the other. `count` must fit by itself.
    """
    if tp >= other_tp:
        # A large replica takes the place of tp/other_tp small ones wherever it stands.
        return nodes * (gpus_per_node // other_tp) - count * (tp // other_tp)
    # The small ones fill nodes one after another, and first what the large ones leave over.
    large = gpus_per_node // other_tp
    over = nodes * (gpus_per_node // tp - large * (other_tp // tp))
    displaced = -(-max(0, count - over) // (other_tp // tp))
    return nodes * large - displaced


def _groups(role: Role, most: int, size: tuple[int, bool]) -> list[ReplicaGroup]:
    return [ReplicaGroup(role, count, *size) for count in range(1, most + 1)]


def _counts(most: int, tp: int, gpus: int | None) -> Iterable[int]:
    """1 to `most`, or only the one count that makes exactly `gpus` GPUs."""
    if gpus is None:
        return range(1, most + 1)
    count, rest = divmod(gpus, tp)
    return (count,) if not rest and 1 <= count <= most else ()
