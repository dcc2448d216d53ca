"""The load driver and `vllm bench serve` in turn on one server: do they measure the same?

    python against_bench_serve.py URL --model NAME --tokenizer DIR --vocab FIRST LAST --out FILE
    python against_bench_serve.py show FILE    what was measured, from a file of before

Each round sends the same prompts (token ids of a seed of that round) twice: A by pdconsole's load
driver, B by `vllm bench serve` (bench_serve.py beside this file), A B A B ... Compared are

own     what each tool reports by itself over its whole run
steady  both tools' single requests, put through the load driver's own window: it opens after one
        and a half rounds of the requests in flight and closes after --window-requests more, before
        the load tails off
floor   B with B of the next round, own figures: what two runs of one tool differ by

`vllm bench serve` takes seconds to start, in which the server rests; before A it rests as long. A
run of each that is not counted comes first. Beside the figures stands what part of a core each
client took.

Differences are (A - B) / B of a round in percent; the mean over rounds has a 95 % interval by
Student's t.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from pdconsole.agent.drive.prompts import Prompts
from pdconsole.agent.drive.window import ClosedWindow
from pdconsole.model.statistics import mean_interval

HERE = Path(__file__).resolve().parent
DRIVE = "import sys; from pdconsole.agent.drive import main; sys.exit(main(sys.argv[1:]))"
WARMUP_ROUNDS = 1.5
TAIL_ROUNDS = 1
TOOL_S = 180.0  # one run of either tool, at most


class Request(NamedTuple):
    sent: float  # seconds of the tool's own clock
    ttft_s: float
    e2el_s: float
    output_tokens: int
    ok: bool

    @property
    def end(self) -> float:
        return self.sent + self.e2el_s


class Figures(NamedTuple):
    request_throughput: float  # a second
    median_ttft_ms: float
    median_tpot_ms: float
    mean_ttft_ms: float


class Run(NamedTuple):
    own: Figures
    steady: Figures
    completed: int
    failed: int
    cpu_pct: float | None = None  # of one core, by the client


def figures(requests: Sequence[Request], seconds: float) -> Figures:
    """By the definitions of `vllm bench serve`."""
    tpots = [(r.e2el_s - r.ttft_s) / (r.output_tokens - 1) for r in requests if r.output_tokens > 1]
    return Figures(
        len(requests) / seconds,
        1e3 * median(r.ttft_s for r in requests),
        1e3 * median(tpots or [0.0]),
        1e3 * fmean(r.ttft_s for r in requests),
    )


def steady(requests: Sequence[Request], concurrency: int, window_requests: int) -> Figures:
    window = ClosedWindow(
        min(r.sent for r in requests),
        concurrency=concurrency,
        warmup_requests=math.ceil(WARMUP_ROUNDS * concurrency),
        window_requests=window_requests,
        min_s=0.0,
        max_s=math.inf,
    )
    counted = [
        request
        for request in sorted(requests, key=lambda r: r.end)
        if window.on_over(request.end, request.sent, 1e3 * request.e2el_s) == "window"
    ]
    if window.t0 is None or window.t1 is None:
        raise RuntimeError(f"{len(requests)} requests are too few for the window")
    return figures(counted, window.t1 - window.t0)


class Comparison:
    def __init__(self, asked: argparse.Namespace, concurrency: int, folder: Path) -> None:
        self._asked = asked
        self._concurrency = concurrency
        self._folder = folder
        self._window = math.ceil(asked.window_requests / concurrency) * concurrency
        around = math.ceil((WARMUP_ROUNDS + TAIL_ROUNDS) * concurrency)
        self._requests = self._window + around
        self._bench_starts_s = 0.0

    def by_the_load_driver(self, seed: str) -> Run:
        asked = self._asked
        spec = {
            "protocol": 1,
            "url": f"{asked.url}/v1/completions",
            "model": asked.model,
            "load": {"kind": "concurrency", "value": self._concurrency},
            "input_len": asked.input_len,
            "output_len": asked.output_len,
            "vocab": asked.vocab,
            "seed": seed,
            "window": "whole",
            "window_requests": self._requests,
            "max_window_s": TOOL_S,
        }
        path = self._folder / "spec.json"
        path.write_text(json.dumps(spec))
        time.sleep(self._bench_starts_s)
        printed = self._finished([sys.executable, "-c", DRIVE, str(path)])
        lines = [json.loads(line) for line in printed.splitlines()]
        summary = next(line for line in lines if line["kind"] == "summary")
        answers = [line for line in lines if line["kind"] == "request"]
        requests = [
            Request(
                line["sent_node_t"],
                (line["ttft_ms"] or 0.0) / 1e3,
                (line["e2el_ms"] or 0.0) / 1e3,
                line["output_tokens"],
                not line["error"],
            )
            for line in answers
        ]
        run = self._run(requests, summary["window_s"])
        return run._replace(cpu_pct=summary["cpu_pct"])

    def by_bench_serve(self, seed: str) -> Run:
        asked = self._asked
        prompts = Prompts(seed, asked.input_len, tuple(asked.vocab))
        with (self._folder / "prompts.jsonl").open("w") as file:
            for index in range(self._requests):
                ids = prompts.tokens(index).decode()
                file.write(f'{{"prompt":[{ids}],"output_tokens":{asked.output_len}}}\n')
        # Our own packages are not the engine's; its command may name them.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        began = time.monotonic()
        printed = self._finished(
            [
                *shlex.split(asked.engine_python),
                str(HERE / "bench_serve.py"),
                *("--backend", "openai", "--base-url", asked.url, "--endpoint", "/v1/completions"),
                *("--model", asked.model, "--tokenizer", asked.tokenizer),
                *("--dataset-name", "custom", "--dataset-path", str(file.name)),
                *("--num-prompts", str(self._requests)),
                *("--max-concurrency", str(self._concurrency)),
                *("--ignore-eos", "--temperature", "0", "--disable-tqdm"),
                *("--save-result", "--save-detailed", "--result-dir", str(self._folder)),
                *("--result-filename", "bench.json"),
            ],
            env,
        )
        took_s = time.monotonic() - began
        found = json.loads((self._folder / "bench.json").read_text())
        self._bench_starts_s = max(0.0, took_s - found["duration"])
        columns = ("start_times", "ttfts", "itls", "output_lens", "errors")
        requests = [
            Request(sent, ttft, ttft + sum(itl), tokens, not error)
            for sent, ttft, itl, tokens, error in zip(*(found[c] for c in columns), strict=True)
        ]
        run = self._run(requests, found["duration"])
        reported = Figures(*(found[name] for name in Figures._fields))
        cpu_pct = json.loads(printed.splitlines()[-1])["cpu_pct"]
        return run._replace(own=reported, cpu_pct=cpu_pct)

    def _run(self, requests: Sequence[Request], seconds: float) -> Run:
        good = [r for r in requests if r.ok]
        if not good:
            raise RuntimeError("every request failed")
        return Run(
            figures(good, seconds),
            steady(good, self._concurrency, self._window),
            len(good),
            len(requests) - len(good),
        )

    def _finished(self, command: list[str], env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=TOOL_S + 60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[:4]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout


def in_turn(comparison: Comparison, rounds: int, budget_s: float) -> list[tuple[Run, Run]]:
    """A and B of each round; fewer rounds where the next would not fit into the time."""
    comparison.by_the_load_driver("warm")  # neither is counted
    comparison.by_bench_serve("warm")
    pairs: list[tuple[Run, Run]] = []
    began = time.monotonic()
    for number in range(1, rounds + 1):
        spent = time.monotonic() - began
        if pairs and spent + spent / len(pairs) > budget_s:
            print(f"    no time for more than {len(pairs)} rounds", flush=True)
            break
        a = comparison.by_the_load_driver(f"round {number}")
        b = comparison.by_bench_serve(f"round {number}")
        pairs.append((a, b))
        for name, run in (("A", a), ("B", b)):
            print(_line(name, number, _named(run)), flush=True)
    return pairs


def difference(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    percent = [100 * (a - b) / b for a, b in pairs]
    interval = mean_interval(percent)
    return {
        "percent": percent,
        "mean": sum(percent) / len(percent),
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
    }


def differences(pairs: Sequence[tuple[Run, Run]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"own": {}, "steady": {}, "floor": {}}
    for name in Figures._fields:
        for view in ("own", "steady"):
            both = [(getattr(getattr(a, view), name), getattr(getattr(b, view), name))
                    for a, b in pairs]  # fmt: skip
            found[view][name] = difference(both)
        again = [(getattr(y.own, name), getattr(x.own, name)) for (_, x), (_, y) in pairwise(pairs)]
        if again:
            found["floor"][name] = difference(again)
    return found


def table(concurrency: int, rounds: int, found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{concurrency} in flight, {rounds} rounds: load driver against bench serve"]
    for view, by_name in found.items():
        for name, value in by_name.items():
            reach = "" if value["low"] is None else f"  [{value['low']:+.2f}, {value['high']:+.2f}]"
            lines.append(f"    {view:8}{name:20}{value['mean']:+7.2f} %{reach}")
    return "\n".join(lines)


def show(path: Path) -> None:
    document = json.loads(path.read_text())
    if document.get("simulated"):
        print(f"simulated: {document['server']}")
    for result in document["results"]:
        rounds = result["rounds"]
        for number, by_tool in enumerate(rounds, 1):
            for name, run in by_tool.items():
                print(_line(name, number, run))
        print(table(result["concurrency"], len(rounds), result["differences"]))


def main(argv: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["show"]:
        show(Path(words[1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--model", required=True, help="the served name")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--vocab", nargs=2, type=int, required=True)
    parser.add_argument("--input-len", type=int, default=1000)
    parser.add_argument("--output-len", type=int, default=100)
    parser.add_argument("--concurrency", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window-requests", type=int, default=480)
    parser.add_argument("--engine-python", default="python3", help="a command with vLLM in it")
    parser.add_argument("--budget-s", type=float, default=math.inf, help="for each concurrency")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(words)
    asked.tokenizer = os.path.expanduser(asked.tokenizer)  # noqa: PTH111
    results = []
    for concurrency in asked.concurrency:
        print(f"{concurrency} in flight", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(asked, concurrency, Path(folder))
            pairs = in_turn(comparison, asked.rounds, asked.budget_s)
        found = differences(pairs)
        print(table(concurrency, len(pairs), found), flush=True)
        results.append(
            {
                "concurrency": concurrency,
                "rounds": [{"A": _named(a), "B": _named(b)} for a, b in pairs],
                "differences": found,
            }
        )
        facts = {k: v for k, v in vars(asked).items() if isinstance(v, str | int | float | list)}
        document = {"asked": facts, "results": results}
        asked.out.write_text(json.dumps(document, indent=1))  # what there is, whatever follows


def _named(run: Run) -> dict[str, Any]:
    return run._asdict() | {"own": run.own._asdict(), "steady": run.steady._asdict()}


def _line(name: str, number: int, run: dict[str, Any]) -> str:
    shown = "  ".join(
        f"{view} {run[view]['request_throughput']:.3f}/s {run[view]['median_ttft_ms']:.2f} ms"
        f" {run[view]['median_tpot_ms']:.4f} ms"
        for view in ("own", "steady")
    )
    cpu = "" if run.get("cpu_pct") is None else f"  CPU {run['cpu_pct']:.0f} %"
    return f"    {name}{number}  {shown}  failed {run['failed']}{cpu}"


if __name__ == "__main__":
    main()
