"""Connections that come and go leave nothing behind; benchmarks/churn.py does it with fifty thousand."""

from __future__ import annotations

import gc
import socket
import struct
import tracemalloc

import anyio
from anyio.abc import SocketAttribute, SocketStream

from anyio_ws import WebSocket, WebSocketServer, open_server, open_websocket
from anyio_ws.options import CommonOptions
from anyio_ws.testing import handshake_request

from ..conftest import open_descriptors, running_tasks

BATCHES = 5
SETTLED = 2
COUNT = 200
AT_A_TIME = 50

LEAST = 100
"""Bytes that a connection which isn't forgotten would keep, at least."""


NO_LIMITS: CommonOptions = {"open_timeout": None, "close_timeout": None, "ping_interval": None}
"""An event loop keeps some hundreds of timers that were cancelled until they would have rung."""


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def close(server: WebSocketServer) -> None:
    async with open_websocket(server.url, **NO_LIMITS) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def break_off(server: WebSocketServer) -> None:
    async with open_websocket(server.url, **NO_LIMITS) as ws:
        await anyio.aclose_forcefully(ws)


async def leave_early(server: WebSocketServer) -> None:
    async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
        await tcp.send(handshake_request("/")[:30])


async def reset(server: WebSocketServer) -> None:
    tcp: SocketStream
    async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
        await tcp.send(handshake_request("/"))
        await tcp.receive()
        linger = struct.pack("ii", 1, 0)
        tcp.extra(SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )


async def settled(server: WebSocketServer) -> None:
    """Wait until the server has nothing to do any more, nor the event loop for it."""
    with anyio.fail_after(10):
        while server.statistics().open or server.statistics().opening:
            await anyio.lowlevel.checkpoint()
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
    gc.collect()


WAYS = [close, break_off, leave_early, reset]


async def test_nothing_grows_with_the_connections_that_came_and_went() -> None:
    numbers: list[tuple[int, int]] = []
    memory: list[int] = []
    async with open_server(echo, "127.0.0.1", 0, **NO_LIMITS) as server:
        tracemalloc.start()
        try:
            for _ in range(BATCHES):
                for _ in range(COUNT // AT_A_TIME):
                    async with anyio.create_task_group() as tasks:
                        for number in range(AT_A_TIME):
                            tasks.start_soon(WAYS[number % len(WAYS)], server)
                await settled(server)
                memory.append(tracemalloc.get_traced_memory()[0])
                numbers.append((len(running_tasks()), len(open_descriptors())))
        finally:
            tracemalloc.stop()
        assert server.statistics().accepted == BATCHES * COUNT
    assert len(set(numbers)) == 1
    assert memory[-1] - memory[SETTLED - 1] < LEAST * COUNT * (BATCHES - SETTLED), memory
