"""Experiment: a plan of layouts and points, how far it is, and the orders one can give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from rich.cells import cell_len
from textual import on, work
from textual.app import ComposeResult

from pdconsole.model.eta import Outlook, outlook
from pdconsole.model.request import Call, Reply
from pdconsole.model.state import State
from pdconsole.profiles import ProfileError
from pdconsole.ui import orders
from pdconsole.ui.actions import Action
from pdconsole.ui.chosen_profiles import ProfileEntry, read_entries
from pdconsole.ui.experiment_draft import Draft
from pdconsole.ui.experiment_list import read_experiments
from pdconsole.ui.experiment_table import how_text, progress_lines, state_of_plan
from pdconsole.ui.replay_track import time_text
from pdconsole.ui.screens.launch_plan import LaunchPlanScreen
from pdconsole.ui.screens.profile_choice import ProfileChoice
from pdconsole.ui.screens.steering import STEERING_ACTIONS, SteeringScreen
from pdconsole.ui.session_plan import SessionPlan, plan_of, read_session_plan
from pdconsole.ui.session_source import OpenedSession, SessionHistory
from pdconsole.ui.top_line import STATUS_ROLES
from pdconsole.ui.widgets.experiment_choice import ExperimentChoice
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece, spread
from pdconsole.ui.widgets.plan_view import PlanView, Shown

NAME = "experiment"
View = Literal["choice", "draft", "session"]
Form = tuple[list[Piece], list[Piece]]  # left and right side of a line
CHOOSE_FIRST = "choose an experiment first (n)"


def _action(id: str, name: str, tooltip: str, *keys: str) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME)


_PICK = _action("pick", "choose", "See what the experiment would do", "enter")
_NEW = _action("new", "experiments", "Choose an experiment to start", "n")
_FILTER = _action("filter", "filter", "Only experiments with a word", "slash")
_START = _action("start", "start", "Begin a session of it, after a question", "L")
_QUICK = _action("quick", "short form", "The experiment's short form, or all of it", "f")
_OPTIONAL = _action("optional", "optional", "The optional layouts too, or not", "o")
_CLUSTER = _action("cluster", "cluster", "On another cluster", "c")
_COMMANDS = _action("commands", "commands", "Exact commands of the layout under the cursor", "v")
_COPY = _action("copy", "copy", "The command line that does the same", "y")
_EDGE = _action("edge", "as it is now", "Leave the earlier moment that is shown", "e")
_BACK = _action("back", "back", "Back to what was shown before", "escape")

_HINTS: dict[View, tuple[Action, ...]] = {
    "choice": (_PICK, _FILTER, _BACK),
    "draft": (_START, _QUICK, _OPTIONAL, _CLUSTER, _COMMANDS, _NEW, _COPY, _BACK),
    "session": (*STEERING_ACTIONS, _NEW, _EDGE, _COPY),
}


class ExperimentScreen(SteeringScreen):
    NAME: ClassVar[str] = NAME
    TITLE: ClassVar[str] = "Experiment"
    HELP: ClassVar[str] = (
        "The open session's plan, or that of an experiment nobody has started (n chooses one). "
        "Times with ~ are told from what was measured before; the line on top says how. What is "
        "told here acts on the session as it is now, also while an earlier moment is shown."
    )
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        *(_START, *STEERING_ACTIONS, _PICK, _NEW, _QUICK, _OPTIONAL, _CLUSTER, _COMMANDS),
        *(_FILTER, _COPY, _EDGE, _BACK),
    )
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self._draft: Draft | None = None
        self._choosing = False
        self._entries_read = False

        self._plan_for: object = None
        self._plan_of_name = ""
        self._session_shown: OpenedSession | None = None
        self._view_shown: View | None = None

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="experiment-head")
        yield FrameLine(id="experiment-how")
        yield ExperimentChoice(id="choice")
        yield PlanView(id="plan")

    # --- what it shows ---

    @property
    def view(self) -> View:
        if self._choosing:
            return "choice"
        if self._draft is not None:
            return "draft"
        return "session" if self.console.history is not None else "choice"

    @property
    def hinted(self) -> tuple[Action, ...]:
        return _HINTS[self.view]

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        if self.console.opened is not self._session_shown:
            self._session_shown = self.console.opened
            self._draft, self._choosing, self.order = None, False, ()
            self.plan, self._plan_for = SessionPlan(), None
            self.query_one(PlanView).forget()
        view = self.view
        self._show_view(view)
        if view == "session":
            self._show_session(t, state)
        elif view == "draft":
            self._show_draft()
        else:
            self._say_head([([Piece(" experiments of this workspace", "text", bold=True)], [])], "")

    def _show_view(self, view: View) -> None:
        choice, plan = self.query_one(ExperimentChoice), self.query_one(PlanView)
        if view == "choice" and not self._entries_read:
            self._entries_read = True
            self._read_experiments()
        if view == self._view_shown:
            return
        self._view_shown = view
        choice.display, plan.display = view == "choice", view != "choice"
        self.set_focus(choice.table if view == "choice" else plan.layouts)
        self.refresh_frame()

    def _show_session(self, t: float, state: State) -> None:
        opened = self.console.opened
        assert opened is not None
        self._look_at_plan(opened, state)
        now_t = self._now(opened, t)
        alive = opened.history.is_live or t < opened.history.end_t
        left = outlook(state, now_t, self.plan.policy) if alive else Outlook.none()
        shown = self.as_asked(state)
        wall = opened.history.start_wall + now_t
        self.query_one(PlanView).show(Shown(shown, now_t, wall, left, self.plan.placements))
        status = "pausing" if self._pausing(opened, t, state) else state.status
        role = STATUS_ROLES.get(state.status, "text")
        about = state.opened
        name = Piece(f" {about.experiment if about else opened.directory.name}", "text", bold=True)
        facts = [Piece(f"  {about.cluster} · {about.model}", "muted")] if about else []
        said = [Piece("  ● ", role), Piece(status, role, bold=True)]
        if t < opened.history.end_t and not opened.replay.following:
            said.append(Piece(f"  as of {time_text(t)}", "accent", "screen.edge", reverse=True))
        far = progress_lines(state, now_t, left, wall)
        forms = [([name, *facts, *said], far[0]), *(([name, *said], right) for right in far)]
        how = how_text(left, state.status == "paused") or state.message
        if shown is not state:
            how = "asking for this order…"
        self._say_head(forms, how)

    def _show_draft(self) -> None:
        draft = self._draft
        assert draft is not None
        head = [Piece(f" {draft.experiment}", "text", bold=True), Piece("  not started", "warn")]
        said = [
            draft.cluster or draft.own_cluster,
            "short form" if draft.quick else "",
            "optional layouts too" if draft.optional else "",
        ]
        head.append(Piece("  " + " · ".join(s for s in said if s), "muted"))
        view = self.query_one(PlanView)
        if draft.plan is None:
            view.show(Shown(State(), 0.0, 0.0, Outlook.none(), {}))
            view.layouts.empty = "it cannot be planned" if draft.problem else "planning…"
            view.layouts.refresh()
            self._say_head([(head, [])], draft.problem or "planning…", bad=bool(draft.problem))
            return
        state, plan = state_of_plan(draft.plan), plan_of(draft.plan, draft.request)
        left, wall = outlook(state, 0.0, plan.policy), self.console.clock.wall()
        view.show(Shown(state, 0.0, wall, left, plan.placements, _refusals(draft)))
        refused = sum(bool(launch.refused) for launch in draft.launches)
        points = f"{state.points_total} points in {len(state.runs)} layouts"
        more = [Piece(f"  {refused} refused", "fail", bold=True)] if refused else []
        self._say_head([(head, [Piece(points, "text"), *more])], draft.plan.question)

    def _say_head(self, forms: Sequence[Form], how: str, *, bad: bool = False) -> None:
        """The first form that fits on the line, and a line that explains it."""
        width = self.size.width

        def line(form: Form) -> list[Piece]:
            return spread(form[0], [*form[1], Piece(" ")], width)

        fits = (line(form) for form in forms if _cells(form) + 3 <= width)
        self.query_one("#experiment-head", FrameLine).say(next(fits, line(forms[-1])))
        role = "fail" if bad else "muted"
        self.query_one("#experiment-how", FrameLine).say([Piece(f" {how}", role)])

    def _now(self, opened: OpenedSession, t: float) -> float:
        """Now in session seconds; at a live edge it goes on while no events come."""
        if not (opened.replay.following and opened.history.is_live):
            return t
        return max(t, self.console.clock.wall() - opened.history.start_wall)

    def _pausing(self, opened: OpenedSession, t: float, state: State) -> bool:
        """Told to pause, and still at the point that comes before it."""
        if state.status != "running":
            return False
        last = opened.history.next_mark(t + 1e-6, ("command",), back=True)
        return last is not None and last.text.startswith("pause")

    # --- what is read beside the screen ---

    def _look_at_plan(self, opened: OpenedSession, state: State) -> None:
        """Where layouts go is in session.yaml, which the runner writes anew when plans change."""
        plan_for = (id(opened), tuple(run.id for run in state.runs))
        missing = any(run.id not in self.plan.placements for run in state.runs)
        if plan_for != self._plan_for or (missing and opened.history.is_live):
            self._plan_for = plan_for
            self._read_plan(opened)

    @work(thread=True, exclusive=True, group="plan")
    def _read_plan(self, opened: OpenedSession) -> None:
        plan = read_session_plan(opened.directory)

        def take() -> None:
            if self._session_shown is opened and plan != self.plan:
                self.plan = plan
                self.console.refresh_visible()

        self.app.call_from_thread(take)

    @work(thread=True, exclusive=True, group="experiments")
    def _read_experiments(self) -> None:
        try:
            entries = read_experiments(self.console.workspace)
        except ProfileError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self.query_one(ExperimentChoice).show, entries)

    def action_edge(self) -> None:
        if self.console.replay is None:
            self.console.say("no session is open", "warning")
            return
        self.console.replay.follow()
        self.console.tick()

    # --- choosing ---

    def action_new(self) -> None:
        self._choosing = True
        self._read_experiments()
        self.console.refresh_visible()

    def action_back(self) -> None:
        if self.console.notice:
            self.console.action_dismiss()
        elif self._choosing and (self._draft or self.console.history):
            self._choosing = False
        elif self._draft is not None:
            self._draft = None
        self.console.refresh_visible()

    def action_pick(self) -> None:
        if self.view == "choice":
            self.query_one(ExperimentChoice).table.action_choose()

    def action_filter(self) -> None:
        if self.view == "choice":
            self.query_one(ExperimentChoice).ask_filter()

    @on(ExperimentChoice.Chosen)
    def experiment_chosen(self, event: ExperimentChoice.Chosen) -> None:
        entry = event.entry
        if entry.problem:
            self.console.say(f"{entry.name} cannot be started here: {entry.problem}", "warning")
            return
        self._choosing = False
        self.query_one(PlanView).forget()
        self._look_at(
            Draft(experiment=entry.name, has_quick=entry.quick, own_cluster=entry.cluster)
        )

    def _look_at(self, draft: Draft) -> None:
        """Ask the runner what it would do; it starts nothing."""
        self._draft = draft

        def still() -> bool:
            return self._draft is draft

        def planned(reply: Reply) -> None:
            if still():
                self._draft = draft.planned(reply.plan, reply.launches)
                self.console.refresh_visible()

        def failed(problem: str) -> None:
            if still():
                self._draft = draft.refused(problem)
                self.console.refresh_visible()

        call = Call(command="plan", run=draft.request)
        self.console.runner.ask(call, planned, failed, topic="experiment-plan")
        self.console.refresh_visible()

    def _changed(self, change: Callable[[Draft], Draft | str]) -> None:
        if self.view != "draft" or self._draft is None:
            self.console.say(CHOOSE_FIRST, "warning")
            return
        changed = change(self._draft)
        if isinstance(changed, str):
            self.console.say(changed, "warning")
        else:
            self._look_at(changed)

    def action_quick(self) -> None:
        def turned(draft: Draft) -> Draft | str:
            if not draft.has_quick:
                return f"{draft.experiment} has no short form"
            return draft.changed(quick=not draft.quick)

        self._changed(turned)

    def action_optional(self) -> None:
        self._changed(lambda draft: draft.changed(optional=not draft.optional))

    def action_cluster(self) -> None:
        if self.view == "draft":
            self._read_clusters()
        else:
            self.console.say(CHOOSE_FIRST, "warning")

    @work(thread=True, exclusive=True, group="clusters")
    def _read_clusters(self) -> None:
        try:
            entries = read_entries(self.console.workspace, "cluster")
        except ProfileError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self._choose_cluster, entries)

    def _choose_cluster(self, entries: tuple[ProfileEntry, ...]) -> None:
        draft = self._draft
        if draft is None or not self.is_current:
            return

        def chosen(name: str | None) -> None:
            if name:
                self._look_at(draft.changed(cluster="" if name == draft.own_cluster else name))

        now = draft.cluster or draft.own_cluster
        self.app.push_screen(ProfileChoice("cluster", entries, now), chosen)

    # --- what can be told ---

    def action_start(self) -> None:
        draft = self._draft
        if self.view != "draft" or draft is None:
            self.console.say(CHOOSE_FIRST, "warning")
        elif draft.plan is None:
            self.console.say(draft.problem or "it is being planned; a moment", "warning")
        else:
            order = orders.start(draft.plan, draft.launches, draft.request)
            self.give(order, self._started, starts=True)

    def _started(self, reply: Reply) -> None:
        self._draft = None
        self.console.open(reply.session, show=NAME)

    def action_commands(self) -> None:
        draft = self._draft
        if self.view != "draft" or draft is None or draft.plan is None:
            self.console.say(CHOOSE_FIRST, "warning")
        else:
            run = self.chosen_run
            launches = tuple(launch for launch in draft.launches if launch.run == run)
            self.app.push_screen(LaunchPlanScreen(Reply(plan=draft.plan, launches=launches)))

    def action_copy(self) -> None:
        draft, request = self._draft, self.plan.request
        if self.view == "draft" and draft is not None:
            self.console.copy(draft.command, "the command")
        elif self.view == "session" and request is not None and request.command:
            self.console.copy(request.command, "the command")
        else:
            self.console.say("there is no command to copy here", "warning")

    @property
    def chosen_run(self) -> str:
        run = self.query_one(PlanView).run
        return run.id if run is not None else ""

    @on(PlanView.PointChosen)
    def point_chosen(self, event: PlanView.PointChosen) -> None:
        """To where it began, on Live."""
        run = self.console.state.run(event.run) if self.view == "session" else None
        point = next((p for p in run.points if p.id == event.point), None) if run else None
        if point is None or point.started_t is None or self.console.replay is None:
            self.console.say("it has not begun; there is nothing to see of it", "info")
            return
        self.console.replay.seek(point.started_t)
        self.console.tick()
        self.console.action_show("live")


def _cells(form: Form) -> int:
    return sum(cell_len(piece.text) for side in form for piece in side)


def _refusals(draft: Draft) -> dict[str, str]:
    return {launch.run: launch.refused for launch in draft.launches if launch.refused}
