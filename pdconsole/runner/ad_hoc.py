"""An experiment that no profile describes: layouts placed by hand, measured at usual loads."""

from __future__ import annotations

from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import MANUAL_FORM, manual_layout
from pdconsole.model.request import AD_HOC, PlacedLayout, RunRequest
from pdconsole.profiles import Profiles
from pdconsole.profiles.experiment import ExperimentProfile, ExperimentRun

CONCURRENCY = (4, 8, 16, 32, 48, 64)


class PlanError(Exception):
    """A request that cannot be carried out as asked; str() says what to write instead."""


def ad_hoc_experiment(profiles: Profiles, request: RunRequest) -> ExperimentProfile:
    """What the request says, as a profile would. Raises PlanError, ProfileError, GeometryError."""
    asked = {
        "cluster": request.cluster,
        "model": request.model,
        "workload": request.workload,
        "network": request.network,
        "layout": request.placed or request.layouts,
    }
    missing = [f"--{name}" for name, given in asked.items() if not given]
    if missing:
        raise PlanError(f"an {AD_HOC} run has no profile to take things from: add {_and(missing)}")
    if request.quick:
        raise PlanError(f"an {AD_HOC} run has no quick form; choose its load with --concurrency")
    workload = profiles.workload(request.workload or "")
    runs = [placed_run(placed) for placed in ad_hoc_layouts(request)]
    names = ", ".join(dict.fromkeys(str(parse_layout(run.layout)) for run in runs))
    return ExperimentProfile(
        name=AD_HOC,
        question=f"How does {names} do on {request.cluster} over {request.network}?",
        model=request.model or "",
        cluster=request.cluster or "",
        workload=workload.name,
        modes=["mixed"] if "mixed" in workload.modes else workload.modes[:1],
        network=request.network or "",
        runs=runs,
        concurrency=list(CONCURRENCY),  # unless the request says others
    )


def ad_hoc_layouts(request: RunRequest) -> tuple[PlacedLayout, ...]:
    """Without a profile every layout is placed: those that are only named, as asked for all."""
    if request.placed:
        return request.placed
    return tuple(
        PlacedLayout(
            layout=text,
            # Only P and D can be spread over nodes.
            strategy=(request.placement or "pack") if parse_layout(text).is_pd else "pack",
        )
        for text in request.layouts
    )


def placed_run(placed: PlacedLayout) -> ExperimentRun:
    """Raises LayoutError, PlacementError, PlanError."""
    if placed.strategy != "manual":
        if placed.manual:
            raise PlanError(
                f"{placed.layout} is to be placed by {placed.strategy} and by hand at once; "
                "choose one"
            )
        return ExperimentRun(layout=parse_layout(placed.layout).slug, placement=placed.strategy)
    if not placed.manual:
        raise PlanError(f"a manual placement says where each replica goes: {MANUAL_FORM}")
    layout = parse_layout(placed.layout) if placed.layout else manual_layout(placed.manual)
    return ExperimentRun(layout=layout.slug, placement="manual", manual=placed.manual)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
