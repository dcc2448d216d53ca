"""A screen over a session's time from which one goes to what lies behind: the stages of a request,
the log of an event or of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdconsole.model.events import RequestFinished
from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.request_pick import RequestPick
from pdconsole.ui.screens.replay_screen import EVENTS, ReplayScreen
from pdconsole.ui.widgets.row_table import RowTable
from pdconsole.ui.widgets.worker_table import WorkerTable

if TYPE_CHECKING:
    from pdconsole.ui.session_source import SessionHistory

REQUESTS = 200  # so many of the last ones are looked at

_NAME = "live"
DETAIL_ACTIONS = (
    Action("live.request", "request", "Whose TTFT is taken apart, from a list", ("i",), _NAME),
    Action("live.older", "Request before", "Its TTFT", ("r",), _NAME, hint=False),
    Action("live.newer", "Request after", "Its TTFT", ("R",), _NAME, hint=False),
    Action("live.log", "log", "The log of the event before, or of this worker", ("v",), _NAME),
)


class DetailScreen(ReplayScreen):
    """`cursor_t` is the second that is pointed at, None without one."""

    def __init__(self) -> None:
        super().__init__()
        self.cursor_t: float | None = None
        self._pick = RequestPick()
        self._requests: tuple[RequestFinished, ...] = ()
        self._requests_for: object = None

    def show_part(self, part: str) -> None:
        """Bring a part of the screen into sight."""

    def chosen_request(
        self, history: SessionHistory, t: float, state: State
    ) -> tuple[RequestFinished | None, str]:
        """The one to be taken apart, and how it was chosen."""
        requests = self.last_requests(history, t, state)
        return self._pick.at(t, requests), self._pick.how(t, requests)

    def last_requests(
        self, history: SessionHistory, t: float, state: State
    ) -> tuple[RequestFinished, ...]:
        if self._requests_for != (id(history), state.seq):
            self._requests_for = (id(history), state.seq)
            self._requests = history.requests(t, REQUESTS)
        return self._requests

    def action_older(self) -> None:
        self._move_pick(1)

    def action_newer(self) -> None:
        self._move_pick(-1)

    def _move_pick(self, by: int) -> None:
        self._pick = self._pick.moved(by, self.console.t, self._requests_now())
        self.console.refresh_visible()

    def _requests_now(self) -> tuple[RequestFinished, ...]:
        console = self.console
        if console.history is None:
            return ()
        return self.last_requests(console.history, console.t, console.state)

    def action_request(self) -> None:
        from pdconsole.ui.screens.request_choice import RequestChoice

        def choose(request: RequestFinished | None) -> None:
            if request is not None:
                self._pick = RequestPick(request)
                self.show_part("waterfall")

        requests = self._requests_now()
        current = self._pick.at(self.console.t, requests)
        self.console.push_screen(RequestChoice(requests, current), choose)

    def action_log(self) -> None:
        """Of the worker under the cursor where its table has the focus, else of the last event."""
        table, history = self.query_one(WorkerTable), self.console.history
        if history is None:
            return
        if table.has_focus and table.current_key:
            self._open_log(history, table.current_key)
            return
        at = self.console.t if self.cursor_t is None else self.cursor_t
        marks = [mark for mark in history.marks(0.0, at) if mark.kind in EVENTS]
        mark = marks[-1] if marks else None
        if mark is None or not mark.process:
            self.console.open_logs("", "", history.start_wall + (at if mark is None else mark.t))
        else:
            self.console.open_logs(mark.run, mark.process, history.start_wall + mark.t)

    def on_row_table_chosen(self, message: RowTable.Chosen) -> None:
        if self.console.history is not None:
            self._open_log(self.console.history, message.key)

    def _open_log(self, history: SessionHistory, process: str) -> None:
        view = self.console.state.processes.get(process)
        run = view.state.run if view is not None else ""
        self.console.open_logs(run, process, history.start_wall + self.console.t)
