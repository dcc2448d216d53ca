"""What keys do on the grid."""

from __future__ import annotations

from pdconsole.ui.actions import Action
from pdconsole.ui.lines import counted
from pdconsole.ui.placing import TP_KEYS

SCOPE = "grid"


def _action(
    id: str,  # noqa: A002
    name: str,
    tooltip: str,
    *keys: str,
    call: str = "",
    hint: bool = False,
    together: str = "",
) -> Action:
    whole = f"{SCOPE}.{id}"
    return Action(whole, name, tooltip, keys, SCOPE, hint=hint, call=call, together=together)


def _move(id: str, name: str, dx: int, dy: int, *keys: str) -> Action:  # noqa: A002
    arrow = next(key for key in keys if len(key) > 1)
    extended = arrow.startswith("shift+")
    way = "The GPU beside, or of the next node" if dx else "The line of GPUs below or above"
    tooltip = "Select on the way" if extended else way
    return _action(id, name, tooltip, *keys, call=f"move({dx}, {dy}, {extended})")


PLACING = (
    _action("prefill", "prefill", "Place prefill replicas here", "p", call="role('P')", hint=True),
    _action("decode", "decode", "Place decode replicas here", "d", call="role('D')", hint=True),
    _action(
        *("collocated", "collocated", "Place collocated replicas here", "c"),
        call="role('C')",
        hint=True,
    ),
    *(
        _action(
            *(
                f"tp-{tp}",
                f"TP{tp}",
                f"Replicas of {counted(tp, 'GPU')}; selected ones are divided anew",
            ),
            str(tp),
            call=f"tp({tp})",
            hint=True,
            together="TP",
        )
        for tp in TP_KEYS
    ),
    _action("expert-parallel", "EP", "Experts split over the TP group, or not", "e", call="ep"),
    _action("clear", "clear", "Take the replicas here away", "x", "delete", hint=True),
    _action("clear-all", "Clear all", "Take all replicas away", "X"),
    _action("undo", "undo", "Take the last edit back", "u", hint=True),
    _action("redo", "redo", "Do it again", "ctrl+r", "U"),
)
SELECTING = (
    _action("select", "select", "This GPU into the selection, or out of it", "space"),
    _action("grow", "Select on", "Every move selects, until this again", "V"),
    _action("select-node", "Select node", "All GPUs of this node, or none", "n"),
    _action(
        "violation", "Next violation", "To the next GPU that breaks a rule", "exclamation_mark"
    ),
)
MOVING = (
    _move("left", "Left", -1, 0, "left", "h"),
    _move("down", "Down", 0, 1, "down", "j"),
    _move("up", "Up", 0, -1, "up", "k"),
    _move("right", "Right", 1, 0, "right", "l"),
    _move("select-left", "Select left", -1, 0, "shift+left"),
    _move("select-down", "Select down", 0, 1, "shift+down"),
    _move("select-up", "Select up", 0, -1, "shift+up"),
    _move("select-right", "Select right", 1, 0, "shift+right"),
    _action("top", "First", "The first GPU", "g", "home"),
    _action("bottom", "Last", "The last GPU", "G", "end"),
    _action("page-down", "Page down", "A screenful on", "ctrl+f", "pagedown"),
    _action("page-up", "Page up", "A screenful back", "ctrl+b", "pageup"),
)
ZOOMING = (
    _action("zoom", "zoom", "Into the node, or out of it", "enter", "z"),
    _action("closer", "Closer", "More of each node", "plus", "equals_sign"),
    _action("farther", "Farther", "More nodes at once", "minus"),
    _action("back", "Back", "No selection; out of a node; as it fits", "escape"),
)
ACTIONS = (*PLACING, *SELECTING, *ZOOMING, *MOVING)

HELP = (
    "Where replicas stand. A role key places a replica of the chosen TP at the cursor and goes on "
    "to the next free GPU; with GPUs selected it fills them, and on a replica it changes its role. "
    "Here 1, 2, 4 and 8 choose the TP; other screens are on F2 to F8, [ and ].\n"
    "Mouse: a click moves the cursor, a drag selects, ctrl+click adds one, a click on a node's "
    "name selects the node, a double click zooms, the wheel scrolls.\n"
    "Signs: ▸ cursor, ■ selected, ! breaks a rule, ● runs, ◌ starts, ✗ failed."
)
