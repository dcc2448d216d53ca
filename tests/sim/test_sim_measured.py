"""The engine model against published measurements: gpt-oss-120b on H100, vLLM 0.11.0.

In those runs all points of a layout ran one after another on one deployment, and the prompts of a
point began with those of the points before, in an order of their own: from the second point on
half, at concurrency 64 three quarters of them had been sent before and could hit the prefix cache.
With fresh prompts the high points would be far lower; that must be kept in mind before a simulated
session (fresh prompts by default) is laid beside these files.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import pytest
from closed_loop import Deployment, PointOutcome

from pdconsole.sim.constants import EngineConstants, LinkConstants

REPOSITORY = Path(__file__).parents[2]
DATA = Path(
    os.environ.get(
        "PDCONSOLE_MEASURED_DATA", REPOSITORY.parent / "shared" / "data" / "measured-gptoss-h100"
    )
)
CONCURRENCIES = (4, 8, 16, 32, 48, 64)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "published").is_dir(),
        reason=f"measured data are not at {DATA} (set PDCONSOLE_MEASURED_DATA)",
    ),
]


def simulated(
    engine: EngineConstants, link: LinkConstants, prefill: list[int], decode: list[int]
) -> list[PointOutcome]:
    deployment = Deployment(engine, link, prefill, decode)
    return [
        deployment.run_point(c, 5 * c, input_len=5000, output_len=250, first_prompt=0)
        for c in CONCURRENCIES
    ]


def errors_pct(ours: list[PointOutcome], directory: str) -> dict[str, float]:
    """Mean absolute percentage errors over the points."""
    measured = [json.loads((DATA / directory / f"conc{c}.json").read_text()) for c in CONCURRENCIES]
    pairs = {
        "throughput": [
            (o.requests_per_s, m["request_throughput"]) for o, m in zip(ours, measured, strict=True)
        ],
        "ttft": [
            (o.median_ttft_ms, m["median_ttft_ms"]) for o, m in zip(ours, measured, strict=True)
        ],
        "tpot": [
            (o.median_tpot_ms, m["median_tpot_ms"]) for o, m in zip(ours, measured, strict=True)
        ],
    }
    return {
        name: statistics.mean(abs(a - b) / b * 100 for a, b in values)
        for name, values in pairs.items()
    }


@pytest.mark.parametrize(
    ("directory", "prefill", "decode", "limits"),
    [
        # Two measurements of one layout differ by 5.8 (throughput), 14.7 (TTFT), 6.1 % (TPOT).
        ("published/gptoss_itl5000_otl250_mixed_baseline_4xtp2", [], [2] * 4, (7, 15, 8)),
        ("published/gptoss_itl5000_otl250_mixed_pd_p1xtp2-d3xtp2", [2], [2] * 3, (5, 30, 8)),
        ("archive/gptoss_itl5000_otl250_mixed_2xtp2-1xtp4", [2] * 2, [4], (8, 25, 10)),
    ],
)
def test_throughput_ttft_and_tpot_are_near_the_measured(
    engine: EngineConstants,
    link: LinkConstants,
    directory: str,
    prefill: list[int],
    decode: list[int],
    limits: tuple[float, float, float],
) -> None:
    errors = errors_pct(simulated(engine, link, prefill, decode), directory)
    allowed = dict(zip(("throughput", "ttft", "tpot"), limits, strict=True))
    assert all(errors[name] <= allowed[name] for name in allowed), errors


def test_fixed_prompts_make_the_high_points_of_a_large_pool(
    engine: EngineConstants, link: LinkConstants
) -> None:
    """1P-TP4 + 1D-TP4 at 64: prompts that recur hit P's cache, fresh ones do not."""
    fixed = simulated(engine, link, [4], [4])[-1].requests_per_s
    fresh = Deployment(engine, link, [4], [4]).run_point(
        64, 320, input_len=5000, output_len=250, first_prompt=0
    )
    assert fixed > 1.4 * fresh.requests_per_s
    measured = json.loads(
        (DATA / "published/gptoss_itl5000_otl250_mixed_pack_p1xtp4-d1xtp4/conc64.json").read_text()
    )
    assert fixed == pytest.approx(measured["request_throughput"], rel=0.1)
