"""What the tests of connections share: two ends of ours in memory, or one of ours and a hand-made peer.

Nothing here needs a clock: over streams in memory everything that is going to happen happens within a
few scheduling rounds, which is what `settle` waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import anyio
import anyio.lowlevel

from anyio_ws import WebSocket, accept_websocket, open_websocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, handshake_request, memory_stream_pair

URL = "ws://example.org/feed"

REQUEST = handshake_request("/feed", host="example.org")


async def settle() -> None:
    """Let everybody do what they can do without time passing."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def server_and_peer(
    *, buffer: int | None = None, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A server's connection and the client made by hand.

    Leaving doesn't wait for the peer, unless `close_timeout` is given.
    """
    ours, theirs = memory_stream_pair(buffer=buffer)
    peer = ScriptedPeer(theirs, Side.CLIENT)
    await peer.send(REQUEST)
    options.setdefault("close_timeout", 0)
    async with accept_websocket(ours, **options) as ws:
        await peer.receive_head()
        yield ws, peer


@asynccontextmanager
async def client_and_peer(
    *, buffer: int | None = None, **options: Unpack[ClientOptions]
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A client's connection and the server made by hand; see `server_and_peer`."""
    ours, theirs = memory_stream_pair(buffer=buffer)
    peer = ScriptedPeer(theirs, Side.SERVER)

    options.setdefault("close_timeout", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.accept)
        async with open_websocket(URL, stream=ours, **options) as ws:
            yield ws, peer


@asynccontextmanager
async def connected(
    *,
    client: ClientOptions | None = None,
    server: ServerOptions | None = None,
    buffer: int | None = None,
    chunk: int | None = None,
) -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    """A client's and a server's connection, with each other. Leaving closes both, the client's first."""
    one, other = memory_stream_pair(buffer=buffer, chunk=chunk)
    accepted: list[WebSocket] = []
    ready, done = anyio.Event(), anyio.Event()

    async def serve() -> None:
        async with accept_websocket(other, **(server or {})) as ws:
            accepted.append(ws)
            ready.set()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with open_websocket(URL, stream=one, **(client or {})) as ws:
            await ready.wait()
            yield ws, accepted[0]
        done.set()
