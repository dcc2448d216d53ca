"""The load driver: sends one point's requests from a node and says what came back and when.

    drive SPEC.json

JSON lines go to stdout (see report.py), inter-token gaps to the file that the spec names. SIGTERM
and SIGINT stop it at once, with a summary of what had finished. Exit status: 0 measured or
stopped, 1 the point could not be measured (the last line says why), 2 wrong usage.
"""

from __future__ import annotations

from typing import List


def main(argv: List[str]) -> int:
    """Carry out the point that `argv` (one file name) describes; the exit status."""
    from pdconsole.agent.drive.command import drive_command

    return drive_command(argv)
