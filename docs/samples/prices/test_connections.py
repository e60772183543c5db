"""Tests of single connections to and from the price service."""

from collections.abc import AsyncIterator

import anyio
import pytest
from prices import EXCHANGE, PriceService

from anyio_ws import open_websocket
from anyio_ws.sansio import CloseCode, Opcode, Side
from anyio_ws.testing import (
    MemoryServer,
    RawFrame,
    ScriptedPeer,
    scripted_server,
    serve_in_memory,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(anyio_backend: object) -> AsyncIterator[MemoryServer]:
    async with serve_in_memory(PriceService().app) as server:
        yield server


async def test_who_subscribes_to_a_price_that_is_not_known_yet_stays(server: MemoryServer) -> None:
    async with open_websocket(f"{server.url}/prices/XYZ"):
        assert len(server.connections) == 1


async def test_a_subscriber_that_breaks_the_protocol_is_told(server: MemoryServer) -> None:
    async with ScriptedPeer(server.connect(), Side.CLIENT) as peer:
        await peer.connect("/prices/EURUSD", host="app.test")
        await peer.send(RawFrame(Opcode.PING, fin=False))  # which only messages may be
        close = await peer.receive()
        assert close.opcode == Opcode.CLOSE
        assert int.from_bytes(close.payload[:2]) == CloseCode.PROTOCOL_ERROR


@pytest.mark.usefixtures("anyio_ws_virtual_time")
async def test_an_exchange_that_falls_silent_is_left_and_asked_again() -> None:
    asked: list[float] = []

    async def silent(peer: ScriptedPeer) -> None:
        asked.append(anyio.current_time())
        await peer.accept()
        await peer.stay_silent()

    async with scripted_server(silent, EXCHANGE):
        with anyio.move_on_after(60):
            await PriceService().follow()
    # By default: 20 seconds until it is pinged, 20 for the answer, and up to one before the next attempt.
    assert asked[0] == 0
    assert 40 <= asked[1] <= 41
