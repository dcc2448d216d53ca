"""Where profiles are looked for, how they refer to each other, and `init`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from pdconsole import exit_codes
from pdconsole.cli import cli
from pdconsole.model.workload import MeasurePolicy
from pdconsole.profiles import PolicyProfile, ProfileError, Profiles, init_workspace
from pdconsole.profiles.workspace import shipped_profiles

EXPERIMENT = {
    "question": "Which?",
    "model": "gpt-oss-120b",
    "workload": "itl5000-otl250",
    "network": "cuda-ipc",
    "runs": [{"layout": "1P-TP2+1D-TP2"}, {"layout": "4xTP2"}],
    "concurrency": [4],
}

Change = Callable[[dict[str, object]], object]


def write(workspace: Path, place: str, fields: object) -> Path:
    path = workspace / "profiles" / f"{place}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def test_the_workspace_comes_before_what_is_shipped(tmp_path: Path) -> None:
    write(tmp_path, "workloads/itl5000-otl250", {"input_len": 7, "output_len": 7})
    write(tmp_path, "workloads/mine", {"input_len": 9, "output_len": 9})
    profiles = Profiles.open(tmp_path)
    assert profiles.workload("itl5000-otl250").input_len == 7
    assert profiles.workload("itl10000-otl500").input_len == 10000
    assert profiles.names("workload") == [
        "itl10000-otl500",
        "itl300-otl16",
        "itl5000-otl250",
        "itl8000-otl1000",
        "mine",
    ]


def test_unknown_name_says_what_is_near_and_where_it_looked(tmp_path: Path) -> None:
    profiles = Profiles.open(tmp_path)
    with pytest.raises(ProfileError, match=r"No network named 'sdr'.*did you mean srd") as caught:
        profiles.network("sdr")
    assert str(shipped_profiles() / "networks") in str(caught.value)
    with pytest.raises(ProfileError, match="there are embedded, local-cpu, local-ray, p5-2node"):
        profiles.cluster("zzz")
    with pytest.raises(ProfileError, match="No cluster named"):
        profiles.cluster("../models/gpt-oss-120b")


MISFITS: dict[str, tuple[Change, int, str, str]] = {
    "workload": (lambda e: e.update(workload="itl5000_otl250"), 3, "workload", "itl5000-otl250"),
    "network of a run": (
        lambda e: e.update(runs=[{"layout": "4xTP2", "network": "srdd"}]),
        7,
        "runs[0].network",
        "srd",
    ),
    "mode": (
        lambda e: e.update(workload="short", modes=["decode-only"]),
        11,
        "modes[0]",
        "write mixed",
    ),
    "too long for the model": (lambda e: e.update(workload="long"), 3, "workload", "20001"),
    "too many GPUs": (
        lambda e: e.update(runs=[{"layout": "9xTP2"}]),
        6,
        "runs[0].layout",
        "smaller layout",
    ),
    "within a node and yet spread": (
        lambda e: e.update(runs=[{"layout": "1P-TP2+1D-TP2", "placement": "spread"}]),
        7,
        "runs[0].placement",
        "placement: pack",
    ),
    "TP that is not simulated": (
        lambda e: e.update(runs=[{"layout": "1P-TP3+1D-TP3"}]),
        6,
        "runs[0].layout",
        "use TP 1, 2, 4, 8",
    ),
    "network that is not simulated": (
        lambda e: e.update(network="own"),
        6,
        "runs[0]",
        "sim: {gbps",
    ),
}


@pytest.mark.parametrize("case", MISFITS.values(), ids=MISFITS.keys())
def test_references_between_profiles(tmp_path: Path, case: tuple[Change, int, str, str]) -> None:
    change, line, field, advice = case
    write(tmp_path, "workloads/short", {"input_len": 10, "output_len": 10})
    write(tmp_path, "workloads/long", {"input_len": 20000, "output_len": 1})
    bounds = {"good_gbps": 2, "bad_gbps": 1}
    write(tmp_path, "networks/own", {"backend": "UCX", "thresholds": bounds})
    fields: dict[str, object] = {**EXPERIMENT}
    change(fields)
    path = write(tmp_path, "experiments/it", fields)
    profiles = Profiles.open(tmp_path)
    with pytest.raises(ProfileError) as caught:
        profiles.experiment("it")
    first = caught.value.problems[0]
    assert (first.file, first.line, first.field) == (str(path), line, field)
    assert advice in first.advice
    assert list(caught.value.problems) == profiles.check()


def test_a_broken_profile_breaks_what_names_it_once_each(tmp_path: Path) -> None:
    model = write(tmp_path, "models/gpt-oss-120b", {"short_name": "x"})
    write(tmp_path, "experiments/it", EXPERIMENT)
    problems = Profiles.open(tmp_path).check()
    assert any(p.file == str(model) and p.field == "vocab" for p in problems)
    mine = [p for p in problems if p.file.endswith("it.yaml")]
    assert [(p.line, p.field) for p in mine] == [(2, "model")]


def test_files_that_would_never_be_found(tmp_path: Path) -> None:
    write(tmp_path, "cluster/a", {})
    (tmp_path / "profiles/networks").mkdir()
    (tmp_path / "profiles/networks/b.yml").write_text("")
    advice = {Path(p.file).name: p.advice for p in Profiles.open(tmp_path).check()}
    assert advice == {"a.yaml": "did you mean clusters?", "b.yml": "rename it to b.yaml"}


def test_a_directory_is_no_profile_whatever_its_name(tmp_path: Path) -> None:
    for kind in ("clusters", "models", "experiments"):
        (tmp_path / f"profiles/{kind}/old.yaml/deep.yml").mkdir(parents=True)
    found = Profiles.open(tmp_path)
    assert "old" not in {*found.names("cluster"), *found.names("model")}
    assert found.check() == []
    with pytest.raises(ProfileError, match="No experiment named 'old'"):
        found.experiment("old")


def test_init_makes_a_workspace_and_keeps_what_is_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "ws"
    written = init_workspace(target)
    assert target / "profiles/clusters/p5-2node.yaml" in written
    assert (target / "sessions").is_dir()
    assert (target / "bm_results").is_dir()
    assert Profiles.open(target).check() == []

    mine = target / "profiles/networks/tcp.yaml"
    mine.write_text("mine")
    (target / "profiles/networks/srd.yaml").unlink()
    assert init_workspace(target) == [target / "profiles/networks/srd.yaml"]
    assert mine.read_text() == "mine"


def test_init_where_a_file_stands(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("")
    with pytest.raises(ProfileError, match="Cannot make a workspace"):
        init_workspace(tmp_path)


def test_init_needs_no_workspace_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PDCONSOLE_WORKSPACE", str(tmp_path / "missing"))
    refused = CliRunner().invoke(cli, ["sessions"])
    assert refused.exit_code == exit_codes.CANNOT
    assert "make a workspace with `pdconsole init DIR`" in refused.output
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "missing")])
    assert done.exit_code == exit_codes.OK, done.output
    assert Profiles.open(tmp_path / "missing").check() == []


def test_policy_fields_are_those_of_the_model() -> None:
    assert set(PolicyProfile.model_fields) == set(MeasurePolicy.__struct_fields__)
    changed = PolicyProfile(min_window_s=5, until_relative_ci=0.05).over(MeasurePolicy())
    assert changed == msgspec.structs.replace(
        MeasurePolicy(), min_window_s=5, until_relative_ci=0.05
    )
