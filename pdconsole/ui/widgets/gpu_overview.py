"""The ends of the zoom: a character a GPU for very many, a line a GPU for one node. Pure."""

from __future__ import annotations

from pdconsole.ui.grid_arrangement import HEADING, MARK, TITLE, Arrangement
from pdconsole.ui.lines import printable
from pdconsole.ui.widgets.gpu_looks import (
    LINK_MARKS,
    OWNER_ROLES,
    OWNER_WORDS,
    Bit,
    NodeLook,
    SlotLook,
    fitted,
    model_text,
)

OWNER_SIGNS = {"free": "·", "ours": "o", "others": "x", "unknown": "?"}
BAR = 10

# Heading and width of the columns of a node's table, the dispensable ones last.
_COLUMNS = (
    ("gpu", 8),
    ("replica", 20),
    ("use", 5 + BAR + 2),
    ("memory", 15 + BAR + 2),
    ("temp", 7),
    ("power", 8),
    ("owner", 12),
)


def overview_line(node: NodeLook, line: int, at: Arrangement) -> list[Bit]:
    """Name and a sign a GPU: `PpDddd··`, where a capital begins a replica."""
    mark, role = LINK_MARKS[node.view.link]
    name = fitted(printable(node.view.name), at.name - MARK - 1)
    lead = "▸" if node.current else " " if node.view.link == "up" else mark
    bits = [Bit(" " * at.name)]
    if line == 0:
        named = "accent" if node.current else "text" if node.view.link == "up" else role
        bits = [
            Bit(lead + " ", "accent" if node.current else role),
            Bit(name + " ", named, "", node.current),
        ]
    first = line * at.per_line
    shown = node.slots[first : first + at.per_line]
    bits += [_sign(node, slot) for slot in shown]
    return [*bits, Bit(" " * (at.node_width - at.name - len(shown)))]


def _sign(node: NodeLook, slot: SlotLook) -> Bit:
    if slot.bad:
        return Bit("!", "fail", slot.back, True)
    if not slot.replica:
        text = "■" if slot.selected else OWNER_SIGNS[slot.cell.owner]
        return Bit(text, OWNER_ROLES[slot.cell.owner], slot.back)
    begins = slot.number == 0 or not node.slots[slot.number - 1].joins(slot)
    letter = slot.replica[0]
    return Bit(letter.upper() if begins else letter.lower(), slot.role, slot.back, begins)


def node_line(node: NodeLook, line: int, at: Arrangement, facts: str) -> list[Bit]:
    """A node as a table: title, headings, a line a GPU, and what is known of the node."""
    width = at.node_width
    slots = at.slots
    if line == 0:
        return _node_title(node, width)
    if line == TITLE:
        return [
            Bit(fitted("    " + "".join(fitted(t, w) for t, w in _shown(width)), width), "muted")
        ]
    index = line - TITLE - HEADING
    if index < len(node.slots):
        return _gpu_line(node, index, width)
    if index == slots:
        text = f"    {_told(node, facts)}"
        return [Bit(fitted(text, width), "muted" if node.view.link == "up" else "fail")]
    return [Bit(" " * width)]


def _node_title(node: NodeLook, width: int) -> list[Bit]:
    mark, role = LINK_MARKS[node.view.link]
    name = printable(node.view.name)
    text = f" {node.view.link}  {model_text(node.view)} "
    rest = max(0, width - len(name) - len(text) - 5)
    return [
        Bit("─ ", "muted"),
        Bit(name[: width - 6], "accent" if node.current else "text", "", True),
        Bit(f" {mark}", role),
        Bit(text[: max(0, width - len(name) - 5)], "muted"),
        Bit("─" * rest + " ", "muted"),
    ]


def _told(node: NodeLook, facts: str) -> str:
    if node.view.link != "up":
        return printable(node.view.message) or node.view.link
    versions = [f"{name} {printable(v)}" for name, v in sorted(node.view.versions.items())]
    return " · ".join([*([facts] if facts else []), *versions])


def _shown(width: int) -> list[tuple[str, int]]:
    """The columns that fit, the last ones left out."""
    shown, used = [], 4
    for title, room in _COLUMNS:
        if used + room > width:
            break
        shown.append((title, room))
        used += room
    return shown


def _gpu_line(node: NodeLook, index: int, width: int) -> list[Bit]:
    slot = node.slots[index]
    low, high = node.run_of(index, 0, len(node.slots))
    join = " "
    if slot.replica:
        join = "╶" if low == high else "╭" if index == low else "╰" if index == high else "│"
    role = "fail" if slot.bad else slot.role or "muted"
    texts = {
        "gpu": (f"{slot.number}{'!' if slot.bad else ''}{' ■' if slot.selected else ''}", "text"),
        "replica": (_replica(slot), role),
        "use": (_use(slot), "text"),
        "memory": (_memory(slot), "text"),
        "temp": (_known(slot.cell.temperature_c, "°C"), "text"),
        "power": (_known(slot.cell.power_w, "W"), "text"),
        "owner": (
            printable(slot.cell.holder) or OWNER_WORDS[slot.cell.owner],
            OWNER_ROLES[slot.cell.owner],
        ),
    }
    bits = [
        Bit("▸ " if slot.cursor else "  ", "accent", slot.back),
        Bit(join + " ", role, slot.back, True),
    ]
    used = 4
    shown = _shown(width)
    for column, room in shown:
        if column == shown[-1][0]:
            room = width - used
        text, colour = texts[column]
        bits.append(Bit(fitted(text, room), colour, slot.back, column == "replica"))
        used += room
    return bits


def _replica(slot: SlotLook) -> str:
    if not slot.replica:
        return ""
    size = f" TP{slot.tp}{' EP' if slot.ep else ''}" if slot.tp else ""
    return f"{slot.replica} {slot.role}{size}{' ' + slot.status if slot.status else ''}"


def _use(slot: SlotLook) -> str:
    use = slot.cell.util_pct
    return "-" if use is None else f"{use:3.0f}% {_bar(use / 100)}"


def _memory(slot: SlotLook) -> str:
    used, whole = slot.cell.memory_used_mib, slot.cell.memory_mib
    if used is None:
        return f"{whole / 1024:.0f} GiB" if whole else "-"
    if not whole:
        return f"{used / 1024:.0f} GiB"
    return f"{f'{used / 1024:.0f} of {whole / 1024:.0f} GiB':14} {_bar(used / whole)}"


def _bar(share: float) -> str:
    full = round(max(0.0, min(1.0, share)) * BAR)
    return "━" * full + "╌" * (BAR - full)


def _known(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"
