"""What keeps D from taking P's KV is seen before anything is started."""

from __future__ import annotations

from typing import Any

import fake_measuring as fake
import pytest

from pdconsole.measure.environment_checks import environment_checks
from pdconsole.measure.handshake_checks import handshake_checks
from pdconsole.model.events import CheckResult
from pdconsole.remote.values import Inventory, Looked, ModelSeen

SPREAD = fake.run_plan("1P-TP1+1D-TP1", on=("a", "b"))
PACKED = fake.run_plan("1P-TP1+1D-TP1", on=("a",))


def checks(
    folders: tuple[str, str], run: Any = SPREAD, cluster: Any = fake.CLUSTER, **seen: Any
) -> dict[str, CheckResult]:
    inventories = {
        name: Inventory(
            node=name,
            hostname=name,
            python="3.11",
            looked=Looked(models={"org/m": ModelSeen(**{"is_path": True, "folder": f, **seen})}),
        )
        for name, f in zip("ab", folders, strict=True)
    }
    found = list(handshake_checks(inventories, [run], cluster, fake.MODEL))
    return {check.check: check for check in found}


def test_a_model_path_that_each_node_expands_differently_is_refused() -> None:
    check = checks(("/home/ann/m", "/home/bob/m"))["model-path"]
    assert (check.node, check.verdict, check.hard) == ("b", "fail", True)
    assert check.value == "/home/bob/m, and /home/ann/m on a: P and D compare the path"
    assert checks(("/models/m", "/models/m"))["model-path"].verdict == "ok"


@pytest.mark.parametrize(
    ("run", "seen"),
    [
        (PACKED, {}),
        (fake.run_plan("2xTP1", on=("a", "b")), {}),
        (SPREAD, {"is_path": False}),  # a hub's name is the same everywhere
    ],
)
def test_paths_matter_between_p_and_d_of_different_nodes_only(run: Any, seen: Any) -> None:
    assert checks(("/home/ann/m", "/home/bob/m"), run, **seen) == {}


def test_offline_a_hubs_name_becomes_a_path_of_the_cache() -> None:
    found = checks(("/home/ann/hub/m", "/home/bob/hub/m"), is_path=False, offline=True)
    assert found["model-path"].verdict == "fail"


def test_a_side_channel_on_loopback_is_refused_across_nodes() -> None:
    nodes = [node.model_copy(update={"address": "localhost"}) for node in fake.CLUSTER.nodes]
    cluster = fake.CLUSTER.model_copy(update={"nodes": nodes})
    check = checks(("/m", "/m"), cluster=cluster)["side-channel"]
    assert check.hard
    assert "D1 on b would look for P1's KV at localhost, which is its own node" in check.value
    assert "side-channel" not in checks(("/m", "/m"), PACKED, cluster)


def test_on_a_loopback_fabric_ucx_is_to_be_told_its_interface() -> None:
    def devices(env: dict[str, str], simulated: bool = False) -> str:
        changes = {"fabric": "loopback", "env": env, "simulated": simulated}
        found = environment_checks(
            [SPREAD],
            cluster=fake.CLUSTER.model_copy(update=changes),
            model=fake.MODEL,
            networks={"srd": fake.network()},
        )
        return next((c.verdict for c in found if c.check == "ucx-devices srd"), "not looked at")

    assert devices({}) == "warn"
    assert devices({"UCX_NET_DEVICES": "lo"}) == "ok"
    assert devices({}, simulated=True) == "not looked at"  # it opens no UCX
