"""Where the published measurements are that lie outside the project; tests skip without them."""

from __future__ import annotations

from pathlib import Path

import pytest

MEASURED = Path(__file__).resolve().parents[3] / "shared" / "data" / "measured-gptoss-h100"

needs_measured_data = pytest.mark.skipif(
    not MEASURED.is_dir(), reason=f"measured data are not at {MEASURED}"
)
