from __future__ import annotations


class FakeClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.mono = 1000.0
        self.unix = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.mono

    def wall(self) -> float:
        return self.unix

    def tick(self, seconds: float) -> None:
        self.mono += seconds
        self.unix += seconds

    def reboot(self, away_s: float) -> None:
        """Another process on another boot: monotonic time starts anew."""
        self.mono = 5.0
        self.unix += away_s
