"""What a person can do in the console: one registry for footer, palette, help and keymap. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import msgspec

APP = "app"


class Action(msgspec.Struct, frozen=True):
    """`sessions.delete` of the screen `sessions` is carried out by its `action_delete`.

    `keys` are Textual's names, the first is the one shown. An action with `hint` false is left out
    of the footer, not of palette, help or keymap. `call` is what Textual calls where that is not
    the second half of the id, such as `show('logs')`. Neighbours with the same `together` share one
    hint, such as `1 2 4 8 TP`.
    """

    id: str
    name: str
    tooltip: str
    keys: tuple[str, ...]
    scope: str  # "app", the name of a screen, or that of a part of screens such as "table"
    hint: bool = True
    priority: bool = False  # also while text is typed
    call: str = ""
    together: str = ""

    @property
    def hint_name(self) -> str:
        return self.together or self.name

    @property
    def method(self) -> str:
        """What Textual calls: `delete` for `action_delete`."""
        return self.call or self.id.partition(".")[2].replace("-", "_")


_SHOWN = {
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "slash": "/",
    "full_stop": ".",
    "minus": "-",
    "plus": "+",
    "hash": "#",
    "at": "@",
    "underscore": "_",
    "backslash": "\\",
    "percent_sign": "%",
    "dollar_sign": "$",
    "circumflex_accent": "^",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
}


def key_label(key: str, *, ascii_only: bool = False) -> str:
    """How a key is written for people: `^p` for `ctrl+p`, `?` for `question_mark`."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if ascii_only and last in ("up", "down", "left", "right"):
        shown = last
    else:
        shown = _SHOWN.get(last) or _character(last)
    if last.startswith("f") and last[1:].isdigit():
        shown = last.upper()
    if "ctrl" in modifiers:
        shown = f"^{shown}"
    rest = [m for m in modifiers if m != "ctrl"]
    return "+".join([*rest, shown])


def _character(key: str) -> str:
    """`?` of `question_mark`; keys that are no characters keep their names."""
    if "_" not in key and key not in ("colon", "comma", "semicolon", "tilde", "asterisk"):
        return key
    try:
        return unicodedata.lookup(key.replace("_", " ").upper())
    except KeyError:
        return key


def keys_of(action: Action, keymap: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The action's keys as the user has them."""
    return keymap.get(action.id, action.keys)


def hints(
    actions: Iterable[Action], keymap: dict[str, tuple[str, ...]], *, ascii_only: bool = False
) -> list[list[tuple[Action, str]]]:
    """The actions for the footer with their first key, in their order; neighbours that belong
    together in one list."""
    found: list[list[tuple[Action, str]]] = []
    for action in actions:
        keys = keys_of(action, keymap)
        if not action.hint or not keys:
            continue
        shown = (action, key_label(keys[0], ascii_only=ascii_only))
        if action.together and found and found[-1][0][0].together == action.together:
            found[-1].append(shown)
        else:
            found.append([shown])
    return found
