"""What the tests of the test kit share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from anyio_ws import WebSocket, accept_websocket, open_websocket
from anyio_ws.sansio import CloseCode, Opcode, Side
from anyio_ws.testing import RawFrame, ScriptedPeer, memory_stream_pair

URL = "ws://localhost/"

HELLO = RawFrame(Opcode.TEXT, b"hello")
CLOSE = RawFrame(Opcode.CLOSE, CloseCode.NORMAL_CLOSURE.to_bytes(2, "big"))


async def settle() -> None:
    """Let every other task run until it waits; nothing here waits for anything but other tasks."""
    for _ in range(20):
        await checkpoint()


async def receive_all(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def send_and_end(stream: anyio.abc.ByteStream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


def ours_facing(
    side: Side, stream: anyio.abc.ByteStream, **options: Any
) -> AbstractAsyncContextManager[WebSocket]:
    """Our connection towards a peer that plays *side*."""
    if side is Side.CLIENT:
        return accept_websocket(stream, **options)
    return open_websocket(URL, stream=stream, **options)


async def handshake(peer: ScriptedPeer) -> None:
    await (peer.connect() if peer.side is Side.CLIENT else peer.accept())


@asynccontextmanager
async def connected(
    side: Side, *, buffer: int | None = None, close_timeout: float = 0, **script: Any
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A connection of ours, and the peer that plays *side*."""
    ours, theirs = memory_stream_pair(buffer=buffer)
    peer = ScriptedPeer(theirs, side, **script)
    ready = anyio.Event()

    async def shake_hands() -> None:
        await handshake(peer)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake_hands)
        async with ours_facing(side, ours, close_timeout=close_timeout) as ws:
            await ready.wait()
            yield ws, peer
