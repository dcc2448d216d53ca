"""Introduce every prefill replica to every decode replica before anything is measured.

The first transfer between two replicas pays for a handshake. Going through the router would leave
to chance which pairs have met, so each pair is met directly, by the two-step protocol: the prompt
to the prefill replica for one token, then to the decode replica with the transfer parameters that
the prefill replica answered.
"""

from __future__ import annotations

import http.client
import json
import uuid
from queue import Empty, Queue
from threading import Thread
from typing import Any, Dict, Optional, Protocol

from pdconsole.agent.drive.prompts import Prompts
from pdconsole.agent.drive.spec import DriveSpec, Pairs
from pdconsole.agent.drive.target import DriveError, reason_of, split_url

POLL_S = 0.1
SHOWN_BYTES = 300


class Stop(Protocol):
    requested: bool


def warm_pairs(spec: DriveSpec, pairs: Pairs, stop: Stop) -> None:
    """Meet all pairs, decode replicas side by side. Raises DriveError naming a pair that fails."""
    outcomes: Queue[Optional[DriveError]] = Queue()
    prompts = Prompts(spec.seed + "/pairs", pairs.input_len, spec.vocab)
    for index, decode in enumerate(pairs.decode):
        # A thread that hangs must not outlive the process: daemon.
        arguments = (spec, pairs, decode, index, prompts, outcomes)
        Thread(target=_meet_all, args=arguments, daemon=True).start()
    waiting = len(pairs.decode)
    while waiting and not stop.requested:
        try:
            failure = outcomes.get(timeout=POLL_S)
        except Empty:
            continue
        if failure is not None:
            raise failure
        waiting -= 1


def _meet_all(
    spec: DriveSpec,
    pairs: Pairs,
    decode: str,
    index: int,
    prompts: Prompts,
    outcomes: Queue[Optional[DriveError]],
) -> None:
    names = list(pairs.prefill)
    try:
        for turn in range(len(names)):
            # Each thread starts at another prefill replica, so that they are not all at one.
            at = (index + turn) % len(names)
            prompt = json.loads(b"[%s]" % prompts.tokens(index * len(names) + at))
            _meet(spec, pairs, names[at], decode, prompt)
    except DriveError as error:
        outcomes.put(error)
    else:
        outcomes.put(None)


def _meet(spec: DriveSpec, pairs: Pairs, prefill: str, decode: str, prompt: Any) -> None:
    pair = f"warming the pair {prefill} > {decode} failed"
    request: Dict[str, Any] = {
        "model": spec.model,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": 1,
        "stream": False,
    }
    asked = {
        "do_remote_decode": True,
        "do_remote_prefill": False,
        "remote_engine_id": None,
        "remote_block_ids": None,
        "remote_host": None,
        "remote_port": None,
    }
    # vLLM 0.11 tells P by the request's own id that its KV was read: with another one on D, P
    # holds the blocks until they expire.
    request_id = f"pair-{uuid.uuid4().hex}"
    step = {**request, "kv_transfer_params": asked}
    first = _post(pairs.prefill[prefill], step, request_id, spec, pair)
    transfer = first.get("kv_transfer_params")
    if not isinstance(transfer, dict) or not transfer.get("remote_engine_id"):
        raise DriveError(
            f"{pair}: {prefill} answered without transfer parameters; "
            "check that it was started with a --kv-transfer-config"
        )
    second = {**request, "max_tokens": 2, "ignore_eos": True, "kv_transfer_params": transfer}
    _post(pairs.decode[decode], second, request_id, spec, pair)


def _post(
    url: str, content: Dict[str, Any], request_id: str, spec: DriveSpec, pair: str
) -> Dict[str, Any]:
    host, port, path = split_url(url)
    connection = http.client.HTTPConnection(host, port, timeout=spec.timeout_s)
    try:
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        connection.request("POST", path, json.dumps(content), headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = reason_of(error) if isinstance(error, OSError) else repr(error)
        raise DriveError(f"{pair}: {url}: {reason}") from None
    finally:
        connection.close()
    if response.status != 200:
        shown = body[:SHOWN_BYTES].decode("utf-8", "replace")
        raise DriveError(f"{pair}: {url} answered HTTP {response.status}: {shown}")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise DriveError(f"{pair}: {url} did not answer with a JSON object")
    return answer
