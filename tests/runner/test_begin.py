"""What a session that cannot begin leaves behind: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.journal import JournalError, SessionDir
from pdconsole.model.request import RunRequest
from pdconsole.runner.open_session import begin
from pdconsole.runner.user_errors import UserError


def test_a_session_that_cannot_be_written_down_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SessionDir, _meta: object) -> None:
        raise JournalError(f"no room for {self.meta_path}")

    monkeypatch.setattr(SessionDir, "write_meta", full)
    with pytest.raises(UserError, match="no room for"):
        begin(tmp_path, RunRequest(experiment="pd-ratio-sweep"))
    assert not list((tmp_path / "sessions").iterdir())
