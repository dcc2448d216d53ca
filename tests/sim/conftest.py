from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from real_processes import Processes
from real_processes import processes as running

from pdconsole.sim.constants import EngineConstants, LinkConstants

PROFILES = Path(__file__).parents[2] / "profiles"


def _section(path: str, key: str) -> dict[str, object]:
    return yaml.safe_load((PROFILES / path).read_text())[key]


@pytest.fixture(scope="session")
def engine() -> EngineConstants:
    section = _section("models/gpt-oss-120b.yaml", "engine_model")
    return msgspec.convert(section, EngineConstants, strict=False)


@pytest.fixture(scope="session")
def link() -> LinkConstants:
    return msgspec.convert(_section("networks/cuda-ipc.yaml", "sim"), LinkConstants)


@pytest.fixture(scope="session")
def sim_env() -> dict[str, str]:
    """What a simulated worker needs in its environment."""
    return {
        "PDCONSOLE_SIM_ENGINE": json.dumps(_section("models/gpt-oss-120b.yaml", "engine_model")),
        "PDCONSOLE_SIM_LINK": json.dumps(_section("networks/cuda-ipc.yaml", "sim")),
    }


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, sim_env: dict[str, str]
) -> Iterator[Processes]:
    with running(tmp_path_factory.mktemp("processes"), sim_env) as started:
        yield started
