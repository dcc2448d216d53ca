"""What all sections of profile files share: strict fields, errors that say what to write."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Bool = Annotated[bool, Strict()]
Count = Annotated[Int, Field(ge=1)]
Port = Annotated[Int, Field(ge=1, le=65535)]
Positive = Annotated[Float, Field(gt=0)]
NotNegative = Annotated[Float, Field(ge=0)]
# Profile names become parts of file names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """One mapping of a profile file. Unknown fields are refused; values never appear in errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class FieldError(ValueError):
    """What is wrong with a value beyond its type, and what to write instead.

    `path` leads to the culprit within the value that was checked: fields of a section, keys of a
    mapping.
    """

    def __init__(self, message: str, advice: str, *path: str) -> None:
        super().__init__(f"{message}: {advice}")
        self.message = message
        self.advice = advice
        self.path = path


SECRET_MESSAGE = "this looks like a secret, and profiles are copied into recordings"
SECRET_ADVICE = (
    "remove it here and set it on the node itself, where its logins get it"
    " (/etc/environment, ~/.ssh/environment, or a wrapper script named in engine.vllm)"
)

_SECRET_WORDS = re.compile(
    r"(?:^|[^a-z0-9])"
    r"(?:token|(?:api)?key|password|passwd|passphrase|secrets?|credentials?)"
    r"(?:$|[^a-z0-9])"
)


def looks_secret(key: str) -> bool:
    """Whether a variable or option of this name usually holds a secret (`HF_TOKEN`, `api-key`), not
    merely where one is (`RAY_AUTH_TOKEN_PATH`)."""
    if re.search(r"[_-](?:path|file)$", key.lower()):
        return False
    return _SECRET_WORDS.search(key.lower()) is not None


def refuse_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Raises FieldError for a key that looks like a secret, at any depth of mappings."""
    for key, value in values.items():
        if looks_secret(key):
            raise FieldError(SECRET_MESSAGE, SECRET_ADVICE, key)
        if isinstance(value, dict):
            refuse_secrets(value)
    return values


Env = Annotated[dict[str, str], AfterValidator(refuse_secrets)]
