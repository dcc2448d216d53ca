"""The console: screens over one recorded session and one workspace."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from textual import events, work
from textual.app import App
from textual.filter import ANSIToTruecolor, LineFilter, Monochrome, NoColor
from textual.widgets import Input

from pdconsole import __version__
from pdconsole.journal import Clock, JournalError, SessionDir
from pdconsole.journal.clock import SYSTEM_CLOCK
from pdconsole.model.state import State
from pdconsole.ui import theme
from pdconsole.ui.actions import Action, key_label, keys_of
from pdconsole.ui.app_actions import APP_ACTIONS
from pdconsole.ui.exports import ExportError, write_export
from pdconsole.ui.keymap import keymap_problems, load_keymap
from pdconsole.ui.plain_characters import AsciiFilter
from pdconsole.ui.runner_calls import Connect, RunnerCalls, connect_runner
from pdconsole.ui.screen_list import HOME, SCREENS
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_source import (
    OpenedSession,
    SessionHistory,
    open_session,
    why_unread,
)
from pdconsole.ui.settings import SettingsError, load_settings, save_settings
from pdconsole.ui.top_line import top_line
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.parts import actions_on, bindings_of, help_of, title_of
from pdconsole.ui.xdg import config_dir, state_dir

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.widget import Widget

    from pdconsole.ui.replay_clock import ReplayClock

NOTICE_S = 8.0  # how long a notice stays that needs nothing done
SWITCH_S = 0.01
TURN_S = 0.003  # for others, between two pieces of what takes long
SAID = {"info": "accent", "warning": "warn", "error": "fail"}


class ConsoleApp(App[None]):
    """`tick` is called by a timer, twice a second unless the settings say otherwise; with
    `ticks` false, as in tests, it is left to others."""

    TITLE = "pdconsole"
    CSS_PATH = "console.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = APP_ACTIONS
    BINDINGS: ClassVar = [*bindings_of(APP_ACTIONS)]
    HELP: ClassVar[str] = "Closing the console, or losing it, never touches what runs."
    ENABLE_COMMAND_PALETTE = False  # `action_palette` opens ours

    def __init__(
        self,
        workspace: Path,
        *,
        open_session: str | None = None,
        at: float | None = None,
        speed: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
        ticks: bool = True,
        environment: dict[str, str] | None = None,
        connect: Connect = connect_runner,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self.workspace = workspace
        self.clock = clock
        self.runner = RunnerCalls(self, connect)
        self.opened: OpenedSession | None = None
        self.t = 0.0
        self.state = State()
        self.at_leisure = False  # what is shown now nobody asked for: keys go before it
        self.going_on = 0  # what goes on soon
        self._is_behind = False  # the recording has more than was taken in
        self.notice = ""
        self._notice_level = "info"
        self._notice_until: float | None = None
        self._first = (open_session, at, speed)
        self._ticks = ticks
        self._config = config_dir()
        self.settings, problems = load_settings(self._config)
        self.keymap, key_problems = load_keymap(self._config)
        self.problems: tuple[str, ...] = (*problems, *key_problems)
        self.ascii = self.settings.uses_ascii(environment or dict(os.environ))
        self._ascii_filter = AsciiFilter()
        self._no_colour = NoColor()
        for palette in theme.PALETTES:
            self.register_theme(theme.textual_theme(palette))
        self.theme = self.settings.theme
        for entry in SCREENS:
            self.add_mode(entry.name, lambda entry=entry: entry.load()())  # type: ignore[misc]
        self.crash: Path | None = None

    # --- what screens ask for ---

    @property
    def history(self) -> SessionHistory | None:
        return self.opened.history if self.opened else None

    @property
    def replay(self) -> ReplayClock | None:
        """Play, pause, seek, speed of the open session."""
        return self.opened.replay if self.opened else None

    def say(self, text: str, level: str = "info") -> None:
        """One sentence above the hints: what happened and what to do next.

        Errors and warnings stay until they are dismissed, the rest for a few seconds.
        """
        # Files of the workspace are named as seen from it: the line is short.
        self.notice, self._notice_level = text.replace(f"{self.workspace}/", ""), level
        keeps = level in ("error", "warning")
        self._notice_until = None if keeps else self.clock.monotonic() + NOTICE_S
        self._refresh_frame()

    def copy(self, text: str, what: str) -> None:
        """To the terminal's clipboard (OSC 52), which may not have one, and always to a file."""
        try:
            path = write_export(state_dir() / "copies", "copy", ".txt", text, self.clock.wall())
        except ExportError as e:
            self.say(f"{what} went to the clipboard only: {e}", "warning")
        else:
            self.say(f"{what} copied; also in {path}")
        self.copy_to_clipboard(text)

    # --- life ---

    def on_mount(self) -> None:
        self.set_keymap({action: ",".join(keys) for action, keys in self.keymap.items()})
        self.switch_mode(HOME)
        self.set_class(self.ascii, "-ascii")
        if self._ticks:
            self.set_interval(1 / self.settings.refresh_hz, self.tick)
        if self.problems:
            self.say("; ".join(self.problems), "warning")
        name, at, speed = self._first
        if name is not None:
            self.open(name, at=at, speed=speed)

    def tick(self) -> None:
        """Take in what was recorded, then let the visible screen show it.

        A recording that grows fast is taken in piece by piece, with keys answered in between, and
        shown when that is done, or at the next tick.
        """
        if self._notice_until is not None and self.clock.monotonic() >= self._notice_until:
            self.notice = ""
            self._notice_until = None
        if self._is_behind:
            self._refresh_at_leisure()
        else:
            self._take_in()

    def soon(self, goes_on: Callable[[], object]) -> None:
        """Call it when what came meanwhile has been seen to: keys, and frames that are due.

        A callback that waits in Textual's queue would come before these: a queue that is never
        empty leaves no turn to others.
        """

        def go() -> None:
            self.going_on -= 1
            goes_on()

        self.going_on += 1
        self.set_timer(TURN_S, go)

    def show_moved(self) -> None:
        """After the position was changed: show it, by what has been taken in until now."""
        if self.opened is not None:
            try:
                self.t, self.state = self.opened.now()
            except (JournalError, OSError) as e:
                self.lose_session(e)
        self.refresh_visible()

    def _take_in(self) -> None:
        self._is_behind = False
        if self.opened is not None:
            try:
                self.t, self.state = self.opened.advance()
                self._is_behind = self.opened.history.is_behind
            except (JournalError, OSError) as e:
                self.lose_session(e)
        if self._is_behind:
            self.soon(self._take_in)
        else:
            self._refresh_at_leisure()

    def _refresh_at_leisure(self) -> None:
        self.at_leisure = True
        try:
            self.refresh_visible()
        finally:
            self.at_leisure = False

    @property
    def shown(self) -> ConsoleScreen | None:
        """The console's screen that one sees, perhaps behind a dialog."""
        stack = self.screen_stack if self.is_running else []
        return next((s for s in reversed(stack) if isinstance(s, ConsoleScreen)), None)

    def refresh_visible(self) -> None:
        """Let the visible screen show what is known now, behind a dialog too."""
        screen = self.shown
        if screen is None or not screen.is_mounted:
            return
        try:
            screen.refresh_from(self.history, self.t, self.state)
        except (JournalError, OSError) as e:
            self.lose_session(e)
        screen.refresh_frame()

    def lose_session(self, error: JournalError | OSError) -> None:
        """Its recording was deleted, or cannot be read any more."""
        name = self.opened.directory.name if self.opened else "the session"
        self.close_session()
        self.say(f"{name} is closed: {why_unread(error)}", "error")
        self.refresh_visible()

    def _refresh_frame(self) -> None:
        if (screen := self.shown) is not None:
            screen.refresh_frame()

    def open(
        self, name: str, *, at: float | None = None, speed: float = 1.0, show: str | None = None
    ) -> None:
        """Open a session by name or path and show it; `at` infinity is its end."""
        self.say(f"opening {name or 'the newest session'}")
        self._open(name, at, speed, show)

    @work(thread=True, exclusive=True, group="open")
    def _open(self, name: str, at: float | None, speed: float, show: str | None) -> None:
        try:
            directory = SessionDir.find(self.workspace, name)
            opened = open_session(
                directory,
                self.clock.monotonic,
                at=at,
                speed=speed,
                progress=partial(self._tell_progress, directory.name),
            )
        except (JournalError, OSError) as e:
            self.call_from_thread(self.say, why_unread(e), "error")
            return
        self.call_from_thread(self._show_opened, opened, show)

    def _tell_progress(self, name: str, share: float) -> None:
        self.call_from_thread(self.say, f"reading {name}: {share:.0%}")

    def _show_opened(self, opened: OpenedSession, show: str | None) -> None:
        self.close_session()
        self.opened = opened
        self.notice = ""
        self.tick()
        self.action_show(show or "live")

    def open_logs(self, run: str, process: str, wall: float | None = None) -> None:
        """The log of one process, at that Unix time; for a failed worker's row, or an event's."""
        from pdconsole.ui.screens.logs import LogsScreen

        self.action_show(LogsScreen.NAME)
        if isinstance(self.screen, LogsScreen):
            self.screen.show_process(run, process, wall)
            self.refresh_visible()

    def close_session(self) -> None:
        if self.opened is not None:
            self.opened.close()
        self.opened, self.state, self.t = None, State(), 0.0

    def on_unmount(self) -> None:
        self.close_session()

    # --- the lines around a screen ---

    def key_of(self, action: Action) -> str:
        """The first key that it has now, as people write it; "" where it has none."""
        keys = keys_of(action, self.keymap)
        return key_label(keys[0], ascii_only=self.ascii) if keys else ""

    def top_line(self, width: int) -> list[Piece]:
        current = self.shown.NAME if self.shown else ""
        name = self.opened.directory.name if self.opened else ""
        return top_line(current, name, self.state, self.clock.wall(), width)

    def notice_line(self) -> list[Piece]:
        level = self._notice_level
        mark = {"error": "✗ ", "warning": "! "}.get(level, "")
        pieces = [Piece(f" {mark}{self.notice}", SAID.get(level, "text"), "app.dismiss")]
        if level in ("error", "warning"):
            pieces.append(Piece("  esc", "muted", "app.dismiss"))
        return pieces

    async def on_event(self, event: events.Event) -> None:
        """Keys of a box in the order they were typed.

        Characters go straight into the box, where a backspace would climb through all that is
        around it first, and take away what was typed after it.
        """
        if (
            isinstance(event, events.Key)
            and not event.is_forwarded
            and isinstance(box := self.focused, Input)
            and event.key in box._bindings.key_to_bindings
        ):
            if not await self._check_bindings(event.key, priority=True):
                box.call_later(self._key_of_box, box, event)
            return
        await super().on_event(event)

    async def _key_of_box(self, box: Input, event: events.Key) -> None:
        """When what was typed before is in the box; the key is another's if that left the box."""
        if self.focused is box:
            await self._check_bindings(event.key)
        else:
            self.post_message(events.Key(event.key, event.character))

    def on_key(self, event: events.Key) -> None:
        """Typing is quicker than the focus: what was on its way to another part is text too.

        Characters that the focused box was given itself do not come here; enter does, and has to
        wait for the characters before it.
        """
        box = self.focused
        if not isinstance(box, Input):
            return
        if event.is_printable:
            event.prevent_default()
            box.post_message(events.Key(event.key, event.character))
        elif event.key == "enter":
            event.prevent_default()
            box.call_later(box.action_submit)

    def on_paste(self, event: events.Paste) -> None:
        """As with keys: a box that was given it itself lets none of it come here."""
        if isinstance(box := self.focused, Input):
            box.post_message(events.Paste(event.text))

    # --- drawing ---

    def delay_update(self, delay: float = SWITCH_S) -> None:
        """A screen that comes is held back until it is whole, which here takes an instant."""
        super().delay_update(min(delay, SWITCH_S))

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = [
            # NO_COLOR means none, where Textual's own filter would leave greys.
            self._no_colour if isinstance(f, Monochrome) else f
            for f in super().get_line_filters()
            # Our themes have no colours by number; looking for them costs a tenth of a frame.
            if not isinstance(f, ANSIToTruecolor)
        ]
        return [*filters, self._ascii_filter] if self.ascii else filters

    # --- actions ---

    def action_show(self, name: str) -> None:
        if len(self.screen_stack) > 1 or name not in {entry.name for entry in SCREENS}:
            return
        self.switch_mode(name)

    def action_turn(self, by: int) -> None:
        names = [entry.name for entry in SCREENS]
        if self.current_mode in names:
            self.action_show(names[(names.index(self.current_mode) + by) % len(names)])

    async def action_quit(self) -> None:
        self.exit()

    def action_help_quit(self) -> None:
        """ctrl+c, where Textual would lay a box over the hints."""
        key = next(self.key_of(a) for a in self.ACTIONS if a.id == "app.quit")
        leave = f"{key} leaves" if key else "nothing leaves"
        self.say(f"ctrl+c ends nothing here; {leave}, and what runs goes on")

    def action_help(self) -> None:
        from pdconsole.ui.screens.help import HelpScreen, HelpSection

        sections = []
        for node in (self.focused, self.screen):
            if node is not None and (actions_on(node) or help_of(node)):
                sections.append(HelpSection(title_of(node), help_of(node), actions_on(node)))
        sections.append(HelpSection("Everywhere", self._about(), self.ACTIONS))
        self.push_screen(HelpScreen(sections, self.keymap, ascii_only=self.ascii))

    def _about(self) -> str:
        problems = [*self.problems]
        if self.keymap:  # by themselves all is in order, and all screens need not be loaded
            from pdconsole.ui.action_registry import every_action

            problems += keymap_problems(self.keymap, every_action())
        lines = [
            self.HELP,
            f"pdconsole {__version__}, workspace {self.workspace}",
            f"keys and settings: {self._config}/keymap.yaml, settings.yaml; "
            f"copies and screenshots: {state_dir()}",
            *problems,
        ]
        return "\n".join(lines)

    def action_jump(self) -> None:
        from pdconsole.ui.jump import targets
        from pdconsole.ui.screens.jump import JumpScreen

        def go(part: Widget | None) -> None:
            if part is not None:
                part.focus()

        if not isinstance(self.screen, ConsoleScreen):
            return
        if found := targets(self.screen):
            self.push_screen(JumpScreen(found), go)
        else:
            self.say("nothing here takes keys of its own")

    def action_palette(self) -> None:
        from pdconsole.ui.palette import ActionPalette, ActionsProvider

        if not isinstance(self.screen, ActionPalette):
            self.push_screen(
                ActionPalette([ActionsProvider], placeholder="What do you want to do?")
            )

    def action_theme(self) -> None:
        names = theme.NAMES
        after = names[(names.index(self.theme) + 1) % len(names)]
        self.theme = after
        self.remember(theme=after)
        self.say(f"theme: {theme.title_of(after)}")

    def action_ascii(self) -> None:
        self.ascii = not self.ascii
        self.set_class(self.ascii, "-ascii")
        self.remember(ascii=self.ascii)
        self.say("plain characters only" if self.ascii else "all characters")
        self.refresh_css()
        self.screen.refresh(layout=True)

    def remember(self, **changed: Any) -> None:
        """Settings as the user now has them, also for the next time."""
        self.settings = msgspec.structs.replace(self.settings, **changed)
        try:
            save_settings(self._config, self.settings)
        except SettingsError as e:
            self.say(str(e), "warning")

    def action_take_screenshot(self) -> None:
        svg = self.export_screenshot(title="pdconsole")
        self._export("screenshots", "screen", ".svg", svg, "screenshot")

    def action_copy_screen(self) -> None:
        strips = self.screen._compositor.render_strips()
        self.copy("\n".join(strip.text.rstrip() for strip in strips), "the screen's text")

    def _export(self, directory: str, stem: str, suffix: str, text: str, what: str) -> None:
        try:
            path = write_export(state_dir() / directory, stem, suffix, text, self.clock.wall())
        except ExportError as e:
            self.say(str(e), "error")
        else:
            self.say(f"{what} in {path}")

    def action_dismiss(self) -> None:
        self.notice = ""
        self._notice_until = None
        self._refresh_frame()

    def action_suspend(self) -> None:
        self.action_suspend_process()

    # --- what must never reach the screen ---

    def get_driver_class(self) -> type[Driver]:
        from pdconsole.ui.terminal_guard import GuardedDriver

        return GuardedDriver

    def _fatal_error(self) -> None:
        """A fault of ours: its traceback goes to a file, and the console ends with a sentence."""
        import traceback

        text = f"pdconsole {__version__}\n{traceback.format_exc()}"
        try:
            self.crash = write_export(
                state_dir() / "crashes", "crash", ".txt", text, self.clock.wall()
            )
        except ExportError:
            self.crash = None
        self._close_messages_no_wait()
