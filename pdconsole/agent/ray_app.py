"""Keeps one Serve application: puts its config to the cluster's dashboard, tells how it goes, and
takes it away when told to end.

Its door answers `/readiness` with 200 while the application is RUNNING. It ends by itself, with a
last line that says why, when the application cannot be deployed, when it is no longer healthy, or
when the dashboard is gone.
"""

from __future__ import annotations

from typing import List


def main(argv: List[str]) -> int:
    """`argv`: the file that says what to do."""
    raise NotImplementedError
