"""What measuring needs to know of a deployment, whoever planned it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Process(Protocol):
    """A replica, or the router (its role is `router`)."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def tp(self) -> int: ...
    @property
    def url(self) -> str:
        """Base, without a path, as other nodes dial it."""
        ...

    @property
    def metrics_url(self) -> str: ...


class Deployment(Protocol):
    @property
    def processes(self) -> Sequence[Process]: ...
    @property
    def workers(self) -> Sequence[Process]:
        """All but the router."""
        ...

    @property
    def router_url(self) -> str: ...

    @property
    def decodes_made_up_kv(self) -> bool:
        """decode-only: replicas decode from KV of their own making; no prompt is prefilled."""
        ...
