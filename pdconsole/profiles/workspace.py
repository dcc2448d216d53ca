"""The profile files of a workspace, with the shipped ones behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pdconsole.profiles import references
from pdconsole.profiles.document import Document, FieldPath
from pdconsole.profiles.experiment import ExperimentProfile
from pdconsole.profiles.loading import load
from pdconsole.profiles.problem import KINDS, Kind, ProfileError, ProfileProblem, one_of, suggest
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, WorkloadProfile
from pdconsole.profiles.section import Section

_SECTIONS: dict[Kind, type[Section]] = {
    "cluster": ClusterProfile,
    "model": ModelProfile,
    "network": NetworkProfile,
    "workload": WorkloadProfile,
    "experiment": ExperimentProfile,
}

T = TypeVar("T")


def shipped_profiles() -> Path:
    """The profiles that come with pdconsole: in the package, or at the top of a source checkout."""
    package = Path(__file__).parent
    for folder in (package / "shipped", package.parents[1] / "profiles"):
        if (folder / "clusters" / "embedded.yaml").is_file():
            return folder
    raise ProfileError(
        f"The profiles that come with pdconsole are missing in {package}; install it again."
    )


class Profiles:
    """Loads profiles by name: `profiles/<kind>s/<name>.yaml`, the workspace's before the shipped.

    Every loader raises ProfileError: for a name that no file has, for a file that is wrong.
    """

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self.roots = roots

    @classmethod
    def open(cls, workspace: Path) -> Profiles:
        """The profiles of a workspace directory; the shipped ones alone where it has none."""
        own, shipped = workspace / "profiles", shipped_profiles()
        if not own.is_dir() or own.resolve() == shipped.resolve():
            return cls((own,) if own.is_dir() else (shipped,))
        return cls((own, shipped))

    def names(self, kind: Kind) -> list[str]:
        return sorted({path.stem for root in self.roots for path in _files(root, kind)})

    def path(self, kind: Kind, name: str) -> Path:
        """The file of a profile. Raises ProfileError naming near matches and where it looked."""
        # A name with a slash in it would leave the folder.
        for root in self.roots if name in self.names(kind) else ():
            path = _folder(root, kind) / f"{name}.yaml"
            if path.is_file():
                return path
        known = self.names(kind)
        there = f"there are {', '.join(known)}" if known else "there are none"
        looked = " and ".join(str(_folder(root, kind)) for root in self.roots)
        raise ProfileError(
            f"No {kind} named {name!r}: {suggest(name, known, there)} (looked in {looked})"
        )

    def cluster(self, name: str) -> ClusterProfile:
        return load(self.path("cluster", name), ClusterProfile)[0]

    def model(self, name: str) -> ModelProfile:
        return load(self.path("model", name), ModelProfile)[0]

    def network(self, name: str) -> NetworkProfile:
        return load(self.path("network", name), NetworkProfile)[0]

    def workload(self, name: str) -> WorkloadProfile:
        return load(self.path("workload", name), WorkloadProfile)[0]

    def experiment(self, name: str) -> ExperimentProfile:
        """An experiment that fits the profiles it names; they are loaded with it."""
        experiment, document = load(self.path("experiment", name), ExperimentProfile)
        problems = self._reference_problems(experiment, document)
        if problems:
            raise ProfileError.of(problems)
        return experiment

    def check(self) -> list[ProfileProblem]:
        """Every problem of every profile file, shadowed shipped ones apart."""
        problems = [problem for root in self.roots for problem in _stray_files(root)]
        for kind in KINDS:
            for name in self.names(kind):
                try:
                    profile, document = load(self.path(kind, name), _SECTIONS[kind])
                except ProfileError as error:
                    problems += error.problems
                    continue
                if isinstance(profile, ExperimentProfile):
                    problems += self._reference_problems(profile, document)
        return problems

    def _reference_problems(
        self, experiment: ExperimentProfile, document: Document
    ) -> list[ProfileProblem]:
        problems: list[ProfileProblem] = []

        def resolve(
            kind: Kind, name: str, field: FieldPath, loader: Callable[[str], T]
        ) -> T | None:
            known = self.names(kind)
            if name not in known:
                advice = suggest(name, known, f"write {one_of(known)}")
                problems.append(document.problem(field, f"no {kind} is named {name}", advice))
                return None
            try:
                return loader(name)
            except ProfileError as error:
                advice = f"mend that first: {error}"
                problems.append(document.problem(field, f"{kind} {name} cannot be used", advice))
                return None

        named = references.Named(
            cluster=resolve("cluster", experiment.cluster, ("cluster",), self.cluster),
            model=resolve("model", experiment.model, ("model",), self.model),
            workload=resolve("workload", experiment.workload, ("workload",), self.workload),
            networks={
                name: resolve("network", name, field, self.network)
                for field, name in references.network_fields(experiment)
            },
        )
        if experiment.on_cpu is not None:
            resolve("experiment", experiment.on_cpu, ("on_cpu",), self.experiment)
        problems += references.misfits(experiment, document, named)
        return sorted(problems, key=lambda problem: problem.line)


def init_workspace(directory: Path) -> list[Path]:
    """Makes a workspace: copies the shipped profiles, adds `sessions/` and `bm_results/`.

    Files that are already there stay as they are. Returns the files written.
    Raises ProfileError where the directory cannot be written.
    """
    shipped = shipped_profiles()
    written: list[Path] = []
    try:
        for name in ("sessions", "bm_results"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        for source in sorted(shipped.rglob("*.yaml")):
            target = directory / "profiles" / source.relative_to(shipped)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.write_bytes(source.read_bytes())
                written.append(target)
    except OSError as error:
        raise ProfileError(
            f"Cannot make a workspace in {directory}: {error.strerror} ({error.filename});"
            " choose another directory or make room in this one."
        ) from error
    return written


def _folder(root: Path, kind: Kind) -> Path:
    return root / f"{kind}s"


def _files(root: Path, kind: Kind) -> list[Path]:
    return sorted(path for path in _folder(root, kind).glob("*.yaml") if path.is_file())


def _stray_files(root: Path) -> list[ProfileProblem]:
    """Files that look like profiles and would never be found."""
    folders = {_folder(root, kind).name for kind in KINDS}
    stray = []
    found = (p for p in root.rglob("*") if p.suffix in (".yaml", ".yml") and p.is_file())
    for path in sorted(found):
        place = path.parent.relative_to(root).as_posix()
        if place not in folders:
            advice = suggest(place, folders, f"move it into one of {', '.join(sorted(folders))}")
        elif path.suffix == ".yml":
            advice = f"rename it to {path.stem}.yaml"
        else:
            continue
        stray.append(
            ProfileProblem(file=str(path), message="pdconsole never finds this file", advice=advice)
        )
    return stray
