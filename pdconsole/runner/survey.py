"""Clusters looked at while nobody runs anything on them, for as long as somebody asks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pdconsole.model.survey import Survey
from pdconsole.profiles import ProfileError, Profiles
from pdconsole.profiles.schema import ClusterProfile
from pdconsole.runner.node_watch import NodeWatch
from pdconsole.runner.sights import Sights
from pdconsole.sim.embedded import EmbeddedError, ensure_embedded

PATIENCE_S = 15.0  # without being asked
LOOK_S = 1.0

log = logging.getLogger(__name__)


class ClusterSurvey:
    """Watches every node of one cluster until nobody asked for `patience_s`, or `end`."""

    def __init__(
        self,
        cluster: ClusterProfile,
        session: str,
        *,
        models: Sequence[str] = (),
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models`: sources that are looked for on the nodes."""
        self._models = models
        self.cluster = cluster  # of a simulated one, the addresses once its nodes run
        self.sights = Sights(cluster)
        self._session = session
        self._patience_s = patience_s
        self._clock = clock
        self._asked = clock()
        self._watches: dict[str, NodeWatch] = {}
        self._task = asyncio.create_task(self._watch_all())

    @property
    def is_over(self) -> bool:
        return self._task.done()

    def ask(self) -> None:
        self._asked = self._clock()

    def waiting_for(self) -> frozenset[str]:
        """The nodes of which more is to come."""
        if self.is_over:
            return frozenset()
        if not self._watches:  # the nodes are being started, or cannot be
            names = self.sights.by_node.keys() - self.sights.unreachable().keys()
            return frozenset(names)
        return frozenset(name for name, watch in self._watches.items() if watch.busy)

    def look_again(self, node: str = "") -> None:
        for name in [node] if node else list(self._watches):
            if name in self._watches:
                self._watches[name].look_again()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch_all(self) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._nodes_running()
            for node in self.cluster.nodes:
                watch = NodeWatch(self.cluster, node, self._session, self.sights, self._models)
                self._watches[node.name] = watch
                tasks.append(asyncio.create_task(watch.run()))
            while self._clock() - self._asked < self._patience_s:
                await asyncio.sleep(LOOK_S)
                for task in tasks:
                    if task.done():  # a fault of ours
                        task.result()
        except EmbeddedError as error:
            for node in self.cluster.nodes:
                self.sights.take_trouble(node.name, str(error))
            # What was said is kept until nobody asks, so that it is not tried twice a second.
            await asyncio.sleep(self._patience_s)
        except Exception:
            log.exception("survey of %s", self.cluster.name)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _nodes_running(self) -> None:
        if self.cluster.simulated:
            self.cluster = await ensure_embedded(self.cluster)


def model_sources(profiles: Profiles) -> tuple[str, ...]:
    """Where the models of the workspace come from; of what cannot be read, nothing."""
    found = []
    for name in profiles.names("model"):
        with contextlib.suppress(ProfileError):  # whoever asks for that model is told
            found.append(profiles.model(name).source)
    return tuple(found)


class Surveys:
    """The surveys of a runner, by cluster: begun when asked for, ended when not."""

    def __init__(self, workspace: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._workspace = workspace
        self._patience_s = patience_s
        self._running: dict[str, ClusterSurvey] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._versions: dict[str, Mapping[str, Mapping[str, str]]] = {}
        self._count = itertools.count(1)
        self._profiles: dict[str, tuple[tuple[str, int, int], ClusterProfile]] = {}

    def of(self, name: str) -> ClusterSurvey:
        """The survey of a cluster, begun if there is none. Raises ProfileError."""
        cluster = self.profile(name)
        running = self._running.get(name)
        if running is not None and (running.is_over or running.sights.cluster != cluster):
            self.leave(name)
            running = None
        if running is None:
            session = f"survey-{os.getpid()}-{next(self._count)}"
            running = ClusterSurvey(
                cluster,
                session,
                models=model_sources(Profiles.open(self._workspace)),
                patience_s=self._patience_s,
            )
            self._running[name] = running
        running.ask()
        return running

    def survey(self, name: str) -> Survey:
        return self.of(name).sights.survey()

    def versions(self, name: str) -> Mapping[str, Mapping[str, str]]:
        """Program versions by node, from the last survey of this cluster."""
        running = self._running.get(name)
        known = running.sights.versions() if running else {}
        return {**self._versions.get(name, {}), **known}

    def running(self, name: str) -> ClusterSurvey | None:
        found = self._running.get(name)
        return None if found is None or found.is_over else found

    def leave(self, name: str) -> None:
        """End the survey of a cluster in the background; a session begins there."""
        running = self._running.pop(name, None)
        if running is None:
            return
        self._versions[name] = {**self._versions.get(name, {}), **running.sights.versions()}
        task = asyncio.create_task(running.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self) -> None:
        for name in list(self._running):
            self.leave(name)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def profile(self, name: str) -> ClusterProfile:
        """As its file is now; read again only when that changed. Raises ProfileError."""
        profiles = Profiles.open(self._workspace)
        path = profiles.path("cluster", name)
        found = path.stat()
        stamp = (str(path), found.st_mtime_ns, found.st_size)
        known = self._profiles.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, profiles.cluster(name))
            self._profiles[name] = known
        return known[1]
