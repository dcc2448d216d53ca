"""A layout to be added to the session that runs: which one, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from pdconsole.model.layout import LayoutError, parse_layout
from pdconsole.model.placement import MANUAL_FORM, Strategy
from pdconsole.model.request import Call, PlacedLayout, Reply, RunRequest
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import counted, printable
from pdconsole.ui.screens.modal import LEAVE_PROMPT, Modal
from pdconsole.ui.touched import gpus_text

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp

FORMS = "4P-TP2+2D-TP4   p4xtp2-d2xtp4   8xTP1   and any other notation of a layout"
WHERE = f"pack   spread   or   {MANUAL_FORM}"


def read_placed(layout: str, where: str) -> PlacedLayout | None:
    """None where nothing is written yet. Raises LayoutError where the notation is none.

    A placement by hand says itself which layout it is of.
    """
    text, where = layout.strip(), where.strip()
    slug = parse_layout(text).slug if text else ""
    if where.casefold() in ("", "pack", "spread"):
        strategy = cast("Strategy", where.casefold() or "pack")
        return PlacedLayout(layout=slug, strategy=strategy) if slug else None
    return PlacedLayout(layout=slug, strategy="manual", manual=where)


class AddLayout(Modal[PlacedLayout | None]):
    """Gives back what is to be added, or None. Where it would go is asked while it is typed."""

    DEFAULT_CSS = """
    AddLayout > Vertical {
        width: 76; max-width: 96%; height: auto; background: $surface; padding: 1 2;
        border: round $role-accent; border-title-color: $role-accent;
    }
    AddLayout Input, AddLayout Input:focus {
        border: none; height: 1; padding: 0 1; background: $panel; margin-bottom: 1;
    }
    AddLayout Input:focus { background: $row-cursor; }
    AddLayout Static { height: auto; color: $role-muted; }
    AddLayout #add-said { color: $role-text; margin: 0 0 1 0; }
    AddLayout #add-said.-bad { color: $role-fail; }
    """
    ACTIONS: ClassVar = (
        LEAVE_PROMPT,
        Action("adding.down", "Down", "The other line", ("down",), "adding", hint=False),
        Action("adding.up", "Up", "The other line", ("up",), "adding", hint=False),
    )

    def __init__(self, request: RunRequest, session: str) -> None:
        super().__init__()
        self._request = request
        self._session = session
        self._fits: PlacedLayout | None = None  # what the runner has found room for
        self._wanted: PlacedLayout | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Add a layout to {self._session}"
            yield Static("layout")
            yield Input(placeholder="2P-TP2+1D-TP4", id="add-layout")
            yield Static("where")
            yield Input(placeholder="pack", id="add-where")
            yield Static(FORMS, id="add-said", markup=False)
            yield Static(
                f"enter adds it at the end of the plan   tab other line   {self.keys_line()}"
            )

    def on_mount(self) -> None:
        for box in self.query(Input):
            box.cursor_blink = False
        self.query_one("#add-layout", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()

    def on_descendant_focus(self) -> None:
        if self._wanted is None:
            self._look()

    def _look(self) -> None:
        layout, where = (self.query_one(i, Input).value for i in ("#add-layout", "#add-where"))
        self._fits = None
        try:
            wanted = self._wanted = read_placed(layout, where)
        except LayoutError as e:
            self._wanted = None
            self._say(str(e), bad=True)
            return
        if wanted is None:
            self._say(WHERE if self.query_one("#add-where").has_focus else FORMS)
            return
        self._say("looking for room…")
        console = cast("ConsoleApp", self.app)
        console.runner.ask(
            Call(command="plan", run=msgspec.structs.replace(self._request, placed=(wanted,))),
            lambda reply: self._planned(wanted, reply),
            lambda problem: self._refused(wanted, problem),
            topic="add-layout",
        )

    def _planned(self, wanted: PlacedLayout, reply: Reply) -> None:
        if wanted is not self._wanted or not self.is_mounted:
            return  # an answer to what was typed before
        if reply.plan is None or not reply.plan.runs:
            self._refused(wanted, "the runner does not say where it would go")
            return
        run = reply.plan.runs[0]
        refused = next((launch.refused for launch in reply.launches if launch.refused), "")
        if refused:
            self._refused(wanted, refused)
            return
        self._fits = wanted
        where = f"{gpus_text(run.placement.slots)}: {run.placement}"
        self._say(f"{run.placement.layout} takes {where}; {counted(len(run.points), 'point')}")

    def _refused(self, wanted: PlacedLayout, problem: str) -> None:
        if wanted is self._wanted and self.is_mounted:
            self._say(problem, bad=True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        said = self.query_one("#add-said", Static)
        said.set_class(bad, "-bad")
        said.update(f"✗ {printable(text)}" if bad else printable(text))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._fits is not None:
            self.dismiss(self._fits)
        elif self._wanted is None and not self.query_one("#add-layout", Input).value.strip():
            self.dismiss(None)

    def action_down(self) -> None:
        self.focus_next()

    def action_up(self) -> None:
        self.focus_previous()
