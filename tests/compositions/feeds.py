"""Connections of ours with somebody at their other end who feeds them; see `feed`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, Unpack

import anyio
from anyio.lowlevel import checkpoint

from anyio_ws import ClientOptions, Mux, WebSocket, accept_websocket, open_websocket
from anyio_ws.testing import MemoryByteStream, memory_stream_pair

PATIENCE = 10

Merged: TypeAlias = Mux[WebSocket, str | bytes]


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await checkpoint()


@dataclass(eq=False)
class Feed:
    """A connection of ours and, at its other end, who feeds it."""

    ws: WebSocket
    peer: WebSocket
    wire: MemoryByteStream
    """The peer's, for bytes that no `WebSocket` would send."""

    async def send(self, *messages: str) -> None:
        """Send, and have it arrive."""
        for message in messages:
            await self.peer.send(message)
        await settle()

    async def close(self, code: int = 1000) -> None:
        """Close, and have it arrive."""
        await self.peer.send_eof(code)
        await settle()


@asynccontextmanager
async def feed(
    *, buffer: int | None = None, **options: Unpack[ClientOptions]
) -> AsyncIterator[Feed]:
    near, far = memory_stream_pair(buffer=buffer)
    accepted: list[WebSocket] = []

    async def accept() -> None:
        async with accept_websocket(far) as peer:
            accepted.append(peer)
            await peer.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        async with open_websocket("ws://feed.test/", stream=near, **options) as ws:
            while not accepted:
                await checkpoint()
            yield Feed(ws, accepted[0], far)


@asynccontextmanager
async def feeds(number: int, **options: Unpack[ClientOptions]) -> AsyncIterator[list[Feed]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(feed(**options)) for _ in range(number)]


def sockets(members: list[Feed]) -> list[WebSocket]:
    return [member.ws for member in members]


async def all_of(merged: Merged) -> list[str | bytes]:
    """What iterating gives, until it ends."""
    with anyio.fail_after(PATIENCE):
        return [message async for _, message in merged]


async def some_of(merged: Merged, number: int) -> list[str | bytes]:
    with anyio.fail_after(PATIENCE):
        return [(await merged.receive())[1] for _ in range(number)]
