"""The registry of actions is whole: each has a name, a key, someone who carries it out, and can be
named in a keymap; jump mode reaches every part."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
from console_case import a_workspace, opened_console
from textual.app import App
from textual.dom import DOMNode
from textual.widgets import Input

import pdconsole.ui
from pdconsole.ui.action_registry import every_action, every_dialog
from pdconsole.ui.actions import Action
from pdconsole.ui.app import ConsoleApp
from pdconsole.ui.jump import LETTERS, targets
from pdconsole.ui.keymap import keymap_problems
from pdconsole.ui.screen_list import SCREENS
from pdconsole.ui.screens.confirm import ConfirmScreen
from pdconsole.ui.screens.jump import JumpScreen
from pdconsole.ui.screens.modal import Modal
from pdconsole.ui.screens.text_prompt import TextPrompt
from pdconsole.ui.widgets.parts import actions_on


def owners() -> list[type[DOMNode]]:
    """All classes of the console that list actions, the app first."""
    for module in pkgutil.walk_packages(pdconsole.ui.__path__, "pdconsole.ui."):
        import_module(module.name)
    found, left = [], [DOMNode]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith("pdconsole.") and kind.__dict__.get("ACTIONS"):
            found.append(kind)
    return sorted(set(found), key=lambda kind: (not issubclass(kind, App), kind.__name__))


def named(kind: type[DOMNode]) -> list[Action]:
    return list(actions_on(kind))  # type: ignore[arg-type]


def test_every_action_can_be_named_in_a_keymap_and_no_key_means_two_things() -> None:
    known = {action.id for action in every_action()}
    for kind in owners():
        assert {a.id for a in named(kind)} <= known, kind
    assert keymap_problems({}, every_action()) == []
    clash = keymap_problems({"live.zoom-in": ("space",)}, every_action())
    assert clash == ["keymap.yaml: space is both replay.play and live.zoom-in"]


@pytest.mark.parametrize("kind", owners(), ids=lambda kind: kind.__name__)
def test_an_action_has_words_a_key_and_someone_to_carry_it_out(kind: type[DOMNode]) -> None:
    for action in named(kind):
        assert action.name, action
        assert not action.tooltip[0].islower(), action
        assert not action.tooltip.endswith("."), action
        assert action.keys, action
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", action.id), action
        assert hasattr(kind, f"action_{action.method.partition('(')[0]}"), action


def test_no_screen_takes_a_key_of_the_app_away() -> None:
    ours = {key for action in ConsoleApp.ACTIONS for key in action.keys}
    for entry in SCREENS:
        for action in entry.load().ACTIONS:
            assert not (ours - {"escape"}) & set(action.keys), action


@pytest.mark.parametrize("entry", SCREENS, ids=lambda entry: entry.name)
async def test_jump_goes_to_each_part_of_each_screen(entry: object, tmp_path: Path) -> None:
    name = entry.name  # type: ignore[attr-defined]
    async with opened_console(a_workspace(tmp_path / "w"), session="080000Z") as case:
        case.app.action_show(name)
        await case.settle()
        for letter, part, _ in targets(case.app.screen):
            if isinstance(case.app.focused, Input):
                case.app.screen.set_focus(None)
            await case.press("apostrophe")
            assert isinstance(case.app.screen, JumpScreen)
            assert all(f" {known} " in case.text for known in letter)
            await case.press(letter)
            assert case.app.focused is part
        before = case.app.focused
        if not isinstance(before, Input):
            await case.press("apostrophe", "escape")
            assert not isinstance(case.app.screen, JumpScreen)
            assert case.app.focused is before


async def test_jump_by_mouse(tmp_path: Path) -> None:
    async with opened_console(a_workspace(tmp_path / "w"), session="080000Z") as case:
        part = targets(case.app.screen)[-1].widget
        await case.press("apostrophe")
        await case.pilot.click(offset=(part.region.x + 1, part.region.y))
        await case.settle()
        assert case.app.focused is part


def test_letters_are_told_apart() -> None:
    assert len(set(LETTERS)) == len(LETTERS)


def test_all_dialogs_are_known_to_the_keymap() -> None:
    owners()  # all modules are there now
    with_keys = {kind for kind in Modal.__subclasses__() if kind.ACTIONS}
    assert {k for k in with_keys if k.__module__.startswith("pdconsole.")} == set(every_dialog())
    own = {"JumpScreen"}  # its letters are its keys
    assert {k.__name__ for k in Modal.__subclasses__() if not k.ACTIONS} == own


async def test_keys_of_dialogs_are_those_of_the_keymap(tmp_path: Path) -> None:
    config = tmp_path / "xdg" / "config" / "pdconsole"
    config.mkdir(parents=True)
    (config / "keymap.yaml").write_text(
        "confirm.yes: o\nconfirm.no: [z, escape]\nprompt.leave: ^g\n"
    )
    async with opened_console(a_workspace(tmp_path / "w")) as case:
        await case.press("d")
        assert "Delete (o)" in case.text
        assert "No (z)" in case.text
        await case.press("y", "n")
        assert isinstance(case.app.screen, ConfirmScreen)
        await case.press("z")
        assert not isinstance(case.app.screen, ConfirmScreen)
        await case.press("d", "o")
        assert "is deleted" in case.text
        await case.press("5", "s", "escape")
        assert isinstance(case.app.screen, TextPrompt)
        await case.press("ctrl+g")
        assert not isinstance(case.app.screen, TextPrompt)
