"""Figures: what is drawn, in which formats, and labels that hide nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from a_row import a_row
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.slo import parse_slo
from pdconsole.results import Comparison, ResultError
from pdconsole.results.axes import Axes
from pdconsole.results.figure import _figure, write_figure
from pdconsole.results.figure_labels import Box, label_offsets

TWO = (
    a_row("4xtp2", 4, 5, 1000),
    a_row("4xtp2", 16, 8, 3000, flags={"ttft-tail": "why"}),
    a_row("2xtp4", 4, 6, 900, ci={"tpot_p50_ms": (5.8, 6.3)}),
    a_row("2xtp4", 16, 9, 3500),
)


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_a_figure_in_each_format(tmp_path: Path, suffix: str, begins: bytes) -> None:
    path = tmp_path / f"figure{suffix}"
    write_figure(Comparison(TWO), path)
    assert path.read_bytes().startswith(begins)


def test_the_same_svg_every_time(tmp_path: Path) -> None:
    one, other = tmp_path / "a.svg", tmp_path / "b.svg"
    write_figure(Comparison(TWO), one)
    write_figure(Comparison(TWO), other)
    assert one.read_bytes() == other.read_bytes()


def test_the_figure_says_what_the_table_does() -> None:
    comparison = Comparison(TWO, axes=Axes(slo=parse_slo("tpot<=7ms")))
    figure = _figure(comparison, comparison.panels)
    (part,) = figure.subfigs
    main, strip = part.axes
    assert main.get_ylabel() == "tok/s/GPU"
    assert strip.get_xlabel() == "median TPOT, ms"
    legend = [text.get_text() for text in part.legends[0].get_texts()]
    assert legend[:3] == ["4xtp2 srd pack ÷8 GPUs", "2xtp4 srd pack ÷8 GPUs", "frontier"]
    assert "flagged:\n  ttft-tail" in legend
    assert "bars: 95 % intervals" in legend
    texts = [text.get_text() for text in main.texts]
    assert texts.count("4") == 2
    assert texts.count("16") == 2
    assert "SLO 7 ms" in texts
    hollow = [line for line in main.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no point has a place"):
        write_figure(Comparison((a_row("?", 4, 5, 1000, gpus=None),)), tmp_path / "x.png")
    with pytest.raises(ResultError, match="cannot write"):
        write_figure(Comparison(TWO), tmp_path / "nowhere" / "x.png")


_places = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), max_size=25)


@given(_places)
def test_labels_hide_neither_points_nor_each_other(points: list[tuple[float, float]]) -> None:
    size = 6.5
    texts = [str(4 * i) for i in range(len(points))]
    offsets = label_offsets(points, texts, size)
    boxes: list[Box] = []
    for (x, y), text, offset in zip(points, texts, offsets, strict=True):
        if offset is None:
            continue
        cx, cy = x + offset[0], y + offset[1]
        width, height = 0.3 * size * len(text), 0.4 * size
        box = Box(cx - width, cy - height, cx + width, cy + height)
        assert not any(box.overlaps(other) for other in boxes)
        assert not any(box.left < px < box.right and box.bottom < py < box.top for px, py in points)
        boxes.append(box)


def test_a_long_title_stays_beside_the_legend() -> None:
    setting = {"model": "an/unusually-long-name-of-a-model", "gpu_model": "NVIDIA H100 80GB HBM3"}
    rows = (
        *(a_row("p1xtp2-d3xtp2", c, 5 + c / 8, 1000 + 50 * c, **setting) for c in (4, 16)),
        *(a_row("p1xtp2-d3xtp2", c, 5, 900, placement="manual-and-long", **setting) for c in (4,)),
        a_row("4xtp2", 4, 5, 1000),
    )
    comparison = Comparison(rows)
    figure = _figure(comparison, comparison.panels)
    for part in figure.subfigs:
        (legend,) = part.legends
        left = legend.get_window_extent().x0
        title = part.axes[0]._left_title
        assert title.get_window_extent().x1 <= left, title.get_text()


def test_simulated_is_told_once() -> None:
    rows = (
        a_row("4xtp2", 4, 5, 1000, simulated=True, gpu_model="H100 (simulated)"),
        a_row("4xtp2", 4, 5, 1000),
    )
    comparison = Comparison(rows)
    assert [comparison.heading(panel) for panel in comparison.panels] == [
        "itl5000 otl250 mixed, GPU not named",
        "itl5000 otl250 mixed on H100: all simulated",
    ]
