# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Many connections: merged, gathered, broadcast to, subscribed to channels; and what tests are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Literal, assert_type

import anyio
from anyio.abc import ObjectReceiveStream

from anyio_ws import (
    Aggregate,
    BroadcastResult,
    Broker,
    Channel,
    ChannelStatistics,
    Deliver,
    Delivery,
    MemoryBroker,
    Mux,
    PreparedMessage,
    Router,
    WebSocket,
    accept_websocket,
    aggregate,
    broadcast,
    broadcast_and_wait,
    mux,
    open_server,
    open_websocket,
    reconnecting_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import (
    RawFrame,
    ScriptedPeer,
    cancel_sweep,
    memory_stream_pair,
    virtual_clock_backend,
)

# Fan-in.


async def merge(bids: WebSocket, asks: WebSocket) -> float:
    latest: dict[WebSocket, float] = {}
    async with mux(bids, asks) as merged:
        assert_type(merged, Mux[WebSocket, str | bytes])
        async for ws, message in merged:
            assert_type(ws, WebSocket)
            assert_type(message, str | bytes)
            latest[ws] = float(message)
            if len(latest) == 2:
                break
    return latest[asks] - latest[bids]


async def merge_many(urls: list[str]) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_websocket(url)) for url in urls]
        merged = await stack.enter_async_context(mux(*opened, on_disconnect="drop"))
        ws, message = await merged.receive()
        await ws.send(message)
        merged.discard(ws)
        merged.add(ws)
        assert_type(merged.receive_nowait(), tuple[WebSocket, str | bytes])
        assert_type(merged.first_to_disconnect, WebSocket | None)
        assert_type(merged.statistics().taken, int)


def gone(ws: WebSocket, exc: Exception) -> None:
    print(ws, exc)


async def newcomers() -> AsyncIterator[WebSocket]:
    async with open_websocket("ws://localhost/") as ws:
        yield ws


async def merge_source() -> None:
    async with mux(source=newcomers(), on_disconnect="drop", on_drop=gone) as merged:
        async for ws, message in merged:
            await ws.send(message)


async def merge_until_one_ends(*connections: WebSocket) -> str:
    async with mux(*connections, on_disconnect="cancel") as merged:
        while True:
            assert_type(await merged.receive(), tuple[WebSocket, str | bytes])
    return "cancelled by mux"  # which no checker may take for unreachable


async def merge_as_said(how: Literal["end", "cancel", "drop"], ws: WebSocket) -> None:
    async with mux(ws, on_disconnect=how) as merged:
        assert_type(merged, Mux[WebSocket, str | bytes])


async def merge_sessions(url: str, ws: WebSocket) -> None:
    async with mux(ws, reconnecting_websocket(url)) as merged:
        async for one, message in merged:
            assert_type(one, WebSocket)
            assert_type(message, str | bytes)


async def merge_streams() -> None:
    _, numbers = anyio.create_memory_object_stream[int]()
    async with mux(numbers) as merged:
        async for stream, number in merged:
            assert_type(number, int)
            assert_type(await stream.receive(), int)


async def consume(merged: ObjectReceiveStream[tuple[WebSocket, str | bytes]]) -> None:
    async for ws, message in merged:
        await ws.send(message)


async def hand_on(ws: WebSocket) -> None:
    async with mux(ws) as merged:
        await consume(merged)


# Groups.


async def play(players: set[WebSocket]) -> None:
    for player in players:
        await player.send("begin")


async def lobby() -> None:
    game = aggregate(2, play, key=lambda ws: ws.request.path, waiting_timeout=30)
    assert_type(game, Aggregate)
    assert_type(game.waiting, int)
    router = Router()
    router.add("/game", game)
    async with open_server(game, "127.0.0.1", 0):
        pass


# Fan-out.


async def tell(viewers: set[WebSocket], by_name: Mapping[str, WebSocket]) -> None:
    result = broadcast(viewers, "hello", overflow="coalesce", key=("price", 1))
    assert_type(result, BroadcastResult)
    assert_type(result.sent, int)
    assert_type(result.queued, tuple[WebSocket, ...])
    for ws, error in result.failed.items():
        assert_type(ws, WebSocket)
        assert_type(error, Exception)
    broadcast(by_name.values(), PreparedMessage(b"hello", compress=False), raise_exceptions=True)
    broadcast((ws for ws in viewers), memoryview(b"hello"))
    waited = await broadcast_and_wait(viewers, "hello", timeout=1, overflow="drop")
    assert_type(waited.complete, bool)
    for ws in viewers:
        assert_type(ws.offer(PreparedMessage("hello"), "drop"), Delivery)


async def channels(ws: WebSocket) -> None:
    news = Channel("news", broker=MemoryBroker(), keep_last=1)
    async with news.subscribe(ws, overflow="drop_oldest", max_buffered=2**16):
        await news.publish("hello", key="greeting")
        await news.publish(bytearray(b"hello"))
        await ws.wait_closed()
    assert_type(news.statistics(), ChannelStatistics)


class Logged(Broker):
    def __init__(self, inner: Broker) -> None:
        self.inner = inner

    async def publish(self, topic: str, message: str | bytes, key: str | None) -> None:
        print(topic, message, key)
        await self.inner.publish(topic, message, key)

    async def subscribe(self, topic: str, deliver: Deliver) -> None:
        await self.inner.subscribe(topic, deliver)

    def unsubscribe(self, topic: str, deliver: Deliver) -> None:
        self.inner.unsubscribe(topic, deliver)


# Tests.


async def in_memory() -> None:
    near, far = memory_stream_pair(buffer=0)
    async with ScriptedPeer(far, Side.CLIENT) as peer:
        await peer.connect()
        await peer.send(RawFrame(0x1, b"hello"), b"\x81")
        assert_type(await peer.receive(), RawFrame)
    async with accept_websocket(near) as ws:
        assert_type(ws, WebSocket)
    for attempt in cancel_sweep():
        assert_type(attempt.suspension, int)


def backend() -> tuple[str, dict[str, object]]:
    return virtual_clock_backend("trio")
