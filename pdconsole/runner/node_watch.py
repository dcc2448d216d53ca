"""One node of a survey: connected to, kept connected to, looked at again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.remote.client import NodeClient, RemoteError
from pdconsole.remote.values import LinkChanged, News
from pdconsole.runner.nodes import look_of, ssh_target, version_commands
from pdconsole.runner.sights import Sights

RENEW_S = 2.0
RETRY_S = (1.0, 15.0)
# A survey runs nothing on a node: its agent may go soon when nobody is left to end it.
LEASE_S = 30.0
END_S = 10.0

log = logging.getLogger(__name__)


class NodeWatch:
    """Tells `sights` of one node until it is cancelled; then its agent ends too."""

    def __init__(
        self,
        cluster: ClusterProfile,
        node: NodeProfile,
        session: str,
        sights: Sights,
        models: Sequence[str] = (),
    ) -> None:
        """`models`: sources that are looked for on the node."""
        self._models = models
        self._cluster = cluster
        self._node = node
        self._session = session
        self._sights = sights
        self._again = asyncio.Event()
        self._again.set()  # versions, the first time

    @property
    def busy(self) -> bool:
        """Whether something that was asked for is still to come."""
        link = self._sights.by_node[self._node.name].link
        return link == "connecting" or self._again.is_set()

    def look_again(self) -> None:
        """At everything, at once, also where the node could not be reached."""
        self._again.set()

    async def run(self) -> None:
        delay_s = RETRY_S[0]
        while True:
            client = self._client()
            try:
                await self._connected(client)
                delay_s = RETRY_S[0]
                await self._keep_looking(client)
            except RemoteError as error:
                self._sights.take_trouble(self._node.name, error.sentence)
            finally:
                await self._close(client)
            self._again.clear()
            with contextlib.suppress(TimeoutError):
                # Spread out: nodes that went together are not tried together.
                async with asyncio.timeout(delay_s * random.uniform(0.7, 1.3)):
                    await self._again.wait()
            delay_s = min(2 * delay_s, RETRY_S[1])

    def _client(self) -> NodeClient:
        return NodeClient(
            ssh_target(self._cluster, self._node),
            self._session,
            self._take,
            lease_s=LEASE_S,
            version_commands=version_commands(self._cluster),
            version_env=self._cluster.env,
            look=look_of(self._cluster, self._node, self._models),
        )

    def _take(self, news: News) -> None:
        if isinstance(news, LinkChanged) and news.status == "closed":
            return  # our own doing; why the node went is what people want to know
        self._sights.take(news)

    async def _connected(self, client: NodeClient) -> None:
        inventory = await client.open(versions=False)
        self._sights.take_inventory(inventory, with_versions=False)
        self._again.set()
        await client.watch(gpus_s=RENEW_S)

    async def _keep_looking(self, client: NodeClient) -> None:
        """Versions, which take seconds, are asked for beside the rest. Raises RemoteError."""
        both = [
            asyncio.ensure_future(self._renew(client)),
            asyncio.ensure_future(self._versions(client)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _renew(self, client: NodeClient) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            inventory = await client.inventory(versions=False)
            self._sights.take_inventory(inventory, with_versions=False)

    async def _versions(self, client: NodeClient) -> None:
        while True:
            await self._again.wait()
            inventory = await client.inventory()
            self._sights.take_inventory(inventory, with_versions=True)
            self._again.clear()

    async def _close(self, client: NodeClient) -> None:
        """A node that does not answer now is left to its lease."""
        up = self._sights.by_node[self._node.name].link == "up"
        try:
            async with asyncio.timeout(END_S):
                await client.close(end_agent=up)
        except (RemoteError, TimeoutError) as error:
            log.warning(
                "survey of %s: its agent ends by its lease, within %g s (%s)",
                self._node.name,
                LEASE_S,
                error,
            )
