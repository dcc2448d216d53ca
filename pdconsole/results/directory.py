"""The result directory of a run: made once, never overwritten, gone on with after a break.

Every file in it is written whole; `run.yaml` says whether more are to come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from pdconsole.model.measurement import PointMeasurement
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import Point
from pdconsole.results.document import point_document
from pdconsole.results.errors import ResultError
from pdconsole.results.facts import RunFacts, RunRecord
from pdconsole.results.files import replace_file, write_error
from pdconsole.results.requests import requests_bytes

RUN_FILE = "run.yaml"
REQUESTS = "requests"
SUPERSEDED = "superseded"

DirectoryStatus = Literal["running", "done", "skipped", "failed", "stopped"]


class ResultDirectory:
    """Where a run's points go. Raises ResultError for what cannot be written."""

    def __init__(self, path: Path, record: RunRecord, meta: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self._meta = meta

    @classmethod
    def create(cls, root: Path, plan: RunPlan, facts: RunFacts) -> ResultDirectory:
        """A new directory `plan.result_dir` under `root`, or `…_r2`, `…_r3` if there is one."""
        path = _make_unused(root, plan.result_dir)
        directory = cls(path, RunRecord(plan=plan, facts=facts), {"points": {}})
        directory._write_meta(status="running")
        return directory

    @classmethod
    def go_on_or_create(cls, root: Path, plan: RunPlan, facts: RunFacts) -> ResultDirectory:
        """The directory that this run of this session has begun, or a new one."""
        for path, meta in _metas(root, plan.result_dir):
            if (meta.get("session"), meta.get("run")) == (facts.session, plan.id):
                directory = cls(path, RunRecord(plan=plan, facts=facts), meta)
                directory._write_meta(status="running")
                return directory
        return cls.create(root, plan, facts)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def points(self) -> frozenset[str]:
        """Ids of the points that are written."""
        return frozenset(path.stem for path in self.path.glob("*.json"))

    def write_point(self, point: Point, measured: PointMeasurement) -> Path:
        """Write a point's requests, then its JSON, which says that both are there; return its path.

        An earlier attempt at the same point goes to `superseded/`.
        """
        file = self.path / f"{point.id}.json"
        requests = self.path / REQUESTS / f"{point.id}.parquet"
        document = point_document(self.record, point, measured)
        self._supersede(point.id, file, requests)
        try:
            requests.parent.mkdir(exist_ok=True)
        except OSError as e:
            raise write_error(requests.parent, e) from e
        facts, result = self.record.facts, measured.result
        metadata = {
            "session": facts.session,
            "run": self.record.plan.id,
            "point": point.id,
            "attempt": str(result.attempt),
            "t0_node_t": repr(measured.t0_node_t),
            "t1_node_t": repr(measured.t1_node_t),
            "simulated": str(facts.simulated).lower(),
        }
        replace_file(requests, requests_bytes(measured.requests, metadata))
        replace_file(file, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        self._meta["points"][point.id] = {
            "attempt": result.attempt,
            "flags": [str(flag) for flag in measured.flags],
        }
        self._write_meta(status="running")
        return file

    def _supersede(self, point_id: str, file: Path, requests: Path) -> None:
        if not file.exists():
            return
        attempt = self._meta["points"].get(point_id, {}).get("attempt", 0)
        old = self.path / SUPERSEDED
        try:
            old.mkdir(exist_ok=True)
            file.rename(old / f"{point_id}_attempt{attempt}.json")
            if requests.exists():
                requests.rename(old / f"{point_id}_attempt{attempt}.parquet")
        except OSError as e:
            raise write_error(old, e) from e

    def finish(self, status: DirectoryStatus, message: str = "") -> None:
        """Say that no more points come, and why."""
        self._write_meta(status=status, message=message)

    def _write_meta(self, *, status: DirectoryStatus, message: str = "") -> None:
        import yaml

        plan, facts = self.record.plan, self.record.facts
        placement = plan.placement
        self._meta = {
            "status": status,
            "message": message,
            "simulated": facts.simulated,
            "session": facts.session,
            "experiment": facts.experiment,
            "run": plan.id,
            "layout": str(placement.layout),
            "slug": placement.layout.slug,
            "gpus": self.record.gpus,
            "slot_kind": facts.slot_kind,
            "placement": {"strategy": placement.strategy, "replicas": str(placement)},
            "network": plan.network,
            "workload": msgspec.to_builtins(plan.workload),
            "cluster": facts.cluster,
            "gpu_model": facts.gpu_model,
            "model": facts.model,
            "command": facts.command,
            "versions": {"pdconsole": facts.pdconsole, "nodes": facts.versions},
            "planned": [point.id for point in plan.points],
            "points": self._meta["points"],
        }
        text = yaml.safe_dump(self._meta, sort_keys=False, allow_unicode=True, width=100)
        replace_file(self.path / RUN_FILE, text.encode())


def read_run_file(directory: Path) -> dict[str, Any] | None:
    """run.yaml of a result directory, None where there is none. Raises ResultError if damaged."""
    import yaml

    path = directory / RUN_FILE
    try:
        meta = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ResultError(f"cannot read {path}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ResultError(f"{path} is damaged: {e}") from e
    if not isinstance(meta, dict) or not isinstance(meta.get("points"), dict):
        raise ResultError(f"{path} is damaged: it lists no points")
    return cast("dict[str, Any]", meta)


def session_directories(root: Path, session: str, runs: Iterable[RunPlan]) -> list[Path]:
    """The directories under `root` that a session's runs have filled, in the order of the runs."""
    return [
        path
        for run in runs
        for path, meta in _metas(root, run.result_dir)
        if (meta.get("session"), meta.get("run")) == (session, run.id)
    ]


def _metas(root: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    pattern = re.compile(re.escape(name) + r"(_r\d+)?")
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        if not pattern.fullmatch(path.name):
            continue
        try:
            meta = read_run_file(path)
        except ResultError:
            continue  # nobody can tell whose it is: it stays as it is, and a new one is made
        if meta is not None:
            yield path, meta


def _make_unused(root: Path, name: str) -> Path:
    number = 1
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            path = root / (name if number == 1 else f"{name}_r{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
                continue
            return path
    except OSError as e:
        raise write_error(root / name, e) from e
