"""Tests of collector.py, on asyncio and on trio."""

import anyio
import collector
import feed
import pytest

from anyio_ws import Channel, WebSocket, open_websocket
from anyio_ws.testing import serve_in_memory


async def wait_for(price: str, viewer: WebSocket) -> None:
    with anyio.fail_after(10):
        while await viewer.receive() != price:
            pass


@pytest.mark.anyio
@pytest.mark.usefixtures("anyio_ws_virtual_time")
async def test_viewers_see_a_feed_again_after_a_minute_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "prices", Channel(keep_last=100))
    async with (
        serve_in_memory(feed.prices, "ws://127.0.0.1:8001"),
        serve_in_memory(feed.prices, "ws://127.0.0.1:8002") as second,
        serve_in_memory(collector.view) as service,
        open_websocket(service.url) as viewer,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(collector.collect, collector.FEEDS, collector.POLICY)
        await wait_for("/XYZ 7.00", viewer)
        with second.unreachable():
            await anyio.sleep(60)
        await wait_for("/XYZ 7.00", viewer)
        tasks.cancel_scope.cancel()
