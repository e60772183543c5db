"""What the tests of connections share: two ends of ours in memory, or one of ours and a hand-made peer.

Nothing here needs a clock: over streams in memory everything that is going to happen happens within a
few scheduling rounds, which is what `settle` waits for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import anyio
import anyio.lowlevel

from anyio_ws import WebSocket, accept_websocket, open_websocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.sansio import Side
from anyio_ws.testing import MemoryByteStream, memory_stream_pair

from ..sansio.helpers import Raw, to, xor

URL = "ws://example.org/feed"

REQUEST = (
    b"GET /feed HTTP/1.1\r\n"
    b"Host: example.org\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)


async def settle() -> None:
    """Let everybody do what they can do without time passing."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


def response_to(request: bytes) -> bytes:
    """The server's answer to a handshake request, made by hand."""
    head = request.decode().split("\r\n")
    key = next(line.partition(": ")[2] for line in head if line.startswith("Sec-WebSocket-Key"))
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


class Peer:
    """The other end of a connection, spoken by hand, well or badly."""

    def __init__(self, stream: MemoryByteStream, ours: Side) -> None:
        self.stream = stream
        self._ours = ours
        self._received = b""

    async def send(self, *frames: Raw) -> None:
        """Send frames, in one piece."""
        await self.stream.send(to(self._ours, *frames))

    async def receive(self) -> Raw:
        """Receive a frame.

        :raises EndOfStream: there is no other one
        """
        first, second = await self._exactly(2)
        width = {126: 2, 127: 8}.get(second & 0x7F, 0)
        size = int.from_bytes(await self._exactly(width), "big") if width else second & 0x7F
        masked = second >= 0x80
        assert masked is (self._ours is Side.CLIENT), "only clients mask"
        key = await self._exactly(4) if masked else bytes(4)
        payload = xor(await self._exactly(size), key)
        return Raw(first & 0x0F, payload, first >= 0x80, first & 0x70)

    async def receive_head(self) -> bytes:
        """Receive an HTTP request or response, up to the empty line."""
        while b"\r\n\r\n" not in self._received:
            self._received += await self.stream.receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def receive_rest(self) -> bytes:
        """Receive everything up to the end of the stream."""
        try:
            while True:
                self._received += await self.stream.receive()
        except anyio.EndOfStream:
            rest, self._received = self._received, b""
            return rest

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += await self.stream.receive()
        data, self._received = self._received[:size], self._received[size:]
        return data


@asynccontextmanager
async def server_and_peer(
    *, buffer: int | None = None, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[WebSocket, Peer]]:
    """A server's connection and the client made by hand.

    Leaving doesn't wait for the peer, unless `close_timeout` is given.
    """
    ours, theirs = memory_stream_pair(buffer=buffer)
    peer = Peer(theirs, Side.SERVER)
    await theirs.send(REQUEST)
    options.setdefault("close_timeout", 0)
    async with accept_websocket(ours, **options) as ws:
        await peer.receive_head()
        yield ws, peer


@asynccontextmanager
async def client_and_peer(
    *, buffer: int | None = None, **options: Unpack[ClientOptions]
) -> AsyncIterator[tuple[WebSocket, Peer]]:
    """A client's connection and the server made by hand; see `server_and_peer`."""
    ours, theirs = memory_stream_pair(buffer=buffer)
    peer = Peer(theirs, Side.CLIENT)

    async def answer() -> None:
        await theirs.send(response_to(await peer.receive_head()))

    options.setdefault("close_timeout", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
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
