"""What the tests of connections share: two ends of ours, or one of ours and a hand-made peer.

They are connected by a pair of sockets, or by streams in memory where a test says how much these hold,
and everywhere with ``pytest --transport streams``. Nothing here needs a clock: over either, everything
that is going to happen happens within a few scheduling rounds, which is what `settle` waits for.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketStream, UNIXSocketStream

from anyio_ws import WebSocket, accept_websocket, open_websocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, handshake_request, memory_stream_pair
from anyio_ws.transports.dial import Connectable

over_sockets = True
"""Whether connections go over sockets; set by ``--transport``."""

URL = "ws://example.org/feed"

REQUEST = handshake_request("/feed", host="example.org")


async def settle() -> None:
    """Let everybody do what they can do without time passing."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def connection(
    buffer: int | None = None, *, resettable: bool = False
) -> tuple[Connectable, ByteStream]:
    """What one of ours is given, and the other end of it."""
    if buffer is not None or not over_sockets:
        return memory_stream_pair(buffer=buffer)
    if resettable:  # as only TCP is
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            return ours, await SocketStream.from_socket(listener.accept()[0])
    ours, theirs = socket.socketpair()
    return ours, await UNIXSocketStream.from_socket(theirs)


@asynccontextmanager
async def closing(stream: ByteStream) -> AsyncIterator[None]:
    """Close *stream* in the end, if that wasn't done."""
    try:
        yield
    finally:
        await anyio.aclose_forcefully(stream)


@asynccontextmanager
async def server_and_peer(
    *, buffer: int | None = None, resettable: bool = False, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A server's connection and the client made by hand.

    Leaving doesn't wait for the peer, unless `close_timeout` is given.
    """
    ours, theirs = await connection(buffer, resettable=resettable)
    peer = ScriptedPeer(theirs, Side.CLIENT)
    await peer.send(REQUEST)
    options.setdefault("close_timeout", 0)
    async with closing(theirs), accept_websocket(ours, **options) as ws:
        await peer.receive_head()
        yield ws, peer


@asynccontextmanager
async def client_and_peer(
    *, buffer: int | None = None, **options: Unpack[ClientOptions]
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A client's connection and the server made by hand; see `server_and_peer`."""
    ours, theirs = await connection(buffer)
    peer = ScriptedPeer(theirs, Side.SERVER)

    options.setdefault("close_timeout", 0)
    async with closing(theirs), anyio.create_task_group() as tasks:
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
    one: Connectable
    other: Connectable
    if buffer is None and chunk is None and over_sockets:
        one, other = socket.socketpair()
    else:
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
