"""A simulated vLLM server: requests in, the engine model's tokens out at the model's times."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from pdconsole.sim.arguments import VERSION, ServeArguments
from pdconsole.sim.completions import (
    DEFAULT_MAX_TOKENS,
    DONE,
    PACKED_TOKEN_BYTES,
    Answer,
    CompletionRequest,
    RequestRefused,
    decode_request,
    error_body,
    error_event,
    pack_prompt,
    prompt_seed,
)
from pdconsole.sim.engine import EngineError, Replica, Step
from pdconsole.sim.fetching import Fetched
from pdconsole.sim.frontend import Ingress, TokenStream
from pdconsole.sim.held import Expired
from pdconsole.sim.http import Exchange, Request
from pdconsole.sim.kv_handover import KvHandover, KvUnreachableError
from pdconsole.sim.metrics import WorkerMetrics
from pdconsole.sim.request_metrics import request_metrics
from pdconsole.sim.sequence import Sequence, block_hashes
from pdconsole.sim.timer import PreciseTimer
from pdconsole.sim.worker_log import log

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Client:
    """Who waits for a sequence's tokens."""

    __slots__ = (
        "answer",
        "begun",
        "exchange",
        "last_sent",
        "max_tokens",
        "request",
        "sent",
        "sequence",
    )

    def __init__(
        self, exchange: Exchange, request: CompletionRequest, answer: Answer, sequence: Sequence
    ) -> None:
        self.exchange = exchange
        self.request = request
        self.answer = answer
        self.sequence = sequence
        self.max_tokens = sequence.max_tokens
        self.begun = False  # a stream's head is out
        self.sent = 0
        self.last_sent = 0.0  # model time

    def begin(self) -> None:
        if self.request.stream and not self.begun:
            self.begun = True
            self.exchange.start_stream()


class Server:
    """Handles HTTP requests, and drives the replica by the wall clock (`time.monotonic`)."""

    def __init__(
        self,
        arguments: ServeArguments,
        replica: Replica,
        metrics: WorkerMetrics,
        handover: KvHandover | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._arguments = arguments
        self._replica = replica
        self._metrics = metrics
        self._handover = handover
        self._ingress = Ingress(replica.engine)
        self._stream = TokenStream(replica.engine, connector=handover is not None)
        self._timer = PreciseTimer(loop, self.tick)
        self._clients: dict[str, Client] = {}  # by sequence id
        self._outbox: deque[tuple[float, list[Client]]] = deque()  # due, one token for each
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = int(time.time())
        self._block_bytes = replica.engine.block_tokens * PACKED_TOKEN_BYTES
        self._routes: dict[tuple[str, str], Callable[[Request, Exchange], None]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ping"): self._health,
            ("GET", "/metrics"): self._metrics_text,
            ("GET", "/version"): self._version,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): self._completions,
        }
        if handover is not None:
            handover.on_peer_lost = self._peer_lost

    # --- HTTP ---

    def handle(self, request: Request, exchange: Exchange) -> None:
        route = self._routes.get((request.method, request.path))
        if route is not None:
            route(request, exchange)
        elif any(path == request.path for _, path in self._routes):
            exchange.respond(b'{"detail":"Method Not Allowed"}', status=405)
        else:
            exchange.respond(b'{"detail":"Not Found"}', status=404)

    def _health(self, request: Request, exchange: Exchange) -> None:
        exchange.respond(b"")

    def _metrics_text(self, request: Request, exchange: Exchange) -> None:
        exchange.respond(self._metrics.exposition(time.monotonic()), kind=METRICS_TYPE)

    def _version(self, request: Request, exchange: Exchange) -> None:
        exchange.respond(msgspec.json.encode({"version": VERSION}))

    def _models(self, request: Request, exchange: Exchange) -> None:
        models: list[dict[str, object]] = [
            {
                "id": name,
                "object": "model",
                "created": self._started,
                "owned_by": "vllm (simulated)",
                "root": self._arguments.model,
                "parent": None,
                "max_model_len": self._arguments.max_model_len,
                "permission": [],
            }
            for name in self._arguments.served_names
        ]
        exchange.respond(msgspec.json.encode({"object": "list", "data": models}))

    def _completions(self, request: Request, exchange: Exchange) -> None:
        try:
            client = self._client(request, exchange)
        except RequestRefused as error:
            body = error_body(str(error), error.kind, error.status)
            exchange.respond(body, status=error.status)
            return
        params = client.request.kv_transfer_params
        handover = self._handover
        if params is None or handover is None or not params.do_remote_prefill:
            self._submit(client)
        elif (remote := handover.remote_of(params)) is None:
            # As vLLM: a router that passes no parameters on makes D do P's work in silence.
            log("Got invalid KVTransferParams. This request will not utilize KVTransfer",
                level="WARNING", source="scheduler.py")  # fmt: skip
            self._submit(client)
        else:
            client.sequence.remote = remote
            if handover.knows(remote.engine_id):
                self._submit(client)
            else:
                self._start(self._submit_after_contact(client))

    def _client(self, request: Request, exchange: Exchange) -> Client:
        arrived = time.monotonic()
        asked = decode_request(request.body)
        model = asked.model or self._arguments.served_names[0]
        if model not in self._arguments.served_names:
            raise RequestRefused(
                f"The model `{model}` does not exist.", status=404, kind="NotFoundError"
            )
        tokens = pack_prompt(asked.prompt)
        max_tokens = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        longest = self._arguments.max_model_len
        if not tokens or max_tokens < 1:
            raise RequestRefused("prompt must not be empty, and max_tokens at least 1")
        if len(tokens) + max_tokens > longest:
            raise RequestRefused(
                f"This model's maximum context length is {longest} tokens. However, you requested"
                f" {max_tokens} output tokens and your prompt contains {len(tokens)} input tokens."
            )
        packed = tokens.tobytes()
        caching = self._replica.settings.prefix_caching
        params = asked.kv_transfer_params
        given = request.headers.get(b"x-request-id")
        response_id = f"cmpl-{given.decode('latin-1') if given else uuid.uuid4().hex}"
        sequence = Sequence(
            f"{response_id}-0-{uuid.uuid4().hex[:8]}",
            prompt=len(tokens),
            max_tokens=max_tokens,
            arrived=arrived,
            hashes=block_hashes(packed, self._block_bytes) if caching else (),
            held=self._handover is not None and params is not None and params.do_remote_decode,
        )
        answer = Answer(
            response_id,
            model,
            int(time.time()),
            tokens,
            prompt_seed(packed),
            with_ids=bool(asked.return_token_ids),
        )
        return Client(exchange, asked, answer, sequence)

    # --- into the engine ---

    def _submit(self, client: Client) -> None:
        sequence = client.sequence
        if client.exchange.gone:
            return
        if sequence.remote is None:
            sequence.ready = self._ingress.enter(sequence.arrived, sequence.prompt)
        else:
            sequence.ready = self._ingress.enter_decode(sequence.arrived)
        try:
            self._replica.submit(sequence)
        except EngineError as error:
            client.exchange.respond(error_body(str(error), "BadRequestError", 400), status=400)
            return
        self._clients[sequence.id] = client
        if self._handover is not None and sequence.remote is not None:
            self._handover.wants(sequence.id, sequence.remote)
        client.exchange.on_gone = partial(self._left, client)
        client.begin()
        self._arm()

    async def _submit_after_contact(self, client: Client) -> None:
        assert self._handover is not None
        assert client.request.kv_transfer_params is not None
        try:
            await self._handover.contact(client.request.kv_transfer_params)
        except KvUnreachableError as error:
            log(f"NIXL handshake failed: {error}", level="ERROR", source="nixl_connector.py")
            self._not_loaded(client)
            return
        self._submit(client)

    def _not_loaded(self, client: Client) -> None:
        """A request's KV cannot be fetched: it fails, or is recomputed, as configured."""
        assert self._handover is not None
        self._metrics.failed_transfers += self._replica.settings.tp
        if self._handover.recompute:
            client.sequence.remote = None
            self._submit(client)
            return
        self._metrics.successes["error"] += 1
        message = "Internal server error: KV load failure"
        if client.request.stream:
            client.begin()
            client.exchange.send(error_event(message, "InternalServerError", 500) + DONE)
            client.exchange.end_stream()
        else:
            body = error_body(message, "InternalServerError", 500)
            client.exchange.respond(body, status=500)
        self._clients.pop(client.sequence.id, None)

    def _left(self, client: Client) -> None:
        """The client has gone before the end."""
        sequence = client.sequence
        if self._clients.pop(sequence.id, None) is None:
            return
        self._metrics.successes["abort"] += 1
        self._replica.abort(sequence, time.monotonic())
        if self._handover is not None and not sequence.external:
            self._handover.done(sequence.id)  # what is being fetched is told when it has arrived
        self._arm()

    def _peer_lost(self, engine_id: str, sequence_ids: list[str]) -> None:
        log(f"Lost contact with engine {engine_id}", level="ERROR", source="nixl_connector.py")
        assert self._replica.fetcher is not None
        self._replica.fetcher.forget(engine_id)
        for sequence_id in sequence_ids:
            client = self._clients.get(sequence_id)
            if client is None:
                continue
            self._replica.abort(client.sequence, time.monotonic())
            if self._handover is not None and self._handover.recompute:
                del self._clients[sequence_id]
                client.sequence = client.sequence.anew()
            self._not_loaded(client)
        self._arm()

    # --- by the clock ---

    def tick(self) -> None:
        """Do what is due, and set the timer for what comes next."""
        for event in self._replica.advance(time.monotonic()):
            if isinstance(event, Step):
                self._after_step(event)
            elif isinstance(event, Fetched):
                self._after_fetch(event)
            else:
                self._after_expiry(event)
        now = time.monotonic()
        while self._outbox and self._outbox[0][0] <= now:
            due, clients = self._outbox.popleft()
            self._metrics.late.observe(now, now - due)
            for client in clients:
                self._send_token(client, due)
        self._arm()

    def _arm(self) -> None:
        due = self._replica.next_event()
        if self._outbox:
            due = min(due, self._outbox[0][0])
        self._timer.arm(due)

    def _after_step(self, step: Step) -> None:
        metrics = self._metrics
        metrics.iteration.observe(sum(chunk for _, chunk in step.chunks))
        out: list[Client] = []
        for sequence in step.tokens:
            client = self._clients.get(sequence.id)
            if client is None:
                continue
            if sequence.held and not client.request.stream:
                # Its way out and to the decode replica is one delay, counted there.
                metrics.late.observe(now := time.monotonic(), now - step.ends)
                self._send_token(client, step.ends)
            else:
                out.append(client)
        if out:
            self._outbox.append((self._stream.leave(step.ends, len(out)), out))

    def _after_fetch(self, fetched: Fetched) -> None:
        assert self._handover is not None
        if fetched.bytes:
            self._metrics.observe_transfer(fetched)
        if not self._handover.done(fetched.sequence.id):
            self._metrics.failed_notifications += 1

    def _after_expiry(self, expired: Expired) -> None:
        log(
            f"Releasing expired KV blocks for request {expired.request_id} which were retrieved by"
            f" 0 decode workers within {self._replica.settings.lease_s:.0f} seconds",
            level="WARNING",
            source="nixl_connector.py",
        )

    def _send_token(self, client: Client, due: float) -> None:
        metrics, sequence, index = self._metrics, client.sequence, client.sent
        client.sent = sent = index + 1
        metrics.generation_tokens += 1
        if index:
            metrics.inter_token.observe(due - client.last_sent)
        else:
            metrics.observe_first_token(sequence, due)
        client.last_sent = due
        last = sent == client.max_tokens
        if client.request.stream:
            frame = client.answer.token_chunk(index, last=last)
            if last:
                usage = b""
                if client.request.wants_usage:
                    usage = client.answer.usage_chunk(sent, self._request_metrics(sequence))
                client.exchange.send(frame + usage + DONE)
            else:
                client.exchange.send(frame)
        if last:
            metrics.observe_finished(sequence, due)
            self._end(client)

    def _end(self, client: Client) -> None:
        self._clients.pop(client.sequence.id, None)
        if client.request.stream:
            client.exchange.end_stream()
            return
        params = None
        if client.sequence.held and self._handover is not None:
            params = self._handover.params_of(client.sequence, self._replica)
        metrics = self._request_metrics(client.sequence)
        client.exchange.respond(client.answer.whole(client.sent, params, metrics))

    def _request_metrics(self, sequence: Sequence) -> dict[str, Any] | None:
        return request_metrics(sequence) if self._arguments.per_request_metrics else None

    def _start(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
