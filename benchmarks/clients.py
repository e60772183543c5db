"""Clients that send, and send again for each message that comes back.

``python benchmarks/subject.py clients NAME OPTIONS`` runs one: as many connections as it is told, each with
as many messages on their way. Compression and pings are off everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import wire
from servers import ALL_LOOPS, BOTH_ASYNCIO
from subject import HOST, MAX_SIZE, Options, Subject

if TYPE_CHECKING:
    import picows


def _url(options: Options) -> str:
    return f"ws://{HOST}:{options.port}/"


async def _in_asyncio_tasks(client: Callable[[], Awaitable[None]], options: Options) -> None:
    """Run *client* for each connection, by asyncio's own means: those who write for it do."""
    import asyncio

    async def one() -> None:
        await client()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(options.connections):
            tasks.create_task(one())


async def _in_trio_tasks(client: Callable[[], Awaitable[None]], options: Options) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        for _ in range(options.connections):
            nursery.start_soon(client)


async def connect_anyio_ws(options: Options) -> None:
    import anyio

    from anyio_ws import open_websocket

    data = wire.payload(options.size)

    async def client() -> None:
        async with open_websocket(
            _url(options), max_size=MAX_SIZE, ping_interval=None, compression=None
        ) as ws:
            for _ in range(options.depth):
                await ws.send(data)
            async for _ in ws:
                await ws.send(data)

    async with anyio.create_task_group() as tasks:
        for _ in range(options.connections):
            tasks.start_soon(client)


async def connect_websockets_asyncio(options: Options) -> None:
    from websockets.asyncio.client import connect

    data = wire.payload(options.size)

    async def client() -> None:
        async with connect(
            _url(options), compression=None, ping_interval=None, max_size=MAX_SIZE, proxy=None
        ) as ws:
            for _ in range(options.depth):
                await ws.send(data)
            async for _ in ws:
                await ws.send(data)

    await _in_asyncio_tasks(client, options)


async def connect_websockets_trio(options: Options) -> None:
    from websockets.trio.client import connect

    data = wire.payload(options.size)

    async def client() -> None:
        async with connect(
            _url(options), compression=None, ping_interval=None, max_size=MAX_SIZE, proxy=None
        ) as ws:
            for _ in range(options.depth):
                await ws.send(data)
            async for _ in ws:
                await ws.send(data)

    await _in_trio_tasks(client, options)


async def connect_aiohttp(options: Options) -> None:
    import aiohttp

    data = wire.payload(options.size)

    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            async with session.ws_connect(_url(options), max_msg_size=MAX_SIZE) as ws:
                for _ in range(options.depth):
                    await ws.send_bytes(data)
                async for _ in ws:
                    await ws.send_bytes(data)

        await _in_asyncio_tasks(client, options)


async def connect_picows(options: Options) -> None:
    import picows

    data = wire.payload(options.size)

    class Client(picows.WSListener):
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            for _ in range(options.depth):
                transport.send(picows.WSMsgType.BINARY, data)

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            transport.send(picows.WSMsgType.BINARY, data)

    async def client() -> None:
        transport, _ = await picows.ws_connect(Client, _url(options), max_frame_size=MAX_SIZE)
        await transport.wait_disconnected()

    await _in_asyncio_tasks(client, options)


async def connect_trio_websocket(options: Options) -> None:
    from trio_websocket import open_websocket_url

    data = wire.payload(options.size)

    async def client() -> None:
        async with open_websocket_url(_url(options), max_message_size=MAX_SIZE) as ws:
            for _ in range(options.depth):
                await ws.send_message(data)
            while True:
                await ws.get_message()
                await ws.send_message(data)

    await _in_trio_tasks(client, options)


async def connect_httpx_ws(options: Options) -> None:
    import anyio
    import httpx
    from httpx_ws import AsyncWebSocketSession, aconnect_ws

    data = wire.payload(options.size)

    async def client() -> None:
        ws: AsyncWebSocketSession
        # A client of httpx for each: it has no more than 100 connections, and some locks.
        async with (
            httpx.AsyncClient() as http,
            aconnect_ws(
                _url(options),
                http,
                max_message_size_bytes=MAX_SIZE,
                keepalive_ping_interval_seconds=None,
            ) as ws,
        ):
            for _ in range(options.depth):
                await ws.send_bytes(data)
            while True:
                await ws.receive_bytes()
                await ws.send_bytes(data)

    async with anyio.create_task_group() as tasks:
        for _ in range(options.connections):
            tasks.start_soon(client)


SUBJECTS = [
    *(Subject("anyio_ws", loop, connect_anyio_ws, ("anyio_ws",)) for loop in ALL_LOOPS),
    *(
        Subject("websockets", loop, connect_websockets_asyncio, ("websockets.asyncio",))
        for loop in BOTH_ASYNCIO
    ),
    Subject("websockets", "trio", connect_websockets_trio, ("websockets.trio",)),
    *(Subject("aiohttp", loop, connect_aiohttp, ("aiohttp",)) for loop in BOTH_ASYNCIO),
    *(Subject("picows", loop, connect_picows, ("picows",)) for loop in BOTH_ASYNCIO),
    Subject("trio-websocket", "trio", connect_trio_websocket, ("trio_websocket",)),
    Subject("httpx-ws", "asyncio", connect_httpx_ws, ("httpx_ws",)),
    Subject("httpx-ws", "trio", connect_httpx_ws, ("httpx_ws",)),
]
