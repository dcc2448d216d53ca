"""A grid of GPUs alone in an app, with what it tells, and the surveys it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.filter import LineFilter
from textual.pilot import Pilot

from pdconsole.model.feasible import rules_for
from pdconsole.model.grid import Slot
from pdconsole.model.survey import Survey, SurveyGpu, SurveyNode
from pdconsole.ui import theme
from pdconsole.ui.grid_view import grid_of, grid_view
from pdconsole.ui.placing import Placing
from pdconsole.ui.plain_characters import AsciiFilter
from pdconsole.ui.widgets.gpu_grid import GpuGrid


def a_survey(nodes: int = 2, gpus: int = 8, *, others: Sequence[Slot] = ()) -> Survey:
    """Nodes `node1`, `node2`, ...; GPU i is i x 10 % busy, except those of others."""

    def gpu(node: str, index: int) -> SurveyGpu:
        theirs = Slot(node, index) in others
        return SurveyGpu(
            index=index,
            name="NVIDIA H100 80GB HBM3",
            memory_mib=81920,
            owner="others" if theirs else "free",
            holder="pid 77 of alice" if theirs else "",
            util_pct=100.0 if theirs else index * 10.0,
            memory_used_mib=72704.0 if theirs else 1024.0,
            temperature_c=61.0,
        )

    names = [f"node{n}" for n in range(1, nodes + 1)]
    return Survey(
        cluster="p5",
        simulated=False,
        fabric="efa",
        nodes=tuple(
            SurveyNode(name=n, link="up", gpus=tuple(gpu(n, i) for i in range(gpus))) for n in names
        ),
    )


class GridApp(App[None]):
    """Its own keys are digits, as the console's are."""

    BINDINGS: ClassVar = [(str(n), f"screen({n})") for n in range(1, 8)]

    def __init__(self, survey: Survey, *, ascii_only: bool = False) -> None:
        super().__init__()
        self.animation_level = "none"
        self.survey = survey
        self.ascii_only = ascii_only
        self.told: list[str] = []
        self.screens_asked: list[int] = []
        for palette in theme.PALETTES:
            self.register_theme(theme.textual_theme(palette))
        self.theme = theme.DEFAULT

    def compose(self) -> ComposeResult:
        yield GpuGrid(id="gpus")

    def on_mount(self) -> None:
        grid = self.query_one(GpuGrid)
        grid.judge(rules_for("0.11.0"), 8)
        grid.show(grid_view(self.survey), Placing.on(grid_of(self.survey)))
        grid.focus()

    def action_screen(self, number: int) -> None:
        self.screens_asked.append(number)

    @on(GpuGrid.Changed)
    def changed(self, event: GpuGrid.Changed) -> None:
        self.told.append("changed")

    @on(GpuGrid.Moved)
    def moved(self, event: GpuGrid.Moved) -> None:
        self.told.append(f"moved {event.slot}")

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [*filters, AsciiFilter()] if self.ascii_only else filters


class GridCase:
    def __init__(self, app: GridApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot
        self.grid = app.query_one(GpuGrid)

    @property
    def placing(self) -> Placing:
        return self.grid.placing

    @property
    def placed(self) -> str:
        """As a manual placement writes it."""
        return " ".join(
            f"{a.replica}={a.node}:{','.join(str(s.index) for s in a.slots)}"
            for a in self.placing.assignments
        )

    async def press(self, keys: str) -> None:
        await self.pilot.press(*keys.split())
        await self.pilot.pause()

    def place_of(self, node: int, index: int) -> tuple[int, int]:
        """Where a slot is drawn, in the widget."""
        at = self.grid.arrangement
        x, _ = at.corner(node)
        top, _ = at.slot_lines(node, index)
        column = x + at.slots_left + index % at.per_line * at.cell + at.cell // 2
        return column, top - self.grid.scroll_offset.y

    async def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """From a (node, slot) to another."""
        await self.pilot.mouse_down("#gpus", offset=self.place_of(*start))
        await self.pilot.hover("#gpus", offset=self.place_of(*end))
        await self.pilot.mouse_up("#gpus", offset=self.place_of(*end))
        await self.pilot.pause()

    async def click(self, node: int, index: int, **more: Any) -> None:
        await self.pilot.click("#gpus", offset=self.place_of(node, index), **more)
        await self.pilot.pause()

    @property
    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        if self.app.ascii_only:
            from textual.color import Color

            strips = [s.apply_filter(AsciiFilter(), Color(0, 0, 0)) for s in strips]
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@asynccontextmanager
async def opened_grid(
    survey: Survey | None = None, *, size: tuple[int, int] = (100, 24), ascii_only: bool = False
) -> AsyncIterator[GridCase]:
    app = GridApp(survey or a_survey(), ascii_only=ascii_only)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield GridCase(app, pilot)
