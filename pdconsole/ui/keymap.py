"""The user's keys: `keymap.yaml`, a mapping from an action's id to one key or a list of keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from pdconsole.ui.actions import Action
from pdconsole.ui.settings import read_mapping

KEYMAP = "keymap.yaml"

Keymap = dict[str, tuple[str, ...]]


def load_keymap(directory: Path) -> tuple[Keymap, tuple[str, ...]]:
    """Action id -> keys as Textual names them, and a sentence for each problem."""
    path = directory / KEYMAP
    raw, problems = read_mapping(path)
    found: Keymap = {}
    for action, value in raw.items():
        keys = [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
        if not isinstance(keys, list) or not all(isinstance(k, str | int) for k in keys):
            problems.append(f"{path}: `{action}` needs a key or a list of keys")
            continue
        found[action] = tuple(key_name(str(k)) for k in keys if str(k))
    return found, tuple(problems)


def key_name(written: str) -> str:
    """Textual's name of a key as people write it: `?` is `question_mark`, `^p` is `ctrl+p`."""
    from textual.keys import _character_to_key

    text = written.strip() or " "
    if len(text) == 2 and text[0] == "^":
        return f"ctrl+{text[1].lower()}"
    if len(text) == 1:
        return _character_to_key(text)
    return text


def keymap_problems(keymap: Keymap, actions: Iterable[Action]) -> list[str]:
    """Ids that name no action, and keys that one scope would have twice."""
    known = {action.id: action for action in actions}
    problems = []
    for name in keymap:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"; did you mean {near[0]}?" if near else "; `?` lists the actions"
            problems.append(f"{KEYMAP}: no action is called {name}{advice}")
    used: dict[tuple[str, str], str] = {}
    for action in known.values():
        for key in keymap.get(action.id, tuple(key_name(k) for k in action.keys)):
            other = used.setdefault((action.scope, key), action.id)
            if other != action.id:
                problems.append(f"{KEYMAP}: {key} is both {other} and {action.id}")
    return problems
