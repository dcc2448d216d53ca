"""Grid: a cluster's GPUs, a layout placed on them, what would be started, and starting it."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal

from pdconsole.model.grid import GeometryError
from pdconsole.model.layout import Layout, parse_layout
from pdconsole.model.placement import Strategy
from pdconsole.model.request import Call, Reply
from pdconsole.model.state import State
from pdconsole.model.survey import Survey
from pdconsole.profiles import Kind, ProfileError
from pdconsole.ui.actions import Action
from pdconsole.ui.chosen_profiles import (
    CHOSEN_KINDS,
    ChosenProfiles,
    ProfileEntry,
    profile_survey,
    read_chosen,
    read_entries,
)
from pdconsole.ui.grid_draft import (
    DEFAULT_CONCURRENCY,
    EMPTY,
    Draft,
    with_layout,
    with_placing,
    with_survey,
    with_text,
)
from pdconsole.ui.grid_view import grid_of, grid_view
from pdconsole.ui.grid_words import headline
from pdconsole.ui.placing import Placing
from pdconsole.ui.runner_calls import Then
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_source import SessionHistory
from pdconsole.ui.touched import gpus_text, placed_text
from pdconsole.ui.widgets.feasible_list import FeasibleList
from pdconsole.ui.widgets.frame_lines import FrameLine
from pdconsole.ui.widgets.gpu_grid import GpuGrid
from pdconsole.ui.widgets.layout_panel import LayoutField, LayoutPanel

NAME = "grid"
SURVEY_EVERY_S = 2.0


def _action(id: str, name: str, tooltip: str, *keys: str, hint: bool = False) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME, hint=hint)


class GridScreen(ConsoleScreen):
    NAME = NAME
    TITLE = "Grid"
    HELP = (
        "The GPUs of a cluster and who holds them. Type a layout, choose a feasible one, or place "
        "replicas by hand; look at the launch plan, then launch. While the grid has the focus the "
        "digits are TP: F2 to F8 change the screen."
    )
    ACTIONS: ClassVar = (
        _action("layout", "layout", "Type a layout", "i", hint=True),
        _action("auto-place", "place", "By pack, then by spread", "a", hint=True),
        _action("plan", "plan", "What would be started, exactly", "v", hint=True),
        _action("launch", "launch", "Start it, after a question", "L", hint=True),
        _action("choose-cluster", "Cluster", "Choose a cluster", "C"),
        _action("choose-model", "Model", "Choose a model", "M"),
        _action("choose-workload", "Workload", "Choose a workload", "W"),
        _action("choose-network", "Network", "Choose a network", "N"),
        _action("list", "List", "To the feasible layouts", "f"),
        _action("words", "Filter", "Only layouts with words", "slash"),
        _action("more-gpus", "More GPUs", "Layouts on more GPUs", "greater_than_sign"),
        _action("fewer-gpus", "Fewer GPUs", "Layouts on fewer GPUs", "less_than_sign"),
        _action("exactly", "Exactly", "Exactly so many GPUs, or fewer too", "number_sign"),
        _action("next-tp", "TP filter", "Layouts of one TP only", "t"),
        _action("next-kind", "Kind filter", "All, P and D, or collocated", "K"),
    )
    AUTO_FOCUS = "#gpus"

    def __init__(self) -> None:
        super().__init__()
        self.draft: Draft = EMPTY
        self.trouble = ""  # why nothing is known of the cluster
        self.concurrency: tuple[int, ...] = DEFAULT_CONCURRENCY
        self._asked_at = -math.inf
        self._typed_on: Placing | None = None  # what stood there before the typing
        self._live: State | None = None  # of a session that is open and runs on this cluster

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="chosen")
        with Horizontal(id="grid-body"):
            yield GpuGrid(id="gpus")
            yield LayoutPanel(id="layout-panel", classes="panel")

    def on_mount(self) -> None:
        self.panel.border_title = "layout"
        self.read(self.console.settings.chosen)

    @property
    def panel(self) -> LayoutPanel:
        return self.query_one(LayoutPanel)

    @property
    def gpus(self) -> GpuGrid:
        return self.query_one(GpuGrid)

    # --- profiles ---

    @work(thread=True, exclusive=True, group="profiles")
    def read(self, wanted: dict[str, str]) -> None:
        try:
            chosen = read_chosen(self.console.workspace, wanted)
        except ProfileError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self._take, chosen)

    def _take(self, chosen: ChosenProfiles) -> None:
        before = self.draft.chosen
        self.draft = dataclasses.replace(self.draft, chosen=chosen)
        if chosen.cluster is None:
            self._see(Survey(cluster=chosen.name("cluster"), simulated=False))
        elif chosen.cluster != before.cluster:
            self._see(profile_survey(chosen.cluster))
            self._asked_at = -math.inf
            self._ask()
        self._show()

    def action_choose_cluster(self) -> None:
        self._choose("cluster")

    def action_choose_model(self) -> None:
        self._choose("model")

    def action_choose_workload(self) -> None:
        self._choose("workload")

    def action_choose_network(self) -> None:
        self._choose("network")

    @work(thread=True, exclusive=True, group="entries")
    def _choose(self, kind: Kind) -> None:
        try:
            entries = read_entries(self.console.workspace, kind)
        except ProfileError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self._offer, kind, entries)

    def _offer(self, kind: Kind, entries: tuple[ProfileEntry, ...]) -> None:
        from pdconsole.ui.screens.profile_choice import ProfileChoice

        def choose(name: str | None) -> None:
            if name is not None:
                wanted = {**self.draft.chosen.names, kind: name}
                self.console.remember(chosen=wanted)
                self.read(wanted)

        if self.is_current:
            self.app.push_screen(ProfileChoice(kind, entries, self.draft.chosen.name(kind)), choose)

    # --- what is there ---

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        opened = state.opened
        here = opened is not None and opened.cluster == self.draft.chosen.name("cluster")
        replay = self.console.replay
        at_edge = replay is not None and replay.following
        live = history is not None and history.is_live and at_edge and here
        before, self._live = self._live, state if live else None
        self._ask()
        if live or before is not None:
            self._show_cells()

    def _ask(self) -> None:
        """Have the runner look, as long as somebody looks at this screen."""
        now = self.console.clock.monotonic()
        if self.draft.chosen.cluster is None or now - self._asked_at < SURVEY_EVERY_S:
            return
        self._asked_at = now
        cluster = self.draft.chosen.name("cluster")
        self.console.runner.ask(
            Call(command="survey", cluster=cluster), self._surveyed, self._unknown, topic="survey"
        )

    def _surveyed(self, reply: Reply) -> None:
        survey = reply.survey
        if survey is None or survey.cluster != self.draft.chosen.name("cluster"):
            return
        self.trouble = ""
        self._see(survey)
        self._show()

    def _unknown(self, problem: str) -> None:
        """What was seen is not so any more."""
        self.trouble = problem
        if self.draft.chosen.cluster is not None:
            self._see(profile_survey(self.draft.chosen.cluster))
        self._show()

    def _see(self, survey: Survey) -> None:
        now = dataclasses.replace(self.draft, placing=self.gpus.placing)
        self.draft = with_survey(now, survey, grid_of(survey))

    # --- what is shown ---

    def _show(self) -> None:
        """Everything from the draft; the grid takes its placing."""
        draft = self.draft
        self.gpus.judge(draft.rules, draft.kv_heads)
        self.gpus.show(grid_view(draft.survey, self._live), draft.placing)
        self._show_words()

    def _show_cells(self) -> None:
        self.gpus.show(grid_view(self.draft.survey, self._live))

    def _show_words(self) -> None:
        draft = self.draft
        keys = {a.id.partition(".")[2]: self.console.key_of(a) for a in self.ACTIONS}
        kinds: dict[Kind, str] = {kind: keys[f"choose-{kind}"] for kind in CHOSEN_KINDS}
        line = headline(draft.chosen, draft.survey, kinds, self.size.width)
        self.query_one("#chosen", FrameLine).say(line)
        self.panel.show(draft, self.trouble, keys)
        self.gpus.mark(draft.obstacles)

    def on_screen_resume(self) -> None:
        self._show_words()
        super().on_screen_resume()

    # --- placing ---

    @on(GpuGrid.Changed)
    @on(GpuGrid.Moved)
    def edited(self) -> None:
        """Keys may have gone on since: the grid's own placing is the newest."""
        placing = self.gpus.placing
        if placing.assignments != self.draft.placing.assignments:
            self.draft = with_placing(self.draft, placing)
        else:
            self.draft = dataclasses.replace(self.draft, placing=placing)
        self._show_words()

    @on(LayoutPanel.Typed)
    def typed(self, event: LayoutPanel.Typed) -> None:
        if self._typed_on is None:
            self._typed_on = self.gpus.placing
        self.draft = with_text(self.draft, event.text, self._typed_on)
        self._show()

    @on(LayoutField.Left)
    def left(self) -> None:
        self._typed_on = None
        self.gpus.focus()

    @on(FeasibleList.Chosen)
    def chosen(self, event: FeasibleList.Chosen) -> None:
        now = self.draft.placing
        self._place(event.layout, now.strategy if now.strategy != "manual" else "pack")

    def action_auto_place(self) -> None:
        after: dict[Strategy, Strategy] = {"manual": "pack", "pack": "spread", "spread": "pack"}
        placing = self.draft.placing
        self.action_place_by(after[placing.strategy] if placing.assignments else "pack")

    def action_place_by(self, strategy: Strategy) -> None:
        layout = self._layout()
        if layout is None:
            self.console.say("Nothing to place yet: type a layout (i) or choose one", "warning")
        elif strategy == "manual":
            self.gpus.focus()
        elif strategy == "spread" and not layout.is_pd:
            self.console.say("Only prefill and decode can be spread; this is collocated", "warning")
        else:
            self._place(layout, strategy)

    def _layout(self) -> Layout | None:
        try:
            return parse_layout(self.draft.text)
        except GeometryError:
            return None

    def _place(self, layout: Layout, strategy: Strategy) -> None:
        self._typed_on = None
        now = dataclasses.replace(self.draft, text=str(layout), placing=self.gpus.placing)
        self.draft = with_layout(now, layout, strategy)
        self._show()

    # --- the list ---

    def action_layout(self) -> None:
        self.panel.field.focus()

    def action_list(self) -> None:
        self.panel.query_one("#feasible").focus()

    def action_words(self) -> None:
        self.panel.feasible.ask_words()

    def action_more_gpus(self) -> None:
        self.panel.feasible.more_gpus()

    def action_fewer_gpus(self) -> None:
        self.panel.feasible.more_gpus(less=True)

    def action_exactly(self) -> None:
        self.panel.feasible.exactly()

    def action_next_tp(self) -> None:
        self.panel.feasible.next_tp()

    def action_next_kind(self) -> None:
        self.panel.feasible.next_kind()

    # --- starting ---

    def action_plan(self) -> None:
        from pdconsole.ui.screens.launch_plan import LaunchPlanScreen

        def show(reply: Reply) -> None:
            self.console.action_dismiss()
            if self.is_current:
                self.app.push_screen(LaunchPlanScreen(reply))

        self._plan(show)

    def action_launch(self) -> None:
        self._plan(self._confirm)

    def _plan(self, then: Then) -> None:
        """Ask the runner what it would start; obstacles that are known here are said at once."""
        obstacles = self.draft.obstacles
        if not self.draft.placing.assignments and not obstacles:
            self.console.say("Nothing is placed yet: type a layout (i) or choose one", "warning")
            return
        if obstacles:
            self.console.say(obstacles[0].text, "error")
            return
        self.console.say("asking what would be started")
        call = Call(command="plan", run=self.draft.request(self.concurrency))
        self.console.runner.ask(call, then, topic="plan")

    def _confirm(self, reply: Reply) -> None:
        from pdconsole.ui.screens.launch import LaunchScreen

        self.console.action_dismiss()
        refused = [plan.refused for plan in reply.launches if plan.refused]
        if refused:
            self.console.say(refused[0], "error")
            return
        if not self.is_current:
            return

        def launch(concurrency: tuple[int, ...] | None) -> None:
            if concurrency is not None:
                self.concurrency = concurrency
                self._launch(concurrency)

        self.app.push_screen(LaunchScreen(self._about(reply), self.concurrency), launch)

    def _about(self, reply: Reply) -> str:
        """What it is, and the nodes and GPUs that it takes."""
        chosen = self.draft.chosen
        runs = reply.plan.runs if reply.plan is not None else ()
        lines = [
            f"{chosen.name('model')}, {chosen.name('workload')}, network {chosen.name('network')}, "
            f"on cluster {chosen.name('cluster')}."
        ]
        for run in runs:
            lines.append(f"{run.placement.layout}: {placed_text(run.placement)}.")
        slots = [slot for run in runs for slot in run.placement.slots]
        lines.append(f"Takes {gpus_text(slots)} until it has ended or is stopped.")
        lines += [note for plan in reply.launches for note in plan.notes]
        return "\n".join(lines)

    def _launch(self, concurrency: tuple[int, ...]) -> None:
        def started(reply: Reply) -> None:
            self.console.open(reply.session, show="live")

        self.console.say("starting")
        self.console.runner.ask(
            Call(command="run", run=self.draft.request(concurrency)), started, topic="run"
        )
