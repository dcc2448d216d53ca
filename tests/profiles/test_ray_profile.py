"""Clusters that are served by Ray: what their profile may say, and what it is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.profiles import ClusterProfile, ProfileError
from pdconsole.profiles.loading import load

CLUSTER = """\
orchestrator: ray
fabric: ethernet
nodes:
  - {name: a, address: 10.0.0.1, gpu_model: H100, gpu_memory_mib: 81559}
"""


def loaded(folder: Path, more: str, head: str = CLUSTER) -> ClusterProfile:
    path = folder / "it.yaml"
    path.write_text(head + more)
    profile, _ = load(path, ClusterProfile)
    return profile


def test_ray_is_started_unless_a_cluster_is_named(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").ray.start
    joins = "ray: {start: false, address: 'a:6379', dashboard: 'http://a:8265'}\n"
    assert not loaded(tmp_path, joins).ray.start
    joins = "ray: {start: false, address: '[fd00::1]:6379', dashboard: 'https://[fd00::1]/ray/'}\n"
    assert not loaded(tmp_path, joins).ray.start


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("ray: {start: false}\n", "add ray.address, or write start: true to have Ray started"),
        (
            "ray: {start: false, address: 'a:6379'}\n",
            "add ray.dashboard, or write start: true to have Ray started",
        ),
        ("ray: {address: 'a:6379'}\n", "write start: false to join it, or remove the line"),
        (
            "ray: {start: false, address: head, dashboard: 'http://a:8265'}\n",
            "for example 10.0.0.11:6379",
        ),
        (
            "ray: {start: false, address: 'a:6379', dashboard: 'a:8265'}\n",
            "for example http://10.0.0.11:8265",
        ),
        (
            "ray: {start: false, address: 'ray://a:10001', dashboard: 'http://a:8265'}\n",
            "for example 10.0.0.11:6379",
        ),
        (
            "ray: {start: false, address: 'fd00::1:6379', dashboard: 'http://a:8265'}\n",
            "fd00::1:6379 is no host and port",
        ),
        (
            "ray: {start: false, address: '[fd00::1]:6379', dashboard: 'http://fd00::1:8265'}\n",
            "http://fd00::1:8265 is no URL",
        ),
        (
            "ray: {ports: {min_worker: 9000, max_worker: 8000}}\n",
            "write the larger of the two as max_worker",
        ),
        ("ray: {ports: {gsc: 1}}\n", "did you mean gcs?"),
        ("simulated: true\n", "write direct, or name real nodes and simulated: false"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_write(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        loaded(tmp_path, more)
    assert said in str(caught.value)
