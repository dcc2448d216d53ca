"""A deployment of simulated replicas under a closed loop, in virtual time.

One shared token stream stands for the front end of the measured deployments; routing is theirs as
well as it is known: 60 % random, 40 % to the less loaded of two.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from dataclasses import dataclass, field

from pdconsole.sim.constants import EngineConstants, LinkConstants
from pdconsole.sim.engine import Replica, ReplicaSettings, Step
from pdconsole.sim.fetching import Fetched
from pdconsole.sim.frontend import Ingress, TokenStream
from pdconsole.sim.sequence import RemoteKv, Sequence


@dataclass
class Request:
    prompt_id: int
    sent: float
    first: float = 0.0
    last: float = 0.0


@dataclass
class PointOutcome:
    requests_per_s: float
    median_ttft_ms: float
    p99_ttft_ms: float
    median_tpot_ms: float


@dataclass
class Server:
    name: str
    replica: Replica
    ingress: Ingress
    load: int = 0


@dataclass
class Deployment:
    engine: EngineConstants
    link: LinkConstants
    prefill: list[int]  # TP of each replica; empty: collocated
    decode: list[int]
    prefix_caching: bool = True
    seed: int = 0
    now: float = 0.0
    _actions: list = field(default_factory=list)
    _count: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        pd = bool(self.prefill)
        self._random = random.Random(self.seed)
        self._stream = TokenStream(self.engine, connector=pd)
        self._p = [self._server(f"P{i}", tp, pd) for i, tp in enumerate(self.prefill)]
        self._d = [self._server(f"D{i}", tp, pd) for i, tp in enumerate(self.decode)]
        self._requests: dict[str, tuple[Request, Server]] = {}

    @property
    def replicas(self) -> list[Replica]:
        return [server.replica for server in self._p + self._d]

    def _server(self, name: str, tp: int, connector: bool) -> Server:
        settings = ReplicaSettings(
            tp=tp, connector=connector, prefix_caching=self.prefix_caching, lease_s=480.0
        )
        return Server(name, Replica(self.engine, self.link, settings), Ingress(self.engine))

    def run_point(
        self, concurrency: int, requests: int, *, input_len: int, output_len: int, first_prompt: int
    ) -> PointOutcome:
        """Whole-run numbers, as `vllm bench serve` takes them."""
        self._input_len, self._output_len = input_len, output_len
        order = list(range(first_prompt, first_prompt + requests))
        # Seen and new prompts mixed: by their numbers a point would first hit the cache throughout
        # and then never, which the measured medians contradict.
        self._random.shuffle(order)
        todo = iter(order)
        done: list[Request] = []
        began = self.now

        def send(when: float) -> None:
            prompt_id = next(todo, None)
            if prompt_id is not None:
                self._send(Request(prompt_id, when), when)

        self._completed = lambda request, when: (done.append(request), send(when))
        for _ in range(concurrency):
            send(self.now)
        while len(done) < requests:
            self._tick()
        ttft = sorted((r.first - r.sent) * 1e3 for r in done)
        tpot = [(r.last - r.first) * 1e3 / max(1, output_len - 1) for r in done]
        return PointOutcome(
            requests_per_s=requests / (self.now - began),
            median_ttft_ms=statistics.median(ttft),
            p99_ttft_ms=ttft[min(len(ttft) - 1, int(len(ttft) * 0.99))],
            median_tpot_ms=statistics.median(tpot),
        )

    def _tick(self) -> None:
        when = min(server.replica.next_event() for server in self._p + self._d)
        if self._actions and self._actions[0][0] <= when:
            self.now, _, action = heapq.heappop(self._actions)
            action(self.now)
            return
        self.now = when
        for server in self._p + self._d:
            for event in server.replica.advance(when):
                if isinstance(event, Step):
                    self._after_step(server, event)
                elif isinstance(event, Fetched):
                    _, holder = self._requests[event.sequence.id]
                    holder.replica.release_held(event.sequence.remote.request_id, when)

    def _at(self, when: float, action) -> None:
        heapq.heappush(self._actions, (when, next(self._count), action))

    def _route(self, servers: list[Server]) -> Server:
        if self._random.random() < 0.6 or len(servers) == 1:
            return self._random.choice(servers)
        return min(self._random.sample(servers, 2), key=lambda server: server.load)

    def _send(self, request: Request, now: float) -> None:
        server = self._route(self._p or self._d)
        server.load += 1
        name = f"{server.name}-{next(self._count)}"
        self._requests[name] = (request, server)
        held = bool(self._p)
        server.replica.submit(
            Sequence(
                name,
                prompt=self._input_len,
                max_tokens=1 if held else self._output_len,
                arrived=now,
                ready=server.ingress.enter(now, self._input_len),
                hashes=self._hashes(request.prompt_id),
                held=held,
            )
        )

    def _hashes(self, prompt_id: int) -> list[int]:
        if not self.prefix_caching:
            return []
        return [prompt_id * 1_000_000 + i for i in range(self._input_len // 16)]

    def _after_step(self, server: Server, step: Step) -> None:
        handed = [s for s in step.tokens if s.held]
        for sequence in handed:
            server.load -= 1
            self._at(self.now, lambda when, s=sequence: self._hand_over(s, server, when))
        out = [s for s in step.tokens if not s.held]
        if not out:
            return
        leaves = self._stream.leave(step.ends, len(out))
        for sequence in out:
            request, _ = self._requests[sequence.id]
            if sequence.generated == 1:
                request.first = leaves
            if sequence.finished:
                request.last = leaves
                server.load -= 1
                self._at(leaves, lambda when, r=request: self._completed(r, when))

    def _hand_over(self, done: Sequence, holder: Server, now: float) -> None:
        request, _ = self._requests[done.id]
        server = self._route(self._d)
        server.load += 1
        name = f"{server.name}-{next(self._count)}"
        self._requests[name] = (request, holder)
        server.replica.submit(
            Sequence(
                name,
                prompt=self._input_len,
                max_tokens=self._output_len,
                arrived=now,
                ready=server.ingress.enter_decode(now),
                hashes=self._hashes(request.prompt_id),
                remote=RemoteKv(
                    engine_id=holder.name,
                    request_id=done.id,
                    tp=holder.replica.settings.tp,
                    blocks=tuple(done.blocks),
                ),
            )
        )
