"""What a key costs on the Compare screen with many result files, and how soon they are compared.

    python benchmarks/compare_keys.py [FILES]        default 1,000

The console runs in this process at 120×40. Files are read and compared in a thread of their own;
`held` is the most CPU that the thread that answers keys takes at a stretch, until it could answer
another, from a key until what it changes is compared and painted. The limit is held against it.
`compared` is until then on the clock.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from compare import write_results
from key_limit import LIMIT_MS, at

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from pdconsole.ui.app import ConsoleApp

ROUNDS = 5
KEYS = {
    "move": ("j", "k", "G", "g"),
    "mark": ("space", "u"),
    "axes": ("x", "t", "p"),
    "view": ("v", "v", "v", "v"),
    "sort": ("o", "O"),
    "filter": ("slash", "4", "x", "backspace", "escape"),
}


async def measure(workspace: Path) -> bool:
    from pdconsole.ui.app import ConsoleApp
    from pdconsole.ui.open_console import quiet_collector
    from pdconsole.ui.screens.compare import CompareScreen

    quiet_collector()
    app = ConsoleApp(workspace, connect=lambda *_: None)
    good = True
    async with app.run_test(size=(120, 40)) as pilot:
        began = time.perf_counter()
        app.action_show("compare")
        while not (isinstance(app.screen, CompareScreen) and app.screen._compared.charts):
            await pilot.pause(0.01)
        print(f"opened, read and compared in {time.perf_counter() - began:.2f} s")
        for name, keys in KEYS.items():
            costs = [await cost(app, pilot, key) for key in keys * ROUNDS]
            held, compared = zip(*costs, strict=True)
            met = at(held, 0.99) <= LIMIT_MS
            good &= met
            said = f"held p50 {at(held, 0.5):5.1f}  p99 {at(held, 0.99):5.1f} ms"
            print(
                f"{name:<7} {len(held):>3} keys  {said}"
                f"  compared p50 {at(compared, 0.5):6.1f}  p99 {at(compared, 0.99):6.1f} ms"
                f"  {'met' if met else 'MISSED'}",
                flush=True,
            )
    return good


async def cost(app: ConsoleApp, pilot: Pilot[None], key: str) -> tuple[float, float]:
    """(held, until compared), ms."""
    stretches = [0.0]
    watch = asyncio.create_task(stretches_of_cpu(stretches))
    began = time.perf_counter()
    await pilot.press(key)
    while app.screen._busy:  # type: ignore[attr-defined]
        await pilot.pause(0.002)
    compared = time.perf_counter() - began
    await pilot.pause()
    watch.cancel()
    return max(stretches) * 1e3, compared * 1e3


async def stretches_of_cpu(found: list[float]) -> None:
    """Seconds of CPU of this thread between two turns."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0.001)
        now = time.thread_time()
        found.append(now - before)
        before = now


def main() -> int:
    os.environ.setdefault("TEXTUAL_FPS", "120")  # as open_console does
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_STATE_HOME"] = f"{directory}/home"
        results = workspace / "bm_results"
        results.mkdir()
        files = write_results(results, int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
        print(f"{files:,} files")
        good = asyncio.run(measure(workspace))
    print(f"limit {LIMIT_MS:.0f} ms for the p99")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
