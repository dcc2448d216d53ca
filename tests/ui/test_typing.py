"""What is typed into a box, as quick as a paste or a slow connection delivers it."""

from __future__ import annotations

from pathlib import Path

from console_case import a_workspace, opened_console
from textual import events
from textual.widgets import Input


async def test_keys_that_edit_keep_their_place_among_characters(tmp_path: Path) -> None:
    async with opened_console(a_workspace(tmp_path / "w")) as case:
        await case.press("slash")
        box = case.app.focused
        assert isinstance(box, Input)
        keys = [*"failes", "backspace", "d", "home", "x", "ctrl+u", *"now ", "end", "delete"]
        for key in keys:
            character = key if len(key) == 1 else None
            case.app.post_message(events.Key("space" if key == " " else key, character))
        await case.settle()
        assert box.value == "now failed"


async def test_a_paste_right_after_the_key_that_asks_is_in_the_box(tmp_path: Path) -> None:
    async with opened_console(a_workspace(tmp_path / "w")) as case:
        case.app.post_message(events.Key("slash", "/"))
        case.app.post_message(events.Paste("failed"))
        await case.settle()
        box = case.app.focused
        assert isinstance(box, Input)
        assert box.value == "failed"
