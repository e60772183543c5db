"""Tests of collector.py, on asyncio and on trio."""

import itertools

import anyio
import collector
import pytest

from anyio_ws import Channel, WebSocket, open_server, open_websocket


@pytest.mark.anyio
async def test_viewers_see_the_prices_of_a_feed_that_is_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "prices", Channel(keep_last=100))
    prices = itertools.count(1)
    restart = anyio.Event()

    async def feed(ws: WebSocket) -> None:
        await ws.send(str(next(prices)))
        await restart.wait()

    async with (
        open_server(feed, "127.0.0.1", 0) as upstream,
        open_server(collector.view, "127.0.0.1", 0) as service,
        open_websocket(service.url) as viewer,
        anyio.create_task_group() as tasks,
    ):
        policy = collector.POLICY.immediately()
        tasks.start_soon(collector.collect, [f"{upstream.url}/ABC"], policy)
        assert await viewer.receive() == "/ABC 1"
        restart.set()
        assert await viewer.receive() == "/ABC 2"
        tasks.cancel_scope.cancel()
