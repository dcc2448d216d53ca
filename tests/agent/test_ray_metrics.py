"""Ray's exporter read as vLLM's /metrics."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from paper_ray import paper_ray

from pdconsole.agent import paths, prometheus, ray_exporter
from pdconsole.agent.ray_exporter import ExporterError
from pdconsole.agent.ray_metrics import vllm_text

RAYS = (
    'Component="core_worker",NodeAddress="10.0.0.1",ReplicaId="{replica}",'
    'SessionName="session_1",Version="2.60.0",WorkerId="w-{replica}"'
)
SCOPE = 'otel_scope_name="ray._private",otel_scope_schema_url="",otel_scope_version=""'


def exported(replica: str, name: str, value: float, labels: str = 'engine="0"') -> str:
    whole = f'{RAYS.format(replica=replica)},{labels},model_name="a/{{b}}",{SCOPE}'
    return f"ray_vllm_{name}{{{whole}}} {value}"


EXPORTED = "\n".join(
    [
        "# HELP ray_node_cpu of the node",
        "# TYPE ray_node_cpu gauge",
        'ray_node_cpu{NodeAddress="10.0.0.1"} 3.0',
        "# HELP ray_vllm_num_requests_running Number of requests",
        "# TYPE ray_vllm_num_requests_running gauge",
        exported("aa", "num_requests_running", 3),
        exported("bb", "num_requests_running", 5),
        "# HELP ray_vllm_prompt_tokens_by_source_total By source.",
        "# TYPE ray_vllm_prompt_tokens_by_source_total counter",
        exported("aa", "prompt_tokens_by_source_total", 60, 'engine="0",source="local_compute"'),
        "# HELP ray_vllm_nixl_bytes_transferred Bytes.",
        "# TYPE ray_vllm_nixl_bytes_transferred histogram",
        exported("aa", "nixl_bytes_transferred_bucket", 9, 'engine="0",le="131072.0"'),
        exported("aa", "nixl_bytes_transferred_count", 9),
        exported("aa", "nixl_bytes_transferred_sum", 737280),
        "# HELP ray_vllm_only_bs Of another.",
        "# TYPE ray_vllm_only_bs counter",
        exported("bb", "only_bs", 1),
        "",
    ]
)


def test_one_replica_under_vllms_names_and_labels() -> None:
    text = vllm_text(EXPORTED, "aa", "tiny")
    values = prometheus.parse(text.split("\n"))
    own = '{engine="0",model_name="a/{b}"}'
    assert values[f"vllm:num_requests_running{own}"] == 3.0
    assert values[f"vllm:nixl_bytes_transferred_count{own}"] == 9.0
    by_source = '{{engine="0",source="{}",model_name="a/{{b}}"}}'
    assert values["vllm:prompt_tokens_by_source_total" + by_source.format("local_compute")] == 60.0
    bucket = 'vllm:nixl_bytes_transferred_bucket{engine="0",le="131072.0",model_name="a/{b}"} 9'
    assert bucket in text
    assert "# TYPE vllm:num_requests_running gauge\n" in text
    assert "only_bs" not in text
    assert "ray_" not in text


def test_sums_that_are_none_are_left_out() -> None:
    assert "_sum" not in vllm_text(EXPORTED, "aa", "tiny")


def test_counters_that_have_not_counted_are_zero() -> None:
    values = prometheus.parse(vllm_text(EXPORTED, "aa", "tiny").split("\n"))
    zero = '{engine="0",model_name="tiny"}'
    for name in ("num_preemptions_total", "prefix_cache_hits_total", "num_requests_waiting"):
        assert values[f"vllm:{name}{zero}"] == 0.0
    assert values[f"vllm:nixl_num_failed_transfers_total{zero}"] == 0.0
    assert sum("prompt_tokens_by_source" in name for name in values) == 3
    other = vllm_text(EXPORTED, "bb", "tiny")
    assert "nixl" not in other, "a prefill replica reads nothing"
    assert other.count("vllm:num_requests_running{") == 1


def test_a_replica_that_is_not_exported_yet_counts_nothing() -> None:
    values = prometheus.parse(vllm_text("", "aa", "tiny").split("\n"))
    assert set(values.values()) == {0.0}


def test_doors_of_a_node_share_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDCONSOLE_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("PDCONSOLE_SESSION", "s")
    Path(paths.session_dir(str(tmp_path), "s")).mkdir(parents=True)
    with paper_ray() as ray:
        ray.exported = "a 1\n" * 1000
        found: list[str] = []
        threads = [
            threading.Thread(target=lambda: found.append(ray_exporter.fetch(ray.url + "/metrics")))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [ray.exported] * 16
        assert ray.scrapes < 16
        monkeypatch.setattr(ray_exporter, "FRESH_S", 0.0)
        ray.exported = "a 2\n"
        assert ray_exporter.fetch(ray.url + "/metrics") == "a 2\n", "shorter than before, and whole"
        url = ray.url
    with pytest.raises(ExporterError, match="does not answer: Connection refused"):
        ray_exporter.fetch(url + "/metrics")
