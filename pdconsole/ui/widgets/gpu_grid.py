"""The grid of GPUs: where replicas stand, and the keys and the mouse that place them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pdconsole.model.feasible import VllmRules
from pdconsole.model.grid import Slot
from pdconsole.ui.actions import Action
from pdconsole.ui.grid_arrangement import LEVELS, Arrangement, Level, arranged
from pdconsole.ui.grid_view import GridView
from pdconsole.ui.placing import Letter, Placing
from pdconsole.ui.placing_rules import Violation
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.gpu_grid_actions import ACTIONS, HELP
from pdconsole.ui.widgets.gpu_looks import Bit
from pdconsole.ui.widgets.gpu_picture import GridPicture
from pdconsole.ui.widgets.gpu_status import status_line
from pdconsole.ui.widgets.parts import bindings_of

__all__ = ["ACTIONS", "GpuGrid"]

FEW = 12  # nodes that are repainted one by one; more of them are all repainted


class GridMessage(Message):
    def __init__(self, grid: GpuGrid, placing: Placing) -> None:
        super().__init__()
        self.grid = grid
        self.placing = placing

    @property
    def control(self) -> GpuGrid:
        return self.grid


class GpuGrid(ScrollView, can_focus=True):
    """`show` gives it what it shows; an edit makes another `placing`, and it tells which.

    It draws itself as closely as fits, unless a key or a double click asked for another level.
    """

    PART: ClassVar[str] = "grid"
    HELP: ClassVar[str] = HELP
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]
    DEFAULT_CSS = """
    GpuGrid {
        background: $surface; width: 1fr; height: 1fr; overflow-x: hidden; overflow-y: auto;
        scrollbar-size-vertical: 1; scrollbar-gutter: stable;
    }
    GpuGrid:focus { background: $surface; }
    """
    ALLOW_SELECT = False

    class Changed(GridMessage):
        """An edit by key or mouse, another TP, or a remark of what a key could not do."""

    class Moved(GridMessage):
        """The cursor is on another slot, or the selection is another; nothing was placed."""

        @property
        def slot(self) -> Slot:
            return self.placing.cursor

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._picture = GridPicture()
        self._level: Level | None = None  # None: as it fits
        self._unzoomed: Level | None = None  # what it was before a node was zoomed into
        self._at = arranged(80, 20, nodes=0, slots=0, longest_name=0)
        self._dragged_from: Slot | None = None
        self._styles: dict[tuple[object, ...], Style] = {}
        self._drawn: dict[int, dict[int, list[Segment]]] = {}  # lines of nodes, by node

    # --- what it shows ---

    def show(self, cells: GridView, placing: Placing | None = None) -> None:
        """What is so on the nodes, and a placing from elsewhere; None keeps the one that is here.

        Keys may have gone on since a message was sent: `self.placing` is always the newest.
        """
        fresh = placing or self.placing
        if fresh is self.placing and cells == self.cells:
            return
        moved = fresh.cursor != self.placing.cursor
        changed = self._picture.take_cells(cells) | self._picture.take(fresh)
        self._draw_anew(changed)
        self._arrange()
        if moved:
            self._keep_in_sight()

    def judge(self, rules: VllmRules | None, kv_heads: int | None) -> None:
        """By which rules of vLLM `violations` are found, besides those of the grid."""
        if (rules, kv_heads) != self._picture.rules:
            self._picture.rules = (rules, kv_heads)
            self._draw_anew(self._picture.take(self.placing))

    def mark(self, violations: Sequence[Violation]) -> None:
        """What else is wrong with what stands here, as the screen knows."""
        own = set(self.violations) - set(self._picture.more)
        more = tuple(v for v in violations if v not in own)
        if more != self._picture.more:
            self._picture.more = more
            self._draw_anew(self._picture.take(self.placing))

    @property
    def cells(self) -> GridView:
        return self._picture.cells

    @property
    def placing(self) -> Placing:
        return self._picture.placing

    @property
    def violations(self) -> tuple[Violation, ...]:
        return self._picture.violations

    @property
    def arrangement(self) -> Arrangement:
        """How it is drawn now."""
        return self._at

    def _draw_anew(self, numbers: Collection[int]) -> None:
        """Those nodes, where they are in sight, and the status line."""
        for number in numbers:
            self._drawn.pop(number, None)
        width, height = self.size
        at, top = self._at, self.scroll_offset.y
        boxes = (
            Region(x, y - top, at.node_width, at.node_height)
            for x, y in (at.corner(number) for number in numbers)
        )
        shown = [box for box in boxes if box.overlaps(self.size.region)]
        if len(shown) > FEW:
            self.refresh()
        else:
            self.refresh(*shown, Region(0, height - 1, width, 1))

    def _edit(self, placing: Placing) -> None:
        """What a key or the mouse made of it."""
        old = self.placing
        if placing is old:
            return
        self._draw_anew(self._picture.take(placing))
        if placing.cursor != old.cursor:
            self._keep_in_sight()
        edited = (
            placing.assignments is not old.assignments
            or (placing.tp, placing.ep) != (old.tp, old.ep)
            or placing.remark != old.remark
        )
        self.post_message((self.Changed if edited else self.Moved)(self, placing))

    # --- where things are ---

    def _arrange(self) -> None:
        nodes = self.cells.nodes
        found = arranged(
            self.size.width,
            self.size.height - 1,
            nodes=len(nodes),
            slots=max((len(node.cells) for node in nodes), default=0),
            longest_name=max((len(node.name) for node in nodes), default=0),
            level=self._level,
        )
        if found != self._at:
            self._at = found
            self._drawn.clear()
            self.refresh()
        # One line more: the last line of the widget is the status line. What is zoomed into may
        # stand at the top, also the last node.
        over = max(0, self.size.height - 1 - found.node_height) if found.level == "node" else 0
        self.virtual_size = Size(self.size.width, found.height + over + 1)

    def on_resize(self) -> None:
        self._arrange()
        self._keep_in_sight()

    def _keep_in_sight(self) -> None:
        number = self._picture.number(self.placing.cursor.node)
        if number is None:
            return
        page = max(1, self.size.height - 1)
        first, end = self._at.slot_lines(number, self.placing.cursor.index)
        box = self._at.corner(number)[1]
        if self._at.node_height <= page:
            first, end = box, box + self._at.node_height
        top = self.scroll_offset.y
        if first < top:
            self._scroll_to_line(first)
        elif end > top + page:
            self._scroll_to_line(end - page)

    def _scroll_to_line(self, line: int) -> None:
        # Forced: the scrollbar may only come with the next layout.
        self.scroll_to(y=line, animate=False, force=True, immediate=True)

    def _slot_under(self, x: int, y: int, *, near: bool = False) -> Slot | None:
        if not near and y >= self.size.height - 1:
            return None
        found = self._at.slot_at(x, y + self.scroll_offset.y, near=near)
        if found is None:
            return None
        node = self.cells.nodes[found[0]]
        return Slot(node.name, found[1]) if found[1] < len(node.cells) else None

    # --- drawing ---

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._drawn.clear()

    def watch_has_focus(self, _has_focus: bool) -> None:
        super().watch_has_focus(_has_focus)
        self._drawn.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == self.size.height - 1:
            shown = self._picture
            bits = status_line(shown.here, shown.placing, shown.violations, self._at.level, width)
            return self._strip(bits, width)
        if not self.cells.nodes:
            return self._strip([Bit("  no nodes are known yet", "muted")] if y == 1 else [], width)
        row, line = divmod(y + self.scroll_offset.y, self._at.node_height)
        segments: list[Segment] = []
        first = row * self._at.across
        for number in range(first, min(first + self._at.across, len(self.cells.nodes))):
            drawn = self._drawn.setdefault(number, {})
            if line not in drawn:
                drawn[line] = self._segments(self._picture.line(number, line, self._at))
            segments += drawn[line]
        return Strip(segments).adjust_cell_length(width, self._style("text", "", False))

    def _strip(self, bits: list[Bit], width: int) -> Strip:
        blank = self._style("text", "", False)
        return Strip(self._segments(bits)).adjust_cell_length(width, blank)

    def _segments(self, bits: Sequence[Bit]) -> list[Segment]:
        """Neighbours that look alike as one."""
        return [
            Segment("".join(bit.text for bit in alike), self._style(*look))
            for look, alike in groupby(
                (bit for bit in bits if bit.text), key=lambda bit: (bit.role, bit.back, bit.bold)
            )
        ]

    def _style(self, role: str, back: str, bold: bool) -> Style:
        key = (role, back, bold, self.has_focus, self.app.theme)
        found = self._styles.get(key)
        if found is None:
            variables = self.app.theme_variables
            cursor = "row-cursor" if self.has_focus else "panel"
            behind = {"cursor": cursor, "selected": "panel"}.get(back, "surface")
            found = Style(
                color=colour(self.app, role),
                bgcolor=variables[behind],
                bold=bold or None,
                reverse=(back == "cursor" and self.has_focus and self.app.no_color) or None,
                underline=(back == "selected" and self.app.no_color) or None,
            )
            self._styles[key] = found
        return found

    # --- keys ---

    def action_move(self, dx: int, dy: int, extend: bool = False) -> None:
        self._edit(self.placing.moved(dx, dy, self._at.shape, extend=extend))

    def action_top(self) -> None:
        self._scroll_to_line(0)
        self._edit(self.placing.at_slot(Placing.on(self.placing.grid).cursor))

    def action_bottom(self) -> None:
        node = next((n for n in reversed(self.placing.grid.nodes) if n.slots), None)
        if node is not None:
            self._edit(self.placing.at_slot(Slot(node.name, node.slots - 1)))

    def action_page_down(self) -> None:
        self._turn(1)

    def action_page_up(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        rows = max(1, (self.size.height - 1) // self._at.node_height)
        lines = 1
        if self._at.level != "overview":
            lines = -(-self._at.slots // self._at.per_line)
        self.action_move(0, by * rows * lines)

    def action_role(self, letter: Letter) -> None:
        self._edit(self.placing.with_role(letter))

    def action_tp(self, tp: int) -> None:
        self._edit(self.placing.with_tp(tp))

    def action_ep(self) -> None:
        self._edit(self.placing.with_ep())

    def action_clear(self) -> None:
        self._edit(self.placing.cleared())

    def action_clear_all(self) -> None:
        self._edit(self.placing.all_cleared())

    def action_undo(self) -> None:
        self._edit(self.placing.undone())

    def action_redo(self) -> None:
        self._edit(self.placing.redone())

    def action_select(self) -> None:
        self._edit(self.placing.toggled())

    def action_grow(self) -> None:
        self._edit(self.placing.anchored())

    def action_select_node(self) -> None:
        self._edit(self.placing.node_selected(self.placing.cursor.node))

    def action_violation(self) -> None:
        order = self._picture.slots_of(self.violations)
        if not order:
            return
        at = order.index(self.placing.cursor) if self.placing.cursor in order else -1
        self._edit(self.placing.at_slot(order[(at + 1) % len(order)]))

    # --- zoom ---

    def action_zoom(self) -> None:
        if self._at.level == "node":
            self._show_level(self._unzoomed)
        else:
            self._unzoomed = self._level
            self._show_level("node")

    def action_closer(self) -> None:
        self._change_level(1)

    def action_farther(self) -> None:
        self._change_level(-1)

    def _change_level(self, by: int) -> None:
        levels: tuple[Level, ...] = (*LEVELS, "node")
        self._show_level(levels[max(0, min(levels.index(self._at.level) + by, len(levels) - 1))])

    def _show_level(self, level: Level | None) -> None:
        self._level = level
        self._arrange()
        number = self._picture.number(self.placing.cursor.node)
        if level == "node" and number is not None:
            self._scroll_to_line(self._at.corner(number)[1])
        self._keep_in_sight()
        self.refresh()

    async def action_back(self) -> None:
        if self.placing.selection or self.placing.growing:
            self._edit(self.placing.unselected())
        elif self._at.level == "node":
            self.action_zoom()
        elif self._level is not None:
            self._show_level(None)
        else:
            await self.run_action("app.dismiss")

    # --- mouse ---

    def _inside(self, event: events.MouseEvent) -> tuple[int, int]:
        """Where the mouse is, without the border there may be."""
        return event.x - self.gutter.left, event.y - self.gutter.top

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button != 1:
            return
        slot = self._slot_under(*self._inside(event))
        if slot is None:
            return
        if event.ctrl or event.meta:
            self._edit(self.placing.toggled(slot))
            return
        self._dragged_from = slot
        self.capture_mouse()
        self._edit(self.placing.unselected().at_slot(slot, across=self._at.across))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged_from is None:
            return
        x, y = self._inside(event)
        last = self.size.height - 2
        if not 0 <= y <= last:
            self.scroll_relative(y=-1 if y < 0 else 1, animate=False)
        slot = self._slot_under(x, max(0, min(y, last)), near=True)
        if slot is not None and slot != self.placing.cursor:
            self._edit(self.placing.at_slot(slot, across=self._at.across, extend=True))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragged_from is not None:
            self._dragged_from = None
            self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        x, y = self._inside(event)
        if event.button != 1 or y >= self.size.height - 1:
            return
        number = self._at.node_at(x, y + self.scroll_offset.y)
        if number is None:
            return
        if event.chain == 2:
            self.action_zoom()
        elif self._slot_under(x, y) is None and event.chain == 1:
            node = self.cells.nodes[number]
            at = self.placing.unselected().at_slot(Slot(node.name, 0))
            self._edit(at.node_selected(node.name))
