"""A wrong profile is answered with file, line, field and what to write instead."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdconsole.profiles import (
    ClusterProfile,
    ExperimentProfile,
    ModelProfile,
    NetworkProfile,
    ProfileError,
    ProfileProblem,
    WorkloadProfile,
    shipped_profiles,
)
from pdconsole.profiles.loading import load
from pdconsole.profiles.section import Section, looks_secret

SECTIONS: dict[str, type[Section]] = {
    "clusters": ClusterProfile,
    "models": ModelProfile,
    "networks": NetworkProfile,
    "workloads": WorkloadProfile,
    "experiments": ExperimentProfile,
}

CLUSTER = """\
fabric: efa
nodes:
  - name: a
    gpu_model: H100
    gpu_memory_mib: 81559
"""
EXPERIMENT = """\
question: Which?
model: gpt-oss-120b
workload: itl5000-otl250
network: cuda-ipc
runs:
  - layout: 4xTP2
"""


def problems(folder: Path, text: str, section: type[Section]) -> tuple[ProfileProblem, ...]:
    path = folder / "it.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        load(path, section)
    assert str(path) in str(caught.value)
    return caught.value.problems


CASES: dict[str, tuple[str, str, int, str, str, str]] = {
    # what: folder, text, line, field, message has, advice has
    "unknown field": (
        "clusters",
        CLUSTER + "ssh:\n  conect_timeout_s: 3\n",
        7,
        "ssh.conect_timeout_s",
        "no such field",
        "connect_timeout_s",
    ),
    "unknown field, nothing near": (
        "workloads",
        "input_len: 1\noutput_len: 1\nfoo: 1\n",
        3,
        "foo",
        "no such field",
        "name, description, input_len",
    ),
    "missing field": (
        "clusters",
        "fabric: efa\nnodes:\n  - name: a\n    gpu_model: H100\n",
        3,
        "nodes[0].gpu_memory_mib",
        "missing",
        "add gpu_memory_mib: 81559",
    ),
    "missing section": (
        "networks",
        "backend: UCX\n",
        1,
        "thresholds",
        "missing",
        "add thresholds: {good_gbps: 8.0, bad_gbps: 2.0}",
    ),
    "quoted number": (
        "workloads",
        'input_len: "5000"\noutput_len: 250\n',
        1,
        "input_len",
        "a whole number",
        "write 5000 without quotes",
    ),
    "unquoted text": (
        "networks",
        "backend: UCX\nthresholds: {good_gbps: 8, bad_gbps: 2}\nenv:\n  UCX_X: on\n",
        4,
        "env.UCX_X",
        "text is needed",
        'write "on"',
    ),
    "version that YAML reads as a number": (
        "clusters",
        CLUSTER + "engine: {version: 0.10}\n",
        6,
        "engine.version",
        "YAML reads 0.10",
        'write "0.10"',
    ),
    "number with a unit": (
        "clusters",
        CLUSTER + "lease_s: 5min\n",
        6,
        "lease_s",
        "a number",
        "lease_s: 300",
    ),
    "command as one text": (
        "clusters",
        CLUSTER + "engine:\n  vllm: /opt/vllm serve\n",
        7,
        "engine.vllm",
        "a list",
        "write [/opt/vllm, serve]",
    ),
    "not one of the choices": (
        "workloads",
        "input_len: 1\noutput_len: 1\nmodes: [mixed, decode]\n",
        3,
        "modes[1]",
        '"decode" is not possible',
        "decode-only",
    ),
    "out of range": (
        "clusters",
        CLUSTER + "ports:\n  worker: 81000\n",
        7,
        "ports.worker",
        "81000 is out of range",
        "at most 65535",
    ),
    "empty value": ("clusters", CLUSTER + "ssh:\n", 6, "ssh", "empty", "remove the line"),
    "reference within the file": (
        "clusters",
        CLUSTER + "client_node: b\n",
        6,
        "client_node",
        "b is not one of the nodes",
        "write a",
    ),
    "layout": (
        "experiments",
        EXPERIMENT + "  - layout: 3xTX\nconcurrency: [4]\n",
        7,
        "runs[1].layout",
        "'3xTX'",
        "4P-TP2+2D-TP4",
    ),
    "level twice": (
        "experiments",
        EXPERIMENT + "concurrency:\n  - 4\n  - 8\n  - 4\n",
        7,
        "concurrency",
        "4 stands twice",
        "once",
    ),
    "no level": ("experiments", EXPERIMENT, 1, "concurrency", "load levels", "[4, 8, 16"),
    "quick layout": (
        "experiments",
        EXPERIMENT + "concurrency: [4]\nquick:\n  runs: [2xTP4]\n",
        9,
        "quick.runs",
        "2xTP4 is not among the runs",
        "write 4xTP2",
    ),
    "flag with dashes": (
        "models",
        "engine_args:\n  --Max_Num_Seqs: 3\n",
        2,
        "engine_args.--Max_Num_Seqs",
        "not the bare name",
        "write max-num-seqs",
    ),
    "flag of ours": (
        "models",
        "engine_args:\n  port: 8000\n",
        2,
        "engine_args.port",
        "sets this flag itself",
        "ports.worker",
    ),
    "key that is no number": (
        "models",
        "engine_model:\n  tp:\n    two: {}\n",
        3,
        "engine_model.tp.two",
        "before the colon",
        "4:",
    ),
    "pair cut short": (
        "models",
        "vocab: [5]\n",
        1,
        "vocab[1]",
        "missing",
        "vocab: [1000, 30000]",
    ),
    "other name": (
        "workloads",
        "input_len: 1\noutput_len: 1\nname: that\n",
        3,
        "name",
        "not the name of the file",
        "name: it",
    ),
    "field twice": (
        "workloads",
        "input_len: 1\noutput_len: 1\ninput_len: 2\n",
        3,
        "input_len",
        "given twice, first in line 1",
        "remove one",
    ),
    "tab": ("workloads", "modes:\n\t- mixed\n", 2, "", "not YAML", "spaces"),
    "colon in a value": ("workloads", "input_len: 1\ndescription: a: b\n", 2, "", "", "in quotes"),
    "open bracket": ("workloads", "input_len: 1\nmodes: [mixed\nx: 1\n", 2, "", "", "with ]"),
    "open quote": ("workloads", "input_len: 1\nname: 'x\nx: 1\n", 2, "", "", "close the quotes"),
    "no colon": ("workloads", "input_len: 1\nmodes\nx: 1\n", 2, "", "", "field: value"),
    "two documents": ("workloads", "input_len: 1\n---\ninput_len: 1\n", 2, "", "", "one profile"),
    "python tag": ("workloads", "name: !!python/name:os.system\n", 1, "", "", "remove the tag"),
    "nothing": ("workloads", "# later\n", 1, "", "holds nothing", "input_len"),
    "a list": ("workloads", "- 1\n", 1, "", "no fields", "input_len"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_problem_names_line_field_and_remedy(
    tmp_path: Path, case: tuple[str, str, int, str, str, str]
) -> None:
    folder, text, line, field, message, advice = case
    found = problems(tmp_path, text, SECTIONS[folder])
    match = [p for p in found if p.field == field]
    assert match, f"no problem of {field!r} in {found}"
    assert (match[0].line, message in match[0].message) == (line, True), match[0]
    assert advice in match[0].advice


def test_all_problems_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, "output_len: x\nmodes: [mixd]\nfoo: 1\n", WorkloadProfile)
    assert [(p.line, p.field) for p in found] == [
        (1, "input_len"),
        (1, "output_len"),
        (2, "modes[0]"),
        (3, "foo"),
    ]


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("clusters", CLUSTER + "env:\n  HF_TOKEN: hunter2\n"),
        ("clusters", CLUSTER + "env:\n  MY_API_KEY: 7357\n"),
        ("clusters", CLUSTER + "ssh:\n  password: hunter2\n"),
        ("models", "engine_args:\n  api-key: hunter2\n"),
        ("networks", "backend: UCX\nconnector_extra: {a: {db_password: hunter2}}\n"),
    ],
)
def test_secrets_are_refused_and_never_repeated(tmp_path: Path, folder: str, text: str) -> None:
    found = problems(tmp_path, textwrap.dedent(text), SECTIONS[folder])
    assert any("secret" in p.message and "on the node" in p.advice for p in found)
    assert not any(value in str(p) for p in found for value in ("hunter2", "7357"))


@pytest.mark.parametrize(
    "key",
    ["TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "UCX_KEEPALIVE", "RAY_AUTH_TOKEN_PATH"],
)
def test_what_only_resembles_a_secret_is_allowed(key: str) -> None:
    assert not looks_secret(key)


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ProfileError, match="not UTF-8"):
        load(path, WorkloadProfile)
    with pytest.raises(ProfileError, match="cannot be read"):
        load(tmp_path / "absent.yaml", WorkloadProfile)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
shipped_files = sorted(shipped_profiles().rglob("*.yaml"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_is_wrong_with_a_file_is_a_problem_in_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One value of a shipped file replaced by anything, or one field renamed."""
    source = data.draw(st.sampled_from(shipped_files))
    content: Any = yaml.safe_load(source.read_text())
    place: Any = content
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        place[data.draw(st.text(max_size=8))] = place.pop(key)
    else:
        place[key] = data.draw(values)
    path = tmp_path_factory.mktemp("any") / source.name
    text = yaml.safe_dump(content, allow_unicode=True)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    found: tuple[ProfileProblem, ...] = ()
    try:
        load(path, SECTIONS[source.parent.name])
    except ProfileError as error:
        found = error.problems or (ProfileProblem(file="", message=str(error), advice=""),)
    for problem in found:
        assert problem.file == str(path)
        assert 0 <= problem.line <= text.count("\n") + 1
        assert problem.advice
