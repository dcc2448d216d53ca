"""Boxes of nodes, line by line: replicas as joined boxes of their GPUs. Pure."""

from __future__ import annotations

from pdconsole.ui.grid_arrangement import FULL_LINES, MARK, TITLE, Arrangement
from pdconsole.ui.lines import printable
from pdconsole.ui.widgets.gpu_looks import (
    LINK_MARKS,
    OWNER_ROLES,
    ROOMY,
    WIDE,
    Bit,
    NodeLook,
    SlotLook,
    fitted,
    load_text,
    memory_text,
    model_text,
    owner_text,
    temperature_text,
)

HOT_C = 85.0  # from here on the temperature stands out


def full_line(node: NodeLook, line: int, at: Arrangement, facts: str) -> list[Bit]:
    """Line `line` of a node's box with all values; `facts` stand in its lower border."""
    inner = at.per_line * at.cell + 2
    border = "accent" if node.current else "muted"
    if line == 0:
        return [*_title(node, inner, border), Bit(" ")]
    if line == at.node_height - 1:
        return [*_foot(node, inner, border, facts), Bit(" ")]
    row, part = divmod(line - TITLE, FULL_LINES)
    bits = [Bit("│ ", border)]
    bits += _cells(node, row * at.per_line, at, _FULL[part])
    bits.append(Bit(" │ ", border))
    return bits


def compact_line(node: NodeLook, line: int, at: Arrangement) -> list[Bit]:
    """Line `line` of a node without a box of its own: its name, and the load of each GPU."""
    row, part = divmod(line, len(_COMPACT))
    left = _name(node, at.name) if line == 0 else [Bit(" " * at.name)]
    return [*left, *_cells(node, row * at.per_line, at, _COMPACT[part]), Bit("  ")]


def _name(node: NodeLook, room: int) -> list[Bit]:
    mark, role = LINK_MARKS[node.view.link]
    name = fitted(printable(node.view.name), room - MARK - 1) + " "
    return [
        Bit(mark + " ", role),
        Bit(name, "accent" if node.current else "text", "", node.current),
    ]


def _title(node: NodeLook, inner: int, border: str) -> list[Bit]:
    mark, mark_role = LINK_MARKS[node.view.link]
    name = printable(node.view.name)
    name = fitted(name, min(len(name), inner - 5))
    model = model_text(node.view)
    rest = inner - len(name) - 5
    right = f" {model} " if model and len(model) + 4 <= rest else ""
    return [
        Bit("┌ ", border),
        Bit(name, "accent" if node.current else "text", "", True),
        Bit(f" {mark}", mark_role),
        Bit(" " + "─" * (rest - len(right)), border),
        Bit(right, "muted"),
        Bit("─┐", border),
    ]


def _foot(node: NodeLook, inner: int, border: str, facts: str) -> list[Bit]:
    view = node.view
    text, role = facts, "muted"
    if view.link != "up":
        role = LINK_MARKS[view.link][1]
        text = f"{view.link}: {printable(view.message)}" if view.message else view.link
    if not text:
        return [Bit("└" + "─" * inner + "┘", border)]
    text = fitted(text, min(len(text), inner - 4))
    return [
        Bit("└─ ", border),
        Bit(text, role),
        Bit(" " + "─" * (inner - len(text) - 3) + "┘", border),
    ]


# --- the lines of a cell ---


def _cells(node: NodeLook, first: int, at: Arrangement, part: str) -> list[Bit]:
    end = min(first + at.per_line, len(node.slots))
    bits: list[Bit] = []
    for index in range(first, end):
        bits += _cell(node, index, first, end, at.cell, part)
    missing = at.per_line - max(0, end - first)
    if missing:
        bits.append(Bit(" " * (missing * at.cell)))
    return bits


def _cell(node: NodeLook, index: int, first: int, end: int, width: int, part: str) -> list[Bit]:
    slot = node.slots[index]
    if part == "index":
        return _index(slot, width)
    if not slot.replica:
        return _unplaced(slot, width, part)
    low, high = node.run_of(index, first, end)
    left, right = index == low, index == high
    role = "fail" if slot.bad else slot.role or "accent"
    if part == "top":
        return [_top(node, index, (low, high), width, role)]
    if part == "bottom":
        fill = "─" * (width - left - right)
        return [Bit(("╰" if left else "") + fill + ("╯" if right else ""), role, slot.back)]
    if part == "bottom-index":
        return _bottom_index(slot, left, right, width, role)
    text = _value(slot, part, width - 2)
    inside = " " * (not left) + text + " " * (not right)
    bits = [Bit("│", role, slot.back)] if left else []
    bits.append(Bit(inside, _value_role(slot, part), slot.back))
    if right:
        bits.append(Bit("│", role, slot.back))
    return bits


def _value(slot: SlotLook, part: str, room: int) -> str:
    cell = slot.cell
    if part == "load":
        text = load_text(cell, room)
    elif part == "memory":
        text = memory_text(cell, room)
    else:
        text = temperature_text(cell, room)
    # Numbers stand below one another whatever their length, off the border at their right.
    if room >= WIDE:
        return text.ljust(WIDE).center(room)
    text = text.rjust(min(room, 6 if room >= ROOMY else 4))
    return (" " * ((room - len(text)) // 2) + text).ljust(room)


def _value_role(slot: SlotLook, part: str) -> str:
    hot = slot.cell.temperature_c is not None and slot.cell.temperature_c >= HOT_C
    if part == "temperature" and hot:
        return "warn"
    return "text" if slot.replica and part == "load" else "muted"


def _index(slot: SlotLook, width: int) -> list[Bit]:
    text, role, bold = _number(slot)
    return [Bit(fitted(text, width), role, slot.back, bold)]


def _number(slot: SlotLook) -> tuple[str, str, bool]:
    """`▸3`, ` 3!`, ` 3■`: cursor, violation and selection are told by signs as well."""
    text = ("▸" if slot.cursor else " ") + str(slot.number)
    text += ("!" if slot.bad else "") + ("■" if slot.selected else "")
    role = "fail" if slot.bad else "text" if slot.back else "muted"
    return text, role, slot.cursor or slot.bad


def _top(node: NodeLook, index: int, run: tuple[int, int], width: int, role: str) -> Bit:
    """The part of the run's upper border over this cell; the label begins over the first."""
    low, high = run
    slot = node.slots[index]
    whole = width * (high - low + 1)
    label = _label(slot, whole - 2)
    line = f"╭{label}{'─' * (whole - 2 - len(label))}╮"
    start = (index - low) * width
    return Bit(line[start : start + width], role, slot.back, True)


def _label(slot: SlotLook, room: int) -> str:
    mark = f" {slot.status}" if slot.status else ""
    size = f" TP{slot.tp}{' EP' if slot.ep else ''}" if slot.tp else ""
    word = f" {slot.role}"
    for text in (slot.replica + word + size, slot.replica + size, slot.replica):
        if len(text) + len(mark) + 2 <= room:
            return f"{text}{mark} "
    text = slot.replica + mark.strip()
    return text if len(text) <= room else slot.replica[:room]


def _bottom_index(slot: SlotLook, left: bool, right: bool, width: int, role: str) -> list[Bit]:
    text, number_role, bold = _number(slot)
    # Numbers stand below one another: on the corner's right, or after a dash.
    lead = "╰" if left else "─"
    shown = text if slot.cursor and not left else text[1:]
    if slot.cursor:
        lead, shown = (lead, text) if left else ("", text)
    shown = shown[: width - len(lead) - right]
    fill = "─" * (width - len(lead) - len(shown) - right)
    return [
        Bit(lead, role, slot.back),
        Bit(shown, number_role, slot.back, bold),
        Bit(fill + ("╯" if right else ""), role, slot.back),
    ]


def _unplaced(slot: SlotLook, width: int, part: str) -> list[Bit]:
    cell = slot.cell
    role = OWNER_ROLES[cell.owner]
    if part == "top":
        return [Bit(fitted(" " + owner_text(cell, width - 1), width), role, slot.back)]
    if part == "bottom":
        return [Bit(" " * width, "muted", slot.back)]
    if part == "bottom-index":
        return _index(slot, width)
    text = f" {_value(slot, part, width - 2)} "
    return [Bit(text, _value_role(slot, part), slot.back)]


_FULL = ("index", "top", "load", "memory", "temperature", "bottom")
_COMPACT = ("top", "load", "bottom-index")
