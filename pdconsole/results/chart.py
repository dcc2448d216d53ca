"""Throughput per GPU against latency, drawn in characters; one letter a series."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from pdconsole.results.reading import PointRow
from pdconsole.results.table import repeat_marks

HEIGHT = 20
WIDEST = 160


def throughput_chart(rows: Sequence[PointRow], width: int) -> str:
    """A chart of points that share a workload; "" when there is nothing to draw.

    Against median TPOT, or median TTFT for workloads without decoding. A series is one directory:
    a layout on a network and placement.
    """
    latency = "TPOT" if any(row.tpot_p50_ms is not None for row in rows) else "TTFT"
    series = _series(rows, latency)
    if not series:
        return ""
    import plotext as plt

    plt.clear_figure()
    plt.theme("clear")
    plt.limit_size(False, False)  # the width is given; there may be no terminal to ask
    plt.plot_size(min(width, WIDEST), HEIGHT)
    legend: list[str] = []
    for i, (label, points) in enumerate(series.items()):
        xs, ys = zip(*points, strict=True)
        letter = ascii_uppercase[i % len(ascii_uppercase)]
        plt.scatter(list(xs), list(ys), marker=letter)
        legend.append(f"{letter} {label}")
    plt.title(f"tok/s/GPU against median {latency}: up and to the left is better")
    plt.xlabel(f"median {latency}, ms")
    plt.ylabel("tok/s/GPU")
    text: str = plt.uncolorize(plt.build())
    plt.clear_figure()
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    # Below the chart: plotext would put it over the best points.
    return "\n".join([*lines, *legend])


def _series(rows: Sequence[PointRow], latency: str) -> dict[str, list[tuple[float, float]]]:
    """Label -> (median latency in ms, tok/s/GPU) of its points."""
    repeats = repeat_marks(rows)
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        x = row.tpot_p50_ms if latency == "TPOT" else row.ttft_p50_ms
        if x is not None and row.tokens_per_s_per_gpu is not None:
            label = _label(row, repeats.get(row.directory, ""))
            found.setdefault(label, []).append((x, row.tokens_per_s_per_gpu))
    return found


def _label(row: PointRow, repeat: str) -> str:
    parts = [row.layout + repeat, row.network, row.placement, "simulated" if row.simulated else ""]
    return " ".join(part for part in parts if part)
