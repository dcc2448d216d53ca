"""Turns what pydantic says about a profile into problems: file, line, field, what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pdconsole.profiles.document import Document, FieldPath
from pdconsole.profiles.problem import ProfileProblem, one_of, suggest
from pdconsole.profiles.section import SECRET_ADVICE, SECRET_MESSAGE, FieldError, looks_secret

# error type -> what is needed
_NEEDED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def problems_of(
    error: ValidationError, document: Document, section: type[BaseModel]
) -> list[ProfileProblem]:
    """One problem for each field at fault, in the order of the file's lines."""
    found: dict[FieldPath, ProfileProblem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, document, section)
        path = _path(detail, document)
        if path in found and found[path].message != problem.message:
            # The value fits none of several accepted types.
            problem = document.problem(path, *_none_of_several(document, path))
        found[path] = problem
    return sorted(found.values(), key=lambda problem: problem.line)


def _path(detail: Mapping[str, Any], document: Document) -> FieldPath:
    """`loc` without what is not in the file: names of union members, marks of mapping keys."""
    located, _ = document.locate(detail["loc"])
    if detail["type"] == "missing":
        return (*located, detail["loc"][-1])
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        return (*located, *cause.path)
    return located


def _problem(
    detail: Mapping[str, Any], document: Document, section: type[BaseModel]
) -> ProfileProblem:
    path = _path(detail, document)
    if any(_is_secret(part, section, path[:i]) for i, part in enumerate(path)):
        return document.problem(path, SECRET_MESSAGE, SECRET_ADVICE)
    return document.problem(path, *_said(detail, path, document, section))


def _said(
    detail: Mapping[str, Any], path: FieldPath, document: Document, section: type[BaseModel]
) -> tuple[str, str]:
    """Message and advice."""
    kind, context = str(detail["type"]), detail.get("ctx", {})
    owner, field = _declared(section, path)
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    example = f"for example {_line(name, _example(field))}" if field else ""
    cause = context.get("error")
    if isinstance(cause, FieldError):
        return cause.message, cause.advice
    if kind == "extra_forbidden":
        known = _fields(owner)
        return "no such field", suggest(
            str(path[-1]), known, f"remove it; the fields here are {', '.join(known)}"
        )
    if detail["loc"][-1:] == ("[key]",):
        return f"{_NEEDED[kind.split('_')[0]]} is needed before the colon", "write it, as in 4:"
    if kind == "missing":
        if isinstance(path[-1], int):
            return "a value is missing", f"write them all, {example}"
        return "missing", f"add {_line(path[-1], _example(field))}"
    if kind == "literal_error":
        choices = _choices(field)
        return f"{_quoted(document.text(path))} is not possible here", suggest(
            document.text(path) or "", choices, f"write {one_of(choices)}"
        )
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{document.text(path)} is out of range", f"write {words} {context[name]:g}"
    if kind == "string_pattern_mismatch":
        return (
            f"{_quoted(document.text(path))} cannot be part of a file name",
            "write letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        )
    if kind == "too_short":
        return "empty", f"write at least one, {example}"
    if kind == "too_long":
        return f"more than {context['max_length']} values", f"write fewer, {example}"
    needed = _NEEDED.get(kind.split("_")[0])
    if needed is None:
        return str(detail["msg"]), example or "write another value"
    return _wrong_type(needed, document.text(path), detail["input"], example)


def _wrong_type(needed: str, written: str | None, value: Any, example: str) -> tuple[str, str]:
    message = f"{needed} is needed here"
    if value is None:
        return f"empty, and {message}", f"write it, {example}, or remove the line"
    if needed == "text" and written is not None:
        return f"{message}, and YAML reads {written} as something else", f'write "{written}"'
    if needed in ("a whole number", "a number") and isinstance(value, str):
        return f"{message}, and {_quoted(written)} is text", (
            f"write {written} without quotes"
            if _is_number(value)
            else example or "write the number alone, without its unit"
        )
    if needed == "a list" and written is not None:
        return message, f"write [{', '.join(re.split(r'[ ,]+', written.strip()))}]"
    return message, example or f"write {needed}"


def _none_of_several(document: Document, path: FieldPath) -> tuple[str, str]:
    return (
        "text, a number, or true or false is needed here",
        "write one of these, and put text that looks like something else in quotes"
        if document.text(path) is not None
        else "write a single value",
    )


def _is_secret(part: str | int, section: type[BaseModel], before: FieldPath) -> bool:
    """Whether a key that is no field's name looks like a secret's: its value is never repeated."""
    owner, _ = _declared(section, before)
    known = () if owner is None else _fields(owner)
    return isinstance(part, str) and part not in known and looks_secret(part)


# --- what the schema says of a place in the file ---


def _declared(
    section: type[BaseModel], path: FieldPath
) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The section that the value at `path` is or belongs to, and the field."""
    owner: type[BaseModel] | None = section
    field: FieldInfo | None = None
    for part in path:
        known = owner.model_fields if owner is not None else {}
        if isinstance(part, str) and part in known:
            field = known[part]
            inner = _section_in(field.annotation)
            owner = inner if inner is not None else owner
    return owner, field


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section class in `X`, `X | None`, `list[X]`, `dict[int, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(
        (inner for arg in get_args(annotation) if (inner := _section_in(arg)) is not None), None
    )


def _fields(section: type[BaseModel] | None) -> list[str]:
    return [] if section is None else list(section.model_fields)


def _choices(field: FieldInfo | None) -> list[str]:
    """The values of the Literal in a field's annotation."""

    def literals(annotation: Any) -> Iterable[str]:
        for arg in get_args(annotation):
            if isinstance(arg, str):
                yield arg
            else:
                yield from literals(arg)

    return [] if field is None else list(literals(field.annotation))


def _example(field: FieldInfo | None) -> Any:
    if field is None:
        return "..."
    if field.examples:
        return field.examples[0]
    inner = _section_in(field.annotation)
    if inner is not None:
        return {n: _example(f) for n, f in inner.model_fields.items() if f.is_required()}
    if not field.is_required():
        return field.get_default(call_default_factory=True)
    return 1 if field.annotation in (int, float) else "..."


def _line(name: str | int, example: Any) -> str:
    """A field as one would write it on one line."""
    value = example if isinstance(example, str) and example.isascii() else _flow(example)
    return f"{name}: {value}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def _quoted(text: str | None) -> str:
    return "this" if text is None else f'"{text}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
