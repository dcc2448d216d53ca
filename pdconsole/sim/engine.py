"""One replica: continuous batching over a KV pool, with a step time from the model profile.

Pure: it is told the time and says when it wants to be told again, so the same code runs against the
wall clock in a simulated worker and in virtual time. The rules are vLLM's:

* Each decoding sequence gets one token, then unfinished prefills go on, then waiting requests enter
  first come first served while token budget, sequences and KV allow.
* A sequence that finds no block for its next token preempts the youngest, which is recomputed.
* A prefill replica holds a finished request's KV until it was fetched or its lease ran out.
* A decode replica looks in its own prefix cache, claims blocks, fetches what is missing and then
  decodes; it makes the first token that a client sees.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TypeAlias

import msgspec

from pdconsole.sim.blocks import BlockPool
from pdconsole.sim.constants import EngineConstants, LinkConstants
from pdconsole.sim.fetching import Fetched, Fetcher, without_transfer
from pdconsole.sim.held import Expired, HeldKv
from pdconsole.sim.sequence import Sequence

# A prompt of which this many tokens or fewer are missing on the decode replica is not fetched.
SMALLEST_FETCH_TOKENS = 16


class EngineError(Exception):
    """A request that this replica can never serve; the message says why."""


class ReplicaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is, beside the engine's constants. None: the engine's own value."""

    tp: int
    connector: bool = False  # has a KV connector: a prefill or a decode replica
    prefix_caching: bool = False
    token_budget: int | None = None
    max_seqs: int | None = None
    kv_tokens: int | None = None
    lease_s: float = 30.0  # how long KV is held for a decode replica
    layers: int = 36


class Step(msgspec.Struct, kw_only=True):
    """One forward pass. `tokens` are the sequences that got one token at `ends`."""

    starts: float
    ends: float
    busy_s: float
    chunks: list[tuple[Sequence, int]]  # tokens computed for each sequence
    prompt_tokens: int
    tokens: list[Sequence] = []


Event: TypeAlias = Step | Fetched | Expired


class Counters(msgspec.Struct):
    """What a replica counted since it started; lengths in tokens."""

    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    external_queries: int = 0
    external_hits: int = 0
    held_expired: int = 0
    late_releases: int = 0  # of KV whose lease had run out: the fetch may have read other data
    busy_s: float = 0.0
    prefill_busy_s: float = 0.0  # of steps with prompt tokens


class Replica:
    """A replica's scheduler, KV pool and clock. `advance(now)` does what is due by `now`."""

    def __init__(
        self, engine: EngineConstants, link: LinkConstants | None, settings: ReplicaSettings
    ) -> None:
        self._tp = tp = engine.for_tp(settings.tp)
        self.engine = engine
        self.settings = settings
        self.counters = Counters()
        own = tp.kv_tokens_pd if settings.connector else tp.kv_tokens_collocated
        self.pool = BlockPool((settings.kv_tokens or own) // engine.block_tokens)
        self.held = HeldKv(self.pool, settings.lease_s)
        self.fetcher = Fetcher(engine, link, settings.tp, settings.layers) if link else None
        self._budget = settings.token_budget or engine.token_budget
        self._max_seqs = settings.max_seqs or engine.max_seqs
        self._arrivals: list[tuple[float, int, Sequence]] = []  # heap by readiness
        self._arrived = 0
        self._waiting: deque[Sequence] = deque()
        self._loaded: deque[Sequence] = deque()  # KV fetched, not yet scheduled
        self._running: list[Sequence] = []
        self._step: Step | None = None
        self._kick_at = math.inf  # blocks were freed from outside: schedule again
        self._news: list[Event] = []

    @property
    def kv_tokens(self) -> int:
        return self.pool.blocks * self.engine.block_tokens

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """For blocks, a place or the token budget; not for KV to arrive."""
        return len(self._waiting)

    @property
    def loaded(self) -> int:
        """KV has arrived, not yet scheduled."""
        return len(self._loaded)

    # --- what happens from outside ---

    def submit(self, sequence: Sequence) -> None:
        """Enter a request; the scheduler sees it from `sequence.ready` on. Raises EngineError."""
        needed = sequence.prompt + sequence.max_tokens
        if needed > self.kv_tokens:
            raise EngineError(
                f"request {sequence.id} needs {needed} KV tokens, the replica holds"
                f" {self.kv_tokens}"
            )
        if sequence.remote is not None and self.fetcher is None:
            raise EngineError(f"request {sequence.id} wants KV fetched, the replica has no link")
        self._arrived += 1
        heapq.heappush(self._arrivals, (sequence.ready, self._arrived, sequence))

    def abort(self, sequence: Sequence, now: float) -> None:
        """Forget a request, wherever it is; what it holds is freed."""
        if sequence.finished or sequence.aborted:
            return
        sequence.aborted = True
        for place in (self._running, self._waiting, self._loaded):
            if sequence in place:
                place.remove(sequence)
                self._free(sequence)
                self._kick_at = now
                return
        # Not ready yet, or its blocks are being written to: freed when that ends.

    def release_held(self, request_id: str, now: float) -> bool:
        """A decode replica has fetched this request's KV. False: its lease had run out before."""
        if not self.held.release(request_id):
            self.counters.late_releases += 1
            return False
        self._kick_at = now
        return True

    # --- time ---

    def next_event(self) -> float:
        """When `advance` has something to do; inf: not until something is submitted."""
        if self._step is not None:
            return self._step.ends
        when = min(self.held.next_event(), self._kick_at)
        if self.fetcher is not None:
            when = min(when, self.fetcher.next_event())
        if self._arrivals:
            when = min(when, self._arrivals[0][0])
        return when

    def advance(self, now: float) -> list[Event]:
        """Everything due by `now`, in the order of time."""
        while (when := self.next_event()) <= now:
            if self._step is not None:
                self._finish(self._step)
                self._step = None
            self._settle(when)
            self._begin(when)
        news, self._news = self._news, []
        return news

    def _settle(self, now: float) -> None:
        self._kick_at = math.inf
        while self._arrivals and self._arrivals[0][0] <= now:
            sequence = heapq.heappop(self._arrivals)[2]
            if not sequence.aborted:
                self._waiting.append(sequence)
        if self.fetcher is not None:
            for fetched in self.fetcher.advance(now):
                self._load(fetched.sequence)
                self._news.append(fetched)
        for expired in self.held.expire(now):
            self.counters.held_expired += 1
            self._news.append(expired)

    def _load(self, sequence: Sequence) -> None:
        if sequence.aborted:
            self._free(sequence)
            return
        sequence.computed = sequence.prompt - 1  # the last token makes the first output token
        self._remember(sequence, 0, sequence.prompt)
        self._loaded.append(sequence)

    # --- one step ---

    def _begin(self, now: float) -> None:
        chunks, admitted = self._schedule(now)
        if not chunks:
            return
        busy = self.step_s(chunks, admitted)
        prompt_tokens = sum(chunk for _, chunk in chunks if chunk > 1)
        self.counters.busy_s += busy
        if prompt_tokens:
            self.counters.prefill_busy_s += busy
        starts = now if self.fetcher is None else max(now, self.fetcher.stands_until)
        self._step = Step(
            starts=starts,
            ends=starts + busy,
            busy_s=busy,
            chunks=chunks,
            prompt_tokens=prompt_tokens,
        )

    def step_s(self, chunks: list[tuple[Sequence, int]], admitted: int) -> float:
        """Seconds of a step; the formula is the model profile's (`EngineModel`)."""
        tp = self._tp
        decoding = kv = prompt = 0
        squares = 0.0
        for sequence, chunk in chunks:
            if chunk == 1:
                decoding += 1
                kv += sequence.total
            else:
                prompt += chunk
                squares += chunk * (sequence.computed + chunk / 2)
        loading = 1.0 - math.exp(-(decoding + prompt) / self.engine.saturation_tokens)
        return (
            (tp.a_ms + tp.w_ms * loading + self.engine.admit_ms * admitted) * 1e-3
            + (tp.c_us_per_seq * decoding + tp.b_us_per_token * prompt) * 1e-6
            + tp.d_ns_per_token * kv * 1e-9
            + tp.q_ps_per_token2 * squares * 1e-12
        )

    def _finish(self, step: Step) -> None:
        done: list[Sequence] = []
        for sequence, chunk in step.chunks:
            if sequence.aborted:
                continue
            before = sequence.computed
            sequence.computed = after = before + chunk
            if before < sequence.prompt:
                self._remember(sequence, before, after)
            if after < sequence.total:
                continue
            sequence.total += 1
            sequence.generated += 1
            sequence.last_token = step.ends
            if sequence.generated == 1:
                sequence.first_token = step.ends
            step.tokens.append(sequence)
            if sequence.generated >= sequence.max_tokens:
                sequence.finished = True
                done.append(sequence)
        if done:
            self._running = [s for s in self._running if not s.finished]
            for sequence in done:
                self._retire(sequence, step.ends)
        self._news.append(step)

    def _retire(self, sequence: Sequence, now: float) -> None:
        if sequence.held:
            self.held.keep(sequence.id, list(sequence.blocks), now)
        else:
            self._free(sequence)

    def _remember(self, sequence: Sequence, start: int, end: int) -> None:
        """Prompt tokens `start` to `end` are in the pool: full blocks of them can be found."""
        if sequence.hashes:
            size = self.engine.block_tokens
            known, full = start // size, min(end, sequence.prompt) // size
            self.pool.remember(sequence.blocks[known:full], sequence.hashes[known:full])

    def _free(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.room = 0

    # --- scheduling ---

    def _schedule(self, now: float) -> tuple[list[tuple[Sequence, int]], int]:
        chunks = self._decode_chunks()
        budget = self._budget - len(chunks)
        for sequence in self._running:
            remaining = sequence.total - sequence.computed
            if remaining > 1 and budget > 0:
                chunks.append((sequence, min(remaining, budget)))
                budget -= chunks[-1][1]
        admitted = 0
        while budget > 0 and len(self._running) < self._max_seqs:
            entering = self._next_admitted(now)
            if entering is None:
                break
            if math.isnan(entering.scheduled):
                entering.scheduled = now
            self._running.append(entering)
            chunks.append((entering, min(entering.total - entering.computed, budget)))
            budget -= chunks[-1][1]
            admitted += 1
        return chunks, admitted

    def _decode_chunks(self) -> list[tuple[Sequence, int]]:
        chunks: list[tuple[Sequence, int]] = []
        index = 0
        while index < len(self._running):
            sequence = self._running[index]
            index += 1
            if sequence.total - sequence.computed != 1:
                continue
            if sequence.total > sequence.room and not self._grow(sequence):
                break  # it was the youngest itself
            chunks.append((sequence, 1))
        return chunks

    def _grow(self, sequence: Sequence) -> bool:
        """One more block for a decoding sequence, at the cost of the youngest if need be."""
        while (block := self.pool.claim((), 1)) is None:
            youngest = self._running.pop()
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.blocks += block
        sequence.room += self.engine.block_tokens
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self._free(sequence)
        sequence.computed = 0
        sequence.remote = None  # the prefill replica has let go of it: recomputed here
        sequence.preempted += 1
        self.counters.preemptions += 1
        self._waiting.appendleft(sequence)

    def _next_admitted(self, now: float) -> Sequence | None:
        """The next sequence to enter this step; those that must fetch go fetching on the way."""
        if self._loaded:
            return self._loaded.popleft()
        while self._waiting and self._claim(self._waiting[0]):
            sequence = self._waiting.popleft()
            if sequence.remote is None or self.fetcher is None:
                return sequence
            missing = sequence.prompt - sequence.cached
            if missing <= SMALLEST_FETCH_TOKENS:
                self._news.append(without_transfer(sequence, now))
                return sequence
            sequence.external = missing
            self.counters.external_hits += missing
            self.fetcher.start(sequence, sequence.remote, now)
        return None

    def _claim(self, sequence: Sequence) -> bool:
        """Blocks for all known tokens, cached ones where possible; False if the pool is short."""
        size = self.engine.block_tokens
        cached = self.pool.match(sequence.hashes[: (sequence.total - 1) // size])
        blocks = self.pool.claim(cached, -(-sequence.total // size) - len(cached))
        if blocks is None:
            return False
        sequence.blocks = blocks
        sequence.room = len(blocks) * size
        sequence.computed = len(cached) * size
        if not sequence.preempted:
            sequence.cached = sequence.computed
            if self.settings.prefix_caching:
                self.counters.prefix_queries += sequence.prompt
                self.counters.prefix_hits += sequence.cached
            if sequence.remote is not None:
                self.counters.external_queries += sequence.prompt - sequence.cached
        return True
