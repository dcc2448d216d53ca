from pdconsole.measure.prometheus import parse
from pdconsole.measure.sampling import sample_events
from pdconsole.model.events import NixlSampled, WorkerSampled

DECODE = """\
vllm:num_requests_running{engine="0",model_name="m"} 3
vllm:num_requests_waiting{engine="0",model_name="m"} 1
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:num_preemptions_total{engine="0",model_name="m"} 2
vllm:prompt_tokens_total{engine="0",model_name="m"} 5000
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 16
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="external_kv_transfer"} 4984
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 5000
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 0
vllm:request_queue_time_seconds_sum{engine="0",model_name="m"} 1.5
vllm:request_queue_time_seconds_count{engine="0",model_name="m"} 3
vllm:request_prefill_time_seconds_sum{engine="0",model_name="m"} 0.5
vllm:request_prefill_time_seconds_count{engine="0",model_name="m"} 3
vllm:nixl_bytes_transferred_sum{engine="0",model_name="m"} 1e9
vllm:nixl_bytes_transferred_count{engine="0",model_name="m"} 4
vllm:nixl_bytes_transferred_sum{engine="1",model_name="m"} 1e9
vllm:nixl_bytes_transferred_count{engine="1",model_name="m"} 4
vllm:nixl_xfer_time_seconds_sum{engine="0",model_name="m"} 0.5
vllm:nixl_num_failed_transfers_total{engine="0",model_name="m"} 0
pdconsole_sim_late_p99_seconds 0.002
"""

PREFILL = """\
vllm:num_requests_running{engine="0"} 0
vllm:nixl_bytes_transferred_sum{engine="0"} 0
vllm:nixl_num_kv_expired_reqs_total{engine="0"} %s
"""


def test_a_decode_replica_tells_its_load_and_what_it_read():
    worker, nixl = sample_events("1", "D1", "decode", 7.5, parse(DECODE))
    assert worker == WorkerSampled(
        run="1",
        process="D1",
        node_t=7.5,
        running=3,
        waiting=1,
        kv_usage=0.25,  # not counted twice for the older spelling
        preemptions=2,
        prompt_tokens=5000,
        prefix_cache_queries=5000,
        prefix_cache_hits=0,
        local_compute_tokens=16,
        finished=3,
        queue_s=1.5,
        prefill_s=0.5,
        late_ms=2.0,
    )
    assert nixl == NixlSampled(
        run="1", process="D1", node_t=7.5, bytes=2e9, transfers=8, xfer_s=0.5, failed_transfers=0
    )


def test_a_prefill_replica_reports_nixl_only_when_kv_expired():
    assert len(sample_events("1", "P1", "prefill", 0.0, parse(PREFILL % 0))) == 1
    assert sample_events("1", "P1", "prefill", 0.0, parse(PREFILL % 2))[1].expired == 2


def test_what_is_not_exposed_is_unknown_not_zero():
    (worker,) = sample_events("1", "C1", "collocated", 0.0, {})
    assert worker == WorkerSampled(run="1", process="C1", node_t=0.0)


BY_RAY = """\
pdconsole_ray_metrics_exact 0
vllm:num_requests_running{engine="0"} 3
vllm:request_queue_time_seconds_sum{engine="0"} 1.5
vllm:request_queue_time_seconds_count{engine="0"} 3
vllm:nixl_bytes_transferred_sum{engine="0"} 327680
vllm:nixl_bytes_transferred_count{engine="0"} 4
vllm:nixl_xfer_time_seconds_sum{engine="0"} 0.5
vllm:nixl_num_descriptors_sum{engine="0"} 45
"""


def test_sums_that_rays_exporter_estimates_are_told_by_nobody():
    worker, nixl = sample_events("1", "D1", "decode", 7.5, parse(BY_RAY))
    assert worker == WorkerSampled(run="1", process="D1", node_t=7.5, running=3, finished=3)
    assert nixl == NixlSampled(run="1", process="D1", node_t=7.5, transfers=4, source="ray")


def test_what_the_replica_tells_by_itself_under_ray_is_as_without_it():
    own = parse(BY_RAY.replace("_exact 0", "_exact 1"))
    worker, nixl = sample_events("1", "D1", "decode", 7.5, own)
    assert isinstance(worker, WorkerSampled)
    assert isinstance(nixl, NixlSampled)
    assert worker.queue_s == 1.5
    assert (nixl.bytes, nixl.xfer_s, nixl.source) == (327680, 0.5, "metrics")
