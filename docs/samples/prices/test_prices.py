"""Tests of the price service, without a network and without waiting."""

import anyio
import pytest
from prices import EXCHANGE, PriceService

from anyio_ws import WebSocket, open_websocket
from anyio_ws.sansio import CloseCode
from anyio_ws.testing import (
    RawFrame,
    ScriptedPeer,
    cancel_sweep,
    scripted_server,
    serve_in_memory,
)

pytestmark = pytest.mark.anyio  # each test runs on asyncio, and on trio


async def exchange(ws: WebSocket) -> None:
    """A stand-in: it tells one price, and stays."""
    await ws.send_json(symbol="EURUSD", price=1.0953)
    await ws.wait_closed()


async def test_subscribers_are_told_the_price() -> None:
    service = PriceService()
    async with (
        serve_in_memory(exchange, EXCHANGE),
        serve_in_memory(service.app) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(service.follow)
        async with open_websocket(f"{server.url}/prices/EURUSD") as ws:
            assert await ws.receive() == "1.0953"
        tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("anyio_ws_virtual_time")
async def test_an_hour_without_the_exchange_is_over_at_some_time() -> None:
    service = PriceService()
    async with (
        serve_in_memory(exchange, EXCHANGE) as upstream,
        anyio.create_task_group() as tasks,
    ):
        with upstream.unreachable():
            tasks.start_soon(service.follow)
            await anyio.sleep(3600)
            assert service.latest == {}
        await anyio.sleep(30)  # the longest that it waits between attempts
        assert service.latest == {"EURUSD": 1.0953}
        tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("anyio_ws_virtual_time")
async def test_an_exchange_that_breaks_the_protocol_is_tried_again() -> None:
    codes: list[int] = []

    async def broken(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(RawFrame(0x3))  # an opcode that means nothing
        close = await peer.receive()
        codes.append(int.from_bytes(close.payload[:2]))

    async with scripted_server(broken, EXCHANGE):
        with anyio.move_on_after(60):
            await PriceService().follow()
    assert len(codes) > 1
    assert set(codes) == {CloseCode.PROTOCOL_ERROR}


async def test_a_price_is_recorded_and_published_or_neither() -> None:
    for attempt in cancel_sweep():
        service = PriceService()
        await attempt.run(service.record("EURUSD", 1.0953))
        published = service.channels["EURUSD"].statistics().messages
        assert published == len(service.latest), attempt
