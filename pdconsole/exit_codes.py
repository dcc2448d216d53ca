"""What an exit code of `pdconsole` means; docs/cli.md lists them for users."""

from __future__ import annotations

OK = 0
CANNOT = 1  # the command could not do it; one sentence on stderr says why and what next
USAGE = 2  # click's own: unknown option or command
SESSION_FAILED = 3  # the session ended, but not every layout completed, or none could start
STOPPED = 4  # an operator stopped the session
BROKEN_OFF = 5  # the session's runner is gone without a last word
DOUBTFUL = 6  # `audit --fail-on` found something of that weight
