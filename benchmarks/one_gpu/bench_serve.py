"""`vllm bench serve` with prompts of token ids; takes its arguments. For the engine's Python.

Its datasets hold text. Here a line of `--dataset-name custom` is {"prompt": [ids], "output_tokens"}
and goes into the request as it is, so that another client can send the very same prompts.
Everything else (client, clocks, formulas, result file) is vLLM's own, untouched. The last line
printed is {"cpu_pct"}: what this process took of one core from when its prompts were ready.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from vllm.benchmarks import serve
from vllm.benchmarks.datasets import CustomDataset, SampleRequest

ready: list[tuple[float, float]] = []  # CPU time and time, when the prompts were


def in_order(self: Any) -> None:
    self.data = [json.loads(line) for line in Path(self.dataset_path).read_text().splitlines()]


def as_they_are(
    self: Any, *_: Any, num_requests: int, request_id_prefix: str = "", **__: Any
) -> list[SampleRequest]:
    samples = [
        SampleRequest(
            prompt=line["prompt"],
            prompt_len=len(line["prompt"]),
            expected_output_len=line["output_tokens"],
            request_id=f"{request_id_prefix}{index}",
        )
        for index, line in enumerate(self.data[:num_requests])
    ]
    ready.append((process_time(), monotonic()))
    return samples


if __name__ == "__main__":
    CustomDataset.load_data = in_order
    CustomDataset.sample = as_they_are
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)  # type: ignore[arg-type]
    serve.main(parser.parse_args())
    cpu, began = ready[-1]
    print(json.dumps({"cpu_pct": 100 * (process_time() - cpu) / (monotonic() - began)}))
