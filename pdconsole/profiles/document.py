"""A YAML file with the line of each of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from pdconsole.profiles.problem import ProfileError, ProfileProblem

# libyaml's parser is some ten times faster; wheels of PyYAML have it, source builds may not.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Keys and list indices from the root to a value; what pydantic calls `loc`.
FieldPath: TypeAlias = tuple[str | int, ...]

_SYNTAX_ADVICE = (
    ("mapping values are not allowed", "put a value that contains `: ` in quotes, or indent less"),
    ("could not find expected ':'", "write `field: value`"),
    ("did not find expected ',' or", "close the list with ] or the mapping with }"),
    ("did not find expected", "give fields of one mapping the same indentation, and close quotes"),
    ("expected <block end>", "give fields of one mapping the same indentation"),
    ("quoted scalar", "close the quotes"),
    ("undefined alias", "put text that begins with * in quotes"),
    ("cannot start any token", "put text that begins with a special character in quotes"),
    ("could not determine a constructor", "remove the tag that begins with !"),
    ("expected a single document", "keep one profile a file: remove the second `---`"),
)


def field_name(path: FieldPath) -> str:
    """`runs[2].layout`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Document:
    """The data of a YAML file, and where in the file each part of it stands."""

    def __init__(self, file: str, root: yaml.Node | None, data: Any) -> None:
        self.file = file
        self.data = data
        self._root = root

    def locate(self, path: FieldPath) -> tuple[FieldPath, int]:
        """The part of `path` that the file has, and the line where that begins (from 1).

        What a path names may be missing from the file; then the innermost mapping that lacks it
        counts.
        """
        node = self._root
        found: list[str | int] = []
        line = 0 if node is None else node.start_mark.line + 1
        for part in path:
            child = _child(node, part)
            if child is None:
                break
            found.append(part)
            line, node = child
        return tuple(found), line

    def text(self, path: FieldPath) -> str | None:
        """A single value as it is written, without its quotes; None for mappings and lists."""
        node = self._root
        for part in path:
            child = _child(node, part)
            if child is None:
                return None
            node = child[1]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def problem(self, path: FieldPath, message: str, advice: str) -> ProfileProblem:
        _, line = self.locate(path)
        return ProfileProblem(
            file=self.file, line=line, field=field_name(path), message=message, advice=advice
        )


def read_document(path: Path) -> Document:
    """Parses one file. Raises ProfileError: unreadable, not UTF-8, not YAML, a key given twice."""
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _file_error(file, f"cannot be read: {error.strerror}", "mend or remove it") from error
    except UnicodeDecodeError as error:
        raise _file_error(file, "is not UTF-8 text", "save it in that encoding") from error
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        twice = [] if root is None else list(_repeated_keys(file, root))
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise ProfileError.of([_syntax_problem(file, text, error)]) from error
    except (yaml.YAMLError, ValueError) as error:  # a character or a date that cannot be
        said = str(error).splitlines()[0]
        raise _file_error(file, f"is not YAML ({said})", "put that value in quotes") from error
    finally:
        loader.dispose()
    if twice:
        raise ProfileError.of(sorted(twice, key=lambda problem: problem.line))
    return Document(file, root, data)


def _file_error(file: str, message: str, advice: str) -> ProfileError:
    return ProfileError.of(
        [ProfileProblem(file=file, message=f"the file {message}", advice=advice)]
    )


def _syntax_problem(file: str, text: str, error: yaml.MarkedYAMLError) -> ProfileProblem:
    # What is left open is best mended where it begins; the parser notices at the end of the file.
    begins = any(word in (error.context or "") for word in ("flow", "quoted", "simple key"))
    mark = (error.context_mark if begins else None) or error.problem_mark
    said = f"{error.context or ''} {error.problem or ''}".strip()
    line = mark.line + 1 if mark is not None else 0
    if any(re.match(r" *\t", written) for written in text.splitlines()[max(line - 1, 0) : line]):
        advice = "indent with spaces, not with tabs"
    else:
        advice = next(
            (advice for sign, advice in _SYNTAX_ADVICE if sign in said),
            "look at the indentation, colons and quotes of this line and the one above",
        )
    return ProfileProblem(file=file, line=line, message=f"not YAML ({said})", advice=advice)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    """Line and node of a mapping's entry or a list's item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item: yaml.Node = node.value[part]
        return item.start_mark.line + 1, item
    return None


def _repeated_keys(file: str, root: yaml.Node) -> Iterator[ProfileProblem]:
    """YAML lets the last of two equal keys win, in silence."""
    seen_nodes: set[int] = set()
    todo: list[tuple[FieldPath, yaml.Node]] = [((), root)]
    while todo:
        path, node = todo.pop()
        if id(node) in seen_nodes:  # an alias
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += [((*path, i), item) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                yield ProfileProblem(
                    file=file,
                    line=line,
                    field=field_name((*path, name)),
                    message=f"given twice, first in line {lines[name]}",
                    advice="remove one of the two",
                )
            lines[name] = line
            todo.append(((*path, name), value))
