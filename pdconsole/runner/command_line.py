"""The command line that asks for what a request asks for, for the record."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pdconsole.model.request import PlacedLayout, RunRequest


def command_line(request: RunRequest) -> str:
    return shlex.join(("pdconsole", "run", request.experiment, *_options(request)))


def _options(request: RunRequest) -> Iterator[str]:
    for name in ("cluster", "model", "workload", "network", "placement"):
        value = getattr(request, name)
        if value is not None and not (name == "placement" and request.placed):
            yield f"--{name}={value}"
    for layout in () if request.placed else request.layouts:
        yield f"--layout={layout}"
    for placed in request.placed:
        if placed.strategy == "manual":
            yield f"--manual={placed.manual}"
        else:
            yield f"--layout={placed.layout}@{placed.strategy}"
    for concurrency in request.concurrency:
        yield f"--concurrency={concurrency}"
    for rate in request.request_rate:
        yield f"--request-rate={rate:g}"
    if request.min_window_s is not None:
        yield f"--min-window={request.min_window_s:g}"
    for name in ("quick", "with_optional", "ignore_checks", "no_validate"):
        if getattr(request, name):
            yield f"--{name.replace('_', '-')}"


def placed_layouts(
    texts: tuple[str, ...], default: str | None, *, always: bool = False
) -> tuple[PlacedLayout, ...]:
    """What layouts in words say, if any of it says where: `LAYOUT@spread`, `P1=a:0,1`.

    Empty when all are plain layouts, unless `always`; those go as `default` says. Raises
    ValueError for a strategy that there is not.
    """
    if not always and not any("@" in text or "=" in text for text in texts):
        return ()
    return tuple(_placed(text, default) for text in texts)


def _placed(text: str, default: str | None) -> PlacedLayout:
    if "=" in text:
        return PlacedLayout(strategy="manual", manual=text)
    layout, at, strategy = text.partition("@")
    strategy = strategy.strip().lower() if at else (default or "pack")
    if strategy == "pack":
        return PlacedLayout(layout=layout.strip(), strategy="pack")
    if strategy == "spread":
        return PlacedLayout(layout=layout.strip(), strategy="spread")
    raise ValueError(f"{text}: write pack or spread after the @")
