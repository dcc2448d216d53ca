"""What runs inside a Serve replica: `exposed` travels there by value, so it stands alone."""

from __future__ import annotations

import importlib
from typing import Any


def exposed(actor: Any) -> str:
    """vLLM's own metrics of this replica, as its server would expose them.

    Ray Serve LLM has vLLM count through Ray, which loses the sums of histograms. vLLM's own
    logger is put beside Ray's once; it counts from then on.
    """
    prometheus: Any = importlib.import_module("prometheus_client")
    own_class: Any = importlib.import_module("vllm.v1.metrics.loggers").PrometheusStatLogger
    server = actor._replica_impl._user_callable_wrapper.user_callable
    client = server.engine._engine_client
    manager = client.logger_manager
    if manager is None:
        raise RuntimeError("the engine was started without statistics")
    own = [logger for logger in manager.stat_loggers if type(logger) is own_class]
    if not own:
        logger = own_class(client.vllm_config, manager.engine_indexes)
        logger.log_engine_initialized()
        manager.stat_loggers.append(logger)
    whole = str(prometheus.generate_latest(), "utf-8")
    # Names and labels only: what Python counts of the process is nobody's business here.
    return "\n".join(line for line in whole.split("\n") if "vllm:" in line) + "\n"
