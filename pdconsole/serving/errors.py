"""What can go wrong between a placement and a deployment that serves."""

from __future__ import annotations


class ServingError(Exception):
    """A plan that cannot be made, or a deployment that failed; str() says what to do next."""


class DeploymentError(ServingError):
    """A process that did not start, did not answer or did not end.

    `process` and `node` name it (empty where several failed); `last_lines` are its own last log
    lines, oldest first.
    """

    def __init__(
        self, message: str, *, process: str = "", node: str = "", last_lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.process = process
        self.node = node
        self.last_lines = last_lines

    def also(self, sentence: str) -> DeploymentError:
        """The same with one sentence more."""
        return DeploymentError(
            f"{self} {sentence}",
            process=self.process,
            node=self.node,
            last_lines=self.last_lines,
        )
