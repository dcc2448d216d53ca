"""What the names of result directories say, in ours and in the field's older notations.

gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d3xtp2_r2     ours
gptoss_itl5000_otl250_mixed_spread_tcp_p1xtp4-d1xtp4           older
gptoss_itl5000_otl250_mixed_baseline_4xtp2
gptoss_H200_itl5000_otl250_mixed_1xtp4-1xtp4-pack
gptoss_itl5000_otl250_1ptp2-3dtp2-packed-ucx
"""

from __future__ import annotations

import re

import msgspec

from pdconsole.model.layout import Layout, LayoutError, parse_layout

_GROUP = r"[pdc]?\d+(?:x|[pdc])tp(?:ep)?\d+(?:n\d+)?"
_LAYOUT = re.compile(rf"(?<![a-z0-9]){_GROUP}(?:[-+:]{_GROUP})*(?![a-z0-9])", re.I)
_LENGTHS = re.compile(r"itl(\d+)_otl(\d+)", re.I)
_MODE = re.compile(r"(?<![a-z])(mixed|prefill-only|decode-only)(?![a-z])", re.I)
_GPU = re.compile(r"(?<![a-z0-9])([abhl]\d{2,3}s?|gb\d{3}|mi\d{3}x?)(?![a-z0-9])", re.I)
_PLACEMENT = re.compile(r"(?<![a-z])(pack|spread|manual)(?:ed)?(?![a-z])", re.I)
_NETWORK = re.compile(r"(?<![a-z])(srd|tcp|shm|cuda-ipc|libfabric|ucx\d*)(?![a-z0-9])", re.I)


class NameFacts(msgspec.Struct, frozen=True):
    """What a name tells; None or "" where it does not."""

    layout: Layout | None = None
    input_len: int | None = None
    output_len: int | None = None
    mode: str = ""
    placement: str = ""
    network: str = ""
    gpu_model: str = ""
    title: str = ""  # what is before the lengths: the model's short name


def parse_name(name: str) -> NameFacts:
    """The facts in a directory's name. Never fails: a foreign name tells nothing."""
    lengths = _LENGTHS.search(name)
    title = name[: lengths.start()].strip("_-") if lengths else ""
    gpu = _GPU.search(title)
    rest = name[lengths.end() :] if lengths else name
    output_len = int(lengths[2]) if lengths else None
    mode = _found(_MODE, rest)
    if not mode and lengths:
        # Older names say by their lengths what is sent.
        mode = "prefill-only" if output_len == 1 else "mixed"
    return NameFacts(
        layout=_layout(rest),
        input_len=int(lengths[1]) if lengths else None,
        output_len=output_len,
        mode=mode,
        placement=_found(_PLACEMENT, rest),
        network=_found(_NETWORK, rest),
        gpu_model=gpu[1].upper() if gpu else "",
        title=_GPU.sub("", title).strip("_-"),
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1].lower() if match else ""


def _layout(text: str) -> Layout | None:
    match = _LAYOUT.search(text)
    if match is None:
        return None
    try:
        return parse_layout(match[0])
    except LayoutError:
        return None
