"""Delete a session's directory; never one that a runner holds."""

from __future__ import annotations

import shutil

from pdconsole.journal.errors import JournalError
from pdconsole.journal.session import SessionDir


def delete_session(session: SessionDir) -> None:
    """All of its recording and logs; result files lie elsewhere and stay.

    It is renamed first, so that a deletion that breaks off leaves no session behind that looks
    whole. Raises JournalError when a runner holds it, or files cannot be removed.
    """
    doomed = session.path.with_name(f".deleted-{session.name}")
    try:
        with session.hold():
            session.path.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as e:
        raise JournalError(
            f"{session.name} is not wholly deleted: {e.strerror}; remove {doomed} by hand"
        ) from e
