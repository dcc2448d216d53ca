"""Who subscribes gets what concerns them, in order."""

from __future__ import annotations

from pdconsole.remote.feed import NewsFeed
from pdconsole.remote.values import (
    GpusSeen,
    LinkChanged,
    LogChunk,
    News,
    ProcessChanged,
    ProcessInfo,
    Records,
)


def test_subscriptions() -> None:
    mine: list[News] = [
        LinkChanged("n1", "up"),
        Records("n1", "s/1/driver", 0, [b"{}"]),
        LogChunk("n1", "s/1/driver", 0, b"x"),
        ProcessChanged("n1", ProcessInfo(token="s/1/driver", pid=1, state="exited")),
        LinkChanged("n2", "lost"),
    ]
    others: list[News] = [
        LogChunk("n1", "s/1/P1", 0, b"x"),
        GpusSeen("n1", 1.0, ()),
        ProcessChanged("n1", ProcessInfo(token="s/1/P1", pid=2, state="exited")),
    ]
    feed = NewsFeed()
    with feed.subscribe() as everything, feed.subscribe("s/1/driver") as driver:
        for news in [*others, *mine]:
            feed.publish(news)
        assert [everything.get_nowait() for _ in range(8)] == [*others, *mine]
        assert [driver.get_nowait() for _ in range(5)] == mine
        assert driver.empty()
    feed.publish(mine[0])
    assert driver.empty()
