"""What the user chose: `settings.yaml` and `keymap.yaml` in the user's configuration directory.

A file that cannot be used never keeps the console from opening: its problems are sentences, and
what is sound in it holds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pdconsole.ui import theme

SETTINGS = "settings.yaml"


class SettingsError(Exception):
    """The settings could not be written; str() says where and why."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ascii` None means: by the locale of the terminal. `refresh_hz`: how often what is shown is
    brought up to date."""

    theme: str = theme.DEFAULT
    ascii: bool | None = None
    mouse: bool = True
    charts: tuple[str, ...] = ()  # that the Live screen shows; none: all of them
    refresh_hz: Annotated[float, msgspec.Meta(ge=0.2, le=10.0)] = 2.0
    compare: dict[str, str] = {}  # axes and promise of the Compare screen, as `compare` takes them
    chosen: dict[str, str] = {}  # the last cluster, model, workload, network of the Grid screen

    def uses_ascii(self, environment: Mapping[str, str]) -> bool:
        if self.ascii is not None:
            return self.ascii
        named = next(
            (v for n in ("LC_ALL", "LC_CTYPE", "LANG") if (v := environment.get(n))), "C.UTF-8"
        )
        return "utf" not in named.lower() or environment.get("TERM", "") in ("linux", "vt100")


def load_settings(directory: Path) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and a sentence for each problem."""
    path = directory / SETTINGS
    raw, problems = read_mapping(path)
    good: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            msgspec.convert({name: value}, Settings)
        except msgspec.ValidationError as e:
            problems.append(f"{path}: `{name}` is ignored: {e}")
            continue
        good[name] = value
    if good.get("theme", theme.DEFAULT) not in theme.NAMES:
        problems.append(
            f"{path}: no theme is called {good.pop('theme')}; there are {', '.join(theme.NAMES)}"
        )
    return msgspec.convert(good, Settings), tuple(problems)


def save_settings(directory: Path, settings: Settings) -> None:
    """Write what differs from the defaults. Raises SettingsError; the old file then stays."""
    import yaml

    plain = msgspec.to_builtins(settings)
    defaults = msgspec.to_builtins(Settings())
    chosen = {name: value for name, value in plain.items() if value != defaults[name]}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=directory, prefix=".", delete=False) as file:
            yaml.safe_dump(chosen, file, sort_keys=False)
        Path(file.name).replace(directory / SETTINGS)
    except OSError as e:
        raise SettingsError(f"the settings are not saved in {directory}: {e.strerror}") from e


def read_mapping(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A YAML mapping, empty where there is no file, and what is wrong with the file."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as e:
        return {}, [f"{path} cannot be read: {e}"]
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as e:
        line = getattr(getattr(e, "problem_mark", None), "line", None)
        where = "" if line is None else f" in line {line + 1}"
        return {}, [f"{path} is no YAML{where}; it is ignored"]
    if found is None:
        return {}, []
    if not isinstance(found, dict):
        return {}, [f"{path} holds no mapping; it is ignored"]
    return {str(key): value for key, value in found.items()}, []


def default_environment() -> Mapping[str, str]:
    return os.environ
