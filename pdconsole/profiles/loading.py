"""One profile file: read, checked against its class, or the problems that it has."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pdconsole.profiles.advice import problems_of
from pdconsole.profiles.document import Document, read_document
from pdconsole.profiles.problem import ProfileError, ProfileProblem
from pdconsole.profiles.section import Section

SectionT = TypeVar("SectionT", bound=Section)


def load(path: Path, section: type[SectionT]) -> tuple[SectionT, Document]:
    """The profile in `path`, named like the file. Raises ProfileError with every problem found."""
    document = read_document(path)
    fields = document.data
    if not isinstance(fields, dict):
        what = "nothing" if fields is None else "no fields"
        required = ", ".join(n for n, f in section.model_fields.items() if f.is_required())
        message, advice = (
            f"the file holds {what}",
            f"write `field: value` lines; needed: {required}",
        )
        raise ProfileError.of(
            [ProfileProblem(file=document.file, line=1, message=message, advice=advice)]
        )
    named = fields.setdefault("name", path.stem)
    try:
        profile = section.model_validate(fields)
    except ValidationError as error:
        raise ProfileError.of(problems_of(error, document, section)) from error
    if named != path.stem:
        raise ProfileError.of(
            [
                document.problem(
                    ("name",),
                    f"{named} is not the name of the file, by which it is found",
                    f"write name: {path.stem}, leave it out, or rename the file to {named}.yaml",
                )
            ]
        )
    return profile, document
