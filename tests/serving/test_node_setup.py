"""What a node is found to need, as commands."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from pdconsole.profiles.schema import ClusterProfile
from pdconsole.remote.values import EngineFacts, Inventory, Looked, NodeGpu, RdmaDevice, UcxFacts
from pdconsole.serving.engine_stacks import TODAY, V0_11, EngineStack
from pdconsole.serving.node_setup import SetupStep, choose_stack, setup_steps, setup_text

EFA = (RdmaDevice(name="rdmap0s1", driver="efa", state="ACTIVE"),)


def cluster(**changes: Any) -> ClusterProfile:
    node = {"gpu_model": "H100", "gpu_memory_mib": 81559}
    fields: dict[str, Any] = {
        "name": "c",
        "fabric": "efa",
        "nodes": [{"name": "a", **node}, {"name": "b", **node}],
        "engine": {"vllm": ["/opt/my engine/bin/vllm", "serve"]},
    }
    return ClusterProfile.model_validate({**fields, **changes})


def bare(**changes: Any) -> Inventory:
    """A node with GPUs, EFA and its limits set, and no engine."""
    fields: dict[str, Any] = {
        "node": "a",
        "hostname": "a",
        "python": "3.12.3",
        "driver": "570.1",
        "gpus": (NodeGpu(index=0, name="H100", memory_mib=81559),),
        "looked": Looked(devices=EFA),
    }
    return Inventory(**{**fields, **changes})


def complete(stack: EngineStack, **changes: Any) -> Inventory:
    ucx = UcxFacts(version=stack.ucx, modules=("ib", "ib_efa"))
    engine = EngineFacts(packages={"nixl": stack.nixl}, ucx=ucx)
    return bare(
        versions={"vllm": stack.vllm, "vllm-router": stack.router},
        looked=Looked(devices=EFA, engine=engine),
        **changes,
    )


def steps(inventory: Inventory, stack: EngineStack = TODAY, **changes: Any) -> list[SetupStep]:
    wanted = cluster(**changes)
    found = list(setup_steps(wanted.nodes[0], inventory, wanted, stack))
    for step in found:
        if step.by != "profile":  # else it is YAML
            script = "\n".join(step.commands)
            subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    return found


def titles(found: list[SetupStep]) -> list[tuple[str, str]]:
    return [(step.title, step.by) for step in found]


@pytest.mark.parametrize("stack", [TODAY, V0_11])
def test_a_complete_node_needs_nothing(stack: EngineStack) -> None:
    assert steps(complete(stack), stack) == []
    assert "have all" in setup_text("c", ())


def test_a_bare_node_today() -> None:
    found = steps(bare())
    assert titles(found) == [
        ("environment of Python", "run"),
        ("vLLM", "run"),
        ("NIXL", "run"),
        ("router", "run"),
        ("profile", "profile"),
    ]
    text = setup_text("c", found)
    assert "'/opt/my engine'/bin/python -m pip install vllm==0.33.0" in text
    assert "pip install nixl==1.5.1" in text
    assert "vllm-router==0.1.17" in text


def test_the_older_combination_builds_nixl_against_a_ucx_with_srd() -> None:
    found = steps(bare(), V0_11)
    assert titles(found)[2:] == [
        ("compilers", "root"),
        ("UCX", "run"),
        ("NIXL", "run"),
        ("router", "run"),
        ("profile", "profile"),
    ]
    text = setup_text("c", found)
    assert "vllm==0.11.0 ray==2.51.0" in text
    assert "--with-efa" in text
    assert "setup-args=-Ducx_path='/opt/my engine'/ucx" in text
    # Without EFA its wheel will do.
    assert ("UCX", "run") not in titles(steps(bare(), V0_11, fabric="ethernet"))


def test_what_needs_root_is_never_run() -> None:
    found = steps(bare(driver="", gpus=(), memlock=65536, looked=Looked()))
    assert titles(found)[:3] == [("NVIDIA driver", "root"), ("EFA", "root"), ("memlock", "root")]
    for step in found:
        assert step.by == "root" or "sudo" not in " ".join(step.commands)
    assert ("Python", "root") in titles(steps(bare(python="3.9.2")))


def test_the_profile_is_to_name_what_is_made() -> None:
    found = steps(bare(), engine={})
    assert ("profile", "profile") in titles(found)
    assert '"$HOME"/pdconsole-engine/bin/python -m pip' in setup_text("c", found)


def no_nixl(**facts: Any) -> Inventory:
    """vLLM is there, as a command that PATH finds."""
    return bare(
        versions={"vllm": TODAY.vllm},
        looked=Looked(devices=EFA, engine=EngineFacts(**facts)),
    )


def test_nixl_goes_beside_the_vllm_that_is_there() -> None:
    found = steps(no_nixl(prefix="/opt/conda"), engine={})
    assert titles(found) == [("NIXL", "run"), ("router", "run")]
    text = setup_text("c", found)
    assert "/opt/conda/bin/python -m pip install nixl==1.5.1" in text
    assert "/opt/conda/bin/python -m pip install vllm-router" in text
    assert "pdconsole-engine" not in text


def test_where_that_is_not_known_a_person_has_to_say() -> None:
    found = steps(no_nixl(trouble="vllm is no program of a Python that can be asked"), engine={})
    assert ("NIXL", "root") in titles(found)
    assert "no program of a Python" in setup_text("c", found)


def test_a_router_is_made_where_the_profile_looks_for_it() -> None:
    missing = bare(versions={"vllm": TODAY.vllm}, looked=complete(TODAY).looked)
    engine = {"vllm": ["/opt/e/bin/vllm", "serve"], "router": ["~/r/bin/vllm-router"]}
    found = steps(missing, engine=engine)
    assert titles(found) == [("router", "run")]
    assert '"$HOME"/r/bin/python -m pip install vllm-router' in setup_text("c", found)
    # Else the profile has to be told where it is.
    found = steps(missing, engine={"vllm": engine["vllm"]})
    assert titles(found) == [("router", "run"), ("profile", "profile")]
    assert "router: [/opt/e/bin/vllm-router]" in setup_text("c", found)


def test_the_combination_is_the_one_that_fits_what_is_there() -> None:
    assert choose_stack(cluster(), {"a": bare()}) is TODAY
    assert choose_stack(cluster(), {"a": bare(), "b": complete(V0_11)}) is V0_11
    named = cluster(engine={"version": "0.11.0"})
    assert choose_stack(named, {"a": bare()}) is V0_11


def test_a_node_without_gpus_needs_other_builds() -> None:
    node = {"name": "a", "gpu_model": "CPU", "gpu_memory_mib": 1, "kind": "cpu"}
    (step,) = steps(bare(), nodes=[node], fabric="loopback")
    assert (step.title, step.by) == ("vLLM for CPUs", "root")
