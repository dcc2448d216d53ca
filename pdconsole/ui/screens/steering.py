"""A screen from which a session is steered: pause, skip, stop, reorder, add, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pdconsole.model.request import PlacedLayout, Reply, RunRequest
from pdconsole.model.state import State
from pdconsole.ui import orders
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import printable
from pdconsole.ui.orders import Order
from pdconsole.ui.screens.confirm import ConfirmScreen
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_plan import SessionPlan
from pdconsole.ui.session_source import OpenedSession

_NAME = "steering"


def _action(id: str, name: str, tooltip: str, *keys: str) -> Action:  # noqa: A002
    return Action(f"{_NAME}.{id}", name, tooltip, keys, _NAME)


STEERING_ACTIONS = (
    _action("pause", "pause", "Hold after the point under way", "p"),
    _action("go-on", "go on", "After a pause; or resume a session that has ended", "r"),
    _action("skip", "skip point", "Give up the point under way", "x"),
    _action("skip-layout", "skip layout", "The layout under the cursor", "X"),
    _action("stop", "stop", "End the session in order", "s"),
    _action("add", "add layout", "Another layout at the end of the plan", "a"),
    _action("later", "later", "This layout one place later", "J", "shift+down"),
    _action("sooner", "sooner", "This layout one place sooner", "K", "shift+up"),
    _action("stop-now", "stop now", "End it at once, without draining", "S"),
)


class SteeringScreen(ConsoleScreen):
    """`plan` is what is known of the open session's plan; `chosen_run` the layout meant.

    Whatever moment is shown, orders are made from the session as it is now.
    """

    ACTIONS: ClassVar[tuple[Action, ...]] = STEERING_ACTIONS

    def __init__(self) -> None:
        super().__init__()
        self.plan = SessionPlan()
        self.order: tuple[str, ...] = ()  # of what has not begun: asked for, not yet taken

    @property
    def chosen_run(self) -> str:
        return ""

    def as_asked(self, state: State) -> State:
        """`state` in the order that was asked for, until the runner has taken it."""
        if not self.order:
            return state
        pending = orders.pending_runs(state)
        if pending == self.order or set(pending) != set(self.order):
            self.order = ()
            return state
        return orders.with_order(state, self.order)

    # --- giving orders ---

    def give(
        self,
        order: Order | str,
        then: Callable[[Reply], object] | None = None,
        *,
        starts: bool = False,
    ) -> None:
        """Ask the person where there is something to ask, then the runner. `starts`: one is
        started where none runs."""
        if isinstance(order, str):
            self.console.say(order, "warning")
            return

        def told(reply: Reply) -> None:
            if order.done:
                self.console.say(order.done)
            if then is not None:
                then(reply)
            self.console.refresh_visible()

        def answered(yes: bool | None) -> None:
            if yes:
                self.console.runner.ask(order.call, told, start=starts)

        if not order.question:
            answered(True)
        else:
            about = "\n".join(map(printable, order.about.splitlines()))
            self.app.push_screen(ConfirmScreen(order.question, about, yes=order.yes), answered)

    def _steerable(self) -> tuple[OpenedSession, State] | None:
        """The open session, where it runs, and its state now; else it is said why not."""
        opened = self.console.opened
        if opened is None:
            self.console.say("no session is open; n chooses an experiment to start", "warning")
        elif not opened.history.is_live:
            self.console.say(f"{opened.directory.name} does not run; r resumes it", "warning")
        else:
            return opened, opened.history.latest()
        return None

    def action_pause(self) -> None:
        if (running := self._steerable()) is not None:
            self.give(orders.pause(running[1]))

    def action_go_on(self) -> None:
        opened = self.console.opened
        if opened is None:
            self._steerable()
            return
        state, name = opened.history.latest(), opened.directory.name
        if opened.history.is_live:
            self.give(orders.go_on(state))
            return
        order = orders.resume(state, name, self.plan.placements)
        self.give(order, lambda _: self.console.open(name, show=self.NAME), starts=True)

    def action_skip(self) -> None:
        if (running := self._steerable()) is not None:
            self.give(orders.skip_point(running[1]))

    def action_skip_layout(self) -> None:
        if (running := self._steerable()) is not None:
            self.give(orders.skip_layout(running[1], self.chosen_run, self.plan.placements))

    def action_stop(self) -> None:
        if (running := self._steerable()) is not None:
            self.give(orders.stop(running[1]))

    def action_stop_now(self) -> None:
        if (running := self._steerable()) is not None:
            self.give(orders.stop(running[1], now=True))

    # --- the plan ---

    def action_later(self) -> None:
        self._move(1)

    def action_sooner(self) -> None:
        self._move(-1)

    def _move(self, by: int) -> None:
        running = self._steerable()
        if running is None:
            return
        state = self.as_asked(running[1])
        changed = orders.moved(orders.pending_runs(state), self.chosen_run, by)
        if isinstance(changed, str):
            self.console.say(changed, "warning")
            return
        self.order = changed

        def refused(problem: str) -> None:
            self.order = ()
            self.console.say(problem, "error")
            self.console.refresh_visible()

        # Each call names the whole order, so of many quick moves the last one is enough.
        call = orders.reorder(changed)
        self.console.runner.ask(call, lambda _: None, refused, start=False, topic="reorder")
        self.console.refresh_visible()

    def action_add(self) -> None:
        from pdconsole.ui.screens.add_layout import AddLayout

        running = self._steerable()
        if running is None:
            return
        opened, state = running
        request = self.plan.request
        if request is None:
            about = state.opened
            request = RunRequest(experiment=about.experiment if about else "")

        def chosen(placed: PlacedLayout | None) -> None:
            if placed is not None:
                self.give(orders.add(placed))

        self.app.push_screen(AddLayout(request, opened.directory.name), chosen)
