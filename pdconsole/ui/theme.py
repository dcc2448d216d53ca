"""Colours by what they mean. A role is never told by its colour alone: a letter or word is with it.

Roles are theme variables, so styles can say `$role-prefill`, and widgets that draw lines
themselves ask `colour(app, "prefill")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from textual.app import App
    from textual.theme import Theme

ROLES = (
    *("text", "muted", "accent", "ok", "warn", "fail", "unknown", "simulated"),
    *("prefill", "decode", "collocated", "router"),
    *("series-1", "series-2", "series-3", "series-4", "series-5", "series-6"),
)


class Palette(msgspec.Struct, frozen=True):
    """Colours of one theme; `roles` in the order of ROLES."""

    name: str
    title: str
    dark: bool
    background: str
    surface: str
    panel: str
    roles: tuple[str, ...]
    cursor: str  # the row under the cursor

    def colours(self) -> dict[str, str]:
        return dict(zip(ROLES, self.roles, strict=True))


PALETTES = (
    Palette(
        name="pdconsole-dark",
        title="dark",
        dark=True,
        background="#0f1317",
        surface="#151a20",
        panel="#1d242c",
        cursor="#26425c",
        roles=(
            *("#d6dde4", "#8b98a5", "#6cb6ff", "#5fc98a", "#e5b454", "#f47a72", "#a3adb8"),
            "#c792ea",
            *("#7cc0ff", "#f0a860", "#6fd3b4", "#a9a4f0"),
            *("#6cb6ff", "#f0a860", "#6fd3b4", "#c792ea", "#e5d06a", "#f28fad"),
        ),
    ),
    Palette(
        name="pdconsole-light",
        title="light",
        dark=False,
        background="#fbfbf9",
        surface="#f3f3f0",
        panel="#e6e6e1",
        cursor="#cfe2f5",
        roles=(
            *("#1d2329", "#5c6670", "#0b5cad", "#1f6f3d", "#865600", "#b3261e", "#55606b"),
            "#7a2fa8",
            *("#0b5cad", "#9a4d00", "#0c6b58", "#5046b5"),
            *("#0b5cad", "#9a4d00", "#0c6b58", "#7a2fa8", "#6b6100", "#a8215b"),
        ),
    ),
    Palette(
        name="pdconsole-high-contrast",
        title="high contrast",
        dark=True,
        background="#000000",
        surface="#000000",
        panel="#141414",
        cursor="#003f7d",
        roles=(
            *("#ffffff", "#c8c8c8", "#5cc8ff", "#58ff8c", "#ffe14d", "#ff9d96", "#d8d8d8"),
            "#f0a8ff",
            *("#74d0ff", "#ffb84d", "#5cffd0", "#c9bfff"),
            *("#74d0ff", "#ffb84d", "#5cffd0", "#f0a8ff", "#ffff66", "#ffb0c8"),
        ),
    ),
    # Hues after Okabe and Ito, which stay apart under the common colour blindnesses.
    Palette(
        name="pdconsole-colour-blind-safe",
        title="colour-blind safe",
        dark=True,
        background="#101214",
        surface="#16191c",
        panel="#1f2428",
        cursor="#1f4a66",
        roles=(
            *("#dfe3e6", "#98a2ab", "#56b4e9", "#56b4e9", "#f0e442", "#ee7733", "#a8b1b9"),
            "#dd9cc4",
            *("#56b4e9", "#e69f00", "#1fc39a", "#dd9cc4"),
            *("#56b4e9", "#e69f00", "#1fc39a", "#f0e442", "#dd9cc4", "#ee7733"),
        ),
    ),
)
DEFAULT = PALETTES[0].name
NAMES = tuple(palette.name for palette in PALETTES)


def textual_theme(palette: Palette) -> Theme:
    from textual.theme import Theme

    role = palette.colours()
    return Theme(
        name=palette.name,
        dark=palette.dark,
        primary=role["accent"],
        secondary=role["prefill"],
        accent=role["accent"],
        success=role["ok"],
        warning=role["warn"],
        error=role["fail"],
        foreground=role["text"],
        background=palette.background,
        surface=palette.surface,
        panel=palette.panel,
        text_alpha=1.0,
        variables={
            **{f"role-{name}": value for name, value in role.items()},
            "row-cursor": palette.cursor,
            "block-cursor-background": palette.cursor,
            "block-cursor-foreground": role["text"],
            "block-cursor-blurred-background": palette.panel,
            "block-cursor-blurred-foreground": role["text"],
            "footer-key-foreground": role["accent"],
            "border": role["muted"],
            "border-blurred": palette.panel,
            "scrollbar": role["muted"],
            "scrollbar-background": palette.surface,
            "input-selection-background": palette.cursor,
        },
    )


def colour(app: App[Any], role: str) -> str:
    """The colour of a role, as `#rrggbb`, in the theme of now."""
    return role_colour(app.theme_variables, role)


def role_colour(variables: Mapping[str, str], role: str) -> str:
    found = variables.get(f"role-{role}")
    return found if found is not None else variables.get("foreground", "#d6dde4")


def title_of(name: str) -> str:
    return next((p.title for p in PALETTES if p.name == name), name)
