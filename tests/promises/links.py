"""Connections over each kind of transport, for what has to hold over all of them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

import anyio
from anyio.abc import ByteStream, UNIXSocketStream
from anyio.streams.tls import TLSStream

from anyio_ws import (
    DecideRetry,
    ReconnectAttempt,
    WebSocket,
    WebSocketEvents,
    WebSocketServer,
    accept_websocket,
    open_server,
    open_websocket,
    reconnecting_websocket,
    websocket_events,
)
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.sansio import Side
from anyio_ws.service import Handler
from anyio_ws.testing import (
    RawFrame,
    ScriptedPeer,
    handshake_request,
    handshake_response,
    memory_stream_pair,
)
from anyio_ws.transports.dial import Connectable

SMALL = 2**13
"""Bytes that a connection with little room holds in one direction, roughly."""


@dataclass(frozen=True)
class Link:
    """How two ends are connected, and the contexts for TLS."""

    kind: str
    client_context: ssl.SSLContext
    server_context: ssl.SSLContext

    def __str__(self) -> str:
        return self.kind

    @property
    def url(self) -> str:
        return "wss://localhost/feed" if self.kind == "tls" else "ws://localhost/feed"

    def pair(self, *, small: bool = False) -> tuple[Connectable, Connectable]:
        """The two ends of what is below; a *small* one soon makes who sends wait."""
        if self.kind == "streams":
            return memory_stream_pair(buffer=SMALL if small else None)
        one, other = socket.socketpair()
        if small:
            for end in (one, other):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL // 2)  # Linux doubles it
        return one, other

    @asynccontextmanager
    async def connected(
        self,
        *,
        client: ClientOptions | None = None,
        server: ServerOptions | None = None,
        small: bool = False,
    ) -> AsyncIterator[tuple[WebSocket, WebSocket]]:
        """A client's and a server's connection, with each other. Leaving closes both, the client's first."""
        one, other = self.pair(small=small)
        accepted: list[WebSocket] = []
        ready, done = anyio.Event(), anyio.Event()

        async def serve() -> None:
            async with accept_websocket(other, **self._server(server or {})) as ws:
                accepted.append(ws)
                ready.set()
                await done.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            async with open_websocket(self.url, stream=one, **self._client(client or {})) as ws:
                await ready.wait()
                yield ws, accepted[0]
            done.set()

    def serving(
        self, handler: Handler, **options: Unpack[ServerOptions]
    ) -> AbstractAsyncContextManager[WebSocketServer]:
        """`open_server` on this machine, with TLS if that is the link."""
        return open_server(handler, "127.0.0.1", 0, **self._server(options))

    def connecting(
        self,
        server: WebSocketServer,
        stream: Connectable | None = None,
        **options: Unpack[ClientOptions],
    ) -> AbstractAsyncContextManager[WebSocket]:
        """`open_websocket` to a server of ours."""
        return open_websocket(server.url, stream=stream, **self._client(options))

    def reconnecting(
        self, server: WebSocketServer, policy: DecideRetry | None = None
    ) -> AsyncIterator[ReconnectAttempt]:
        """`reconnecting_websocket` to a server of ours."""
        return reconnecting_websocket(server.url, policy=policy, **self._client({}))

    def telling(self, server: WebSocketServer) -> AbstractAsyncContextManager[WebSocketEvents]:
        """`websocket_events` of a connection to a server of ours."""
        return websocket_events(server.url, **self._client({}))

    @asynccontextmanager
    async def unopened_client(self) -> AsyncIterator[AbstractAsyncContextManager[WebSocket]]:
        """What `open_websocket` gives, not entered yet; the peer is there."""
        ours, theirs = self.pair()

        async def accept() -> None:
            stream = await self._stream(theirs, self.server_context, server_side=True)
            streams.append(stream)
            await ScriptedPeer(stream, Side.SERVER).accept()

        streams: list[ByteStream] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            try:
                yield open_websocket(self.url, stream=ours, **self._client({"close_timeout": 0}))
            finally:
                for stream in streams:
                    await anyio.aclose_forcefully(stream)

    @asynccontextmanager
    async def unopened_server(self) -> AsyncIterator[AbstractAsyncContextManager[WebSocket]]:
        """What `accept_websocket` gives, not entered yet; the peer is there."""
        ours, theirs = self.pair()

        async def connect() -> None:
            stream = await self._stream(theirs, self.client_context, server_side=False)
            streams.append(stream)
            await stream.send(handshake_request("/feed"))

        streams: list[ByteStream] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            try:
                yield accept_websocket(ours, **self._server({"close_timeout": 0}))
            finally:
                for stream in streams:
                    await anyio.aclose_forcefully(stream)

    @asynccontextmanager
    async def server_and_peer(
        self,
        *headers: tuple[str, str],
        small: bool = False,
        **options: Unpack[ServerOptions],
    ) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
        """A server's connection and the client made by hand; leaving doesn't wait for the peer by default.

        :param headers: to be added to the client's request
        """
        ours, theirs = self.pair(small=small)
        options.setdefault("close_timeout", 0)
        peers: list[ScriptedPeer] = []

        async def connect() -> None:
            stream = await self._stream(theirs, self.client_context, server_side=False)
            peers.append(ScriptedPeer(stream, Side.CLIENT))
            await peers[0].connect("/feed", *headers)
            connected.set()

        connected = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            try:
                async with accept_websocket(ours, **self._server(options)) as ws:
                    await connected.wait()
                    yield ws, peers[0]
            finally:
                for peer in peers:
                    await anyio.aclose_forcefully(peer.stream)

    @asynccontextmanager
    async def client_and_peer(
        self,
        *,
        small: bool = False,
        at_once: Sequence[RawFrame] = (),
        **options: Unpack[ClientOptions],
    ) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
        """A client's connection and the server made by hand; see `server_and_peer`.

        :param at_once: what the server sends together with its handshake response
        """
        ours, theirs = self.pair(small=small)
        options.setdefault("close_timeout", 0)
        peers: list[ScriptedPeer] = []

        async def accept() -> None:
            stream = await self._stream(theirs, self.server_context, server_side=True)
            peers.append(ScriptedPeer(stream, Side.SERVER))
            request = await peers[0].receive_head()
            await peers[0].send(handshake_response(request), *at_once)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            try:
                async with open_websocket(self.url, stream=ours, **self._client(options)) as ws:
                    yield ws, peers[0]
            finally:
                for peer in peers:
                    await anyio.aclose_forcefully(peer.stream)

    async def secured_client(self, stream: ByteStream) -> ByteStream:
        """A client's end of TLS over *stream*, if that is the link; else *stream* itself."""
        return await self._secured(stream, self.client_context, server_side=False)

    def _client(self, options: ClientOptions) -> ClientOptions:
        if self.kind == "tls":
            options = {**options, "ssl": self.client_context}
        return options

    def _server(self, options: ServerOptions) -> ServerOptions:
        if self.kind == "tls":
            options = {**options, "ssl": self.server_context}
        return options

    async def _stream(
        self, end: Connectable, context: ssl.SSLContext, *, server_side: bool
    ) -> ByteStream:
        if isinstance(end, socket.socket):
            stream: ByteStream = await UNIXSocketStream.from_socket(end)
        else:
            assert isinstance(end, ByteStream)
            stream = end
        return await self._secured(stream, context, server_side=server_side)

    async def _secured(
        self, stream: ByteStream, context: ssl.SSLContext, *, server_side: bool
    ) -> ByteStream:
        if self.kind != "tls":
            return stream
        return await TLSStream.wrap(
            stream,
            server_side=server_side,
            hostname="localhost",
            ssl_context=context,
            standard_compatible=False,
        )
