"""A screen over measured points on axes that one chooses; they are remembered."""

from __future__ import annotations

import msgspec

from pdconsole.model.latency_axis import NOTATION as LATENCY_FORMS
from pdconsole.model.slo import NOTATION as SLO_FORMS
from pdconsole.results.axes import Axes
from pdconsole.ui.actions import Action
from pdconsole.ui.chosen_axes import ChosenAxes, kept, latency_problem, remembered, slo_problem
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.widgets.frame_lines import Piece

_NAME = "compare"


def _action(id: str, name: str, tooltip: str, key: str, *, hint: bool = True) -> Action:  # noqa: A002
    return Action(f"{_NAME}.{id}", name, tooltip, (key,), _NAME, hint=hint)


LATENCY = _action("latency", "latency", "TPOT, TTFT, ITL, E2EL, the 16th token, interactivity", "x")
STATISTIC = _action("statistic", "Statistic", "Median, p99 or mean of the latency", "X", hint=False)
TYPED = _action("typed", "Type a latency", "Any, such as chunk:32 or ttft:p95", "l", hint=False)
THROUGHPUT = _action(
    "throughput", "throughput", "Tokens of prompt and output, of one of them, or requests", "t"
)
PER = _action("per", "per", "Throughput per GPU, per node, or of the whole deployment", "p")
SLO = _action("slo", "SLO", "What latencies must keep, such as ttft<=500ms,tpot<=15ms", "s")
AXES_ACTIONS = (LATENCY, THROUGHPUT, PER, SLO, STATISTIC, TYPED)


class AxesScreen(ConsoleScreen):
    """`axes_changed` is called when they did."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen: ChosenAxes | None = None

    @property
    def chosen(self) -> ChosenAxes:
        """As the settings have them when the screen opens."""
        if self._chosen is None:
            self._chosen = remembered(self.console.settings.compare)
        return self._chosen

    @property
    def axes(self) -> Axes:
        return self.chosen.axes()

    def axes_changed(self) -> None:
        """Show what is shown on the axes of now."""

    def choose_axes(self, chosen: ChosenAxes) -> None:
        if chosen != self.chosen:
            self._chosen = chosen
            self.console.remember(compare=kept(chosen))
            self.axes_changed()

    def axes_line(self, slot: str) -> list[Piece]:
        """What is chosen, with its keys; a click does what the key does."""
        axes = self.axes
        per = {"gpu": f"per {slot}", "node": "per node", "deployment": "whole deployment"}
        parts = (
            (THROUGHPUT, msgspec.structs.replace(axes.throughput, per="deployment").unit()),
            (PER, per[axes.throughput.per]),
            (LATENCY, axes.latency.title),
            (SLO, f"SLO {axes.slo}" if axes.slo else "no SLO"),
        )
        pieces = [Piece(" ")]
        for action, value in parts:
            click = f"screen.{action.method}"
            if key := self.console.key_of(action):
                pieces.append(Piece(f"{key} ", "accent", click, bold=True))
            pieces += [Piece(value, "text", click), Piece("   ")]
        return pieces

    # --- actions ---

    def action_latency(self) -> None:
        self.choose_axes(self.chosen.with_next_latency())

    def action_statistic(self) -> None:
        self.choose_axes(self.chosen.with_next_statistic())

    def action_throughput(self) -> None:
        self.choose_axes(self.chosen.with_next_throughput())

    def action_per(self) -> None:
        self.choose_axes(self.chosen.with_next_per())

    def action_typed(self) -> None:
        from pdconsole.ui.screens.text_prompt import TextPrompt

        def take(text: str | None) -> None:
            if text is not None:
                self.choose_axes(msgspec.structs.replace(self.chosen, latency=text.lower()))

        prompt = TextPrompt("Latency", LATENCY_FORMS, self.chosen.latency, latency_problem)
        self.console.push_screen(prompt, take)

    def action_slo(self) -> None:
        from pdconsole.ui.screens.text_prompt import TextPrompt

        def take(text: str | None) -> None:
            if text is not None:
                self.choose_axes(msgspec.structs.replace(self.chosen, slo=text))

        forms = f"{SLO_FORMS}; nothing: no SLO"
        self.console.push_screen(TextPrompt("SLO", forms, self.chosen.slo, slo_problem), take)
