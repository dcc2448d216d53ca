"""Files of network tests: one a test, beside the results of runs, never overwritten."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.model.events import NetBenchResult
from pdconsole.results.facts import RunRecord
from pdconsole.results.files import replace_file, write_error

DOCUMENT_VERSION = 1
PREFIX = "netbench_"


def is_network_test(path: Path) -> bool:
    return path.name.startswith(PREFIX)


def write_network_test(root: Path, record: RunRecord, result: NetBenchResult, wall: float) -> Path:
    """The file, `root/DIRECTORY OF THE RUN/netbench_NETWORK_STAMP.json`. Raises ResultError."""
    directory = root / record.plan.result_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise write_error(directory, e) from e
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall))
    path = directory / f"{PREFIX}{result.network}_{stamp}.json"
    document = network_test_document(record, result, stamp)
    replace_file(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


def network_test_document(record: RunRecord, result: NetBenchResult, stamp: str) -> dict[str, Any]:
    """All that the result rests on, and where it was made."""
    facts, plan = record.facts, record.plan
    found = msgspec.to_builtins(result)
    for left_out in ("seq", "t", "wall", "type", "run", "file"):
        found.pop(left_out, None)
    return {
        "network_test": DOCUMENT_VERSION,
        "date": stamp,
        **found,
        "layout": plan.placement.layout.slug,
        "placement": {"strategy": plan.placement.strategy, "replicas": str(plan.placement)},
        "model": facts.model,
        "cluster": facts.cluster,
        "gpu_model": facts.gpu_model,
        "slot_kind": facts.slot_kind,
        "session": facts.session,
        "experiment": facts.experiment,
        "command": facts.command,
        "versions": {"pdconsole": facts.pdconsole, "nodes": facts.versions},
    }
