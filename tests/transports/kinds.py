"""Every kind of transport, connected to a peer, for the tests of the contract.

A further transport is one more entry in `KINDS`: how to connect it, and what it can't do.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

import anyio
import anyio.abc
import pytest
import trio
import trio.testing
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from anyio_ws.testing import memory_stream_pair
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial, wrap
from anyio_ws.transports.stream import StreamTransport

HIGH_WATER = 2**16
"""What is above the transport writes only while less than this is unsent."""

PATIENCE = 10
"""Seconds that anything may take."""


@dataclass(frozen=True)
class TLS:
    """The contexts of the two ends."""

    client: ssl.SSLContext
    server: ssl.SSLContext


class Peer(Protocol):
    """The other end of the connection, in the hands of the test."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Return some bytes, or b"" at the end."""
        ...

    async def send_eof(self) -> None: ...

    async def reset(self) -> None: ...

    async def aclose(self) -> None: ...

    async def leave(self) -> None:
        """Close without any ceremony."""
        ...


Connected = tuple[Transport, Peer, list[Any]]
"""A transport, its peer, and the streams below the transport that the test can look at."""


@dataclass(frozen=True)
class Kind:
    """A kind of transport."""

    name: str
    connect: Callable[[TLS], Awaitable[Connected]]
    half_closes: bool = True
    bounded: bool = True
    """Whether a peer that doesn't read makes output wait."""
    resets: bool = True
    """Whether the peer can break the connection."""
    big: int = 2**22
    """Bytes that don't fit into what lies between the transport and a peer that doesn't read."""
    backends: tuple[str, ...] = ("asyncio", "uvloop", "trio")

    def __str__(self) -> str:
        return self.name


class Recorder:
    """A sink that writes everything down, and complains about what the contract rules out."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.calls: list[str] = []
        self.received = bytearray()
        self.cause: Exception | None = None
        self.paused = False
        self.aborted = False
        self.complaints: list[str] = []
        self.on_data: Callable[[bytes], None] = lambda chunk: None
        self.on_eof: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self._changed = anyio.Event()

    @property
    def lost(self) -> bool:
        return "lost" in self.calls

    def data_received(self, chunk: bytes) -> None:
        self._note("data")
        if not chunk or type(chunk) is not bytes:
            self.complaints.append(f"a chunk that is {chunk!r}")
        if self.paused:
            self.complaints.append("data while paused")
        self.received += chunk
        self.on_data(chunk)

    def eof_received(self) -> None:
        self._note("eof")
        self.on_eof()

    def writable(self) -> None:
        self._note("writable")
        if self.transport.unsent >= HIGH_WATER:
            self.complaints.append(f"writable, with {self.transport.unsent} bytes unsent")
        self.on_writable()

    def connection_lost(self, cause: Exception | None) -> None:
        self._note("lost")
        self.cause = cause

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not condition():
                await self._changed.wait()

    def _note(self, call: str) -> None:
        if self.lost:
            self.complaints.append(f"{call} after the connection was lost")
        if self.aborted and call != "lost":
            self.complaints.append(f"{call} after abort")
        if "eof" in self.calls and call in ("data", "eof"):
            self.complaints.append(f"{call} after the end of the stream")
        self.calls.append(call)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Link:
    """A transport and its sink at one end, a peer at the other."""

    def __init__(self, transport: Transport, peer: Peer, ends: list[Any]) -> None:
        self.transport = transport
        self.peer = peer
        self.sink = Recorder(transport)
        self._ends = ends
        transport.start(self.sink)

    def pause(self) -> None:
        self.sink.paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        self.sink.paused = False
        self.transport.resume_reading()

    def abort(self) -> None:
        self.sink.aborted = True
        self.transport.abort()

    async def received(self, size: int) -> bytes:
        """Wait until the sink has got *size* bytes, and return what it has got."""
        await self.sink.until(lambda: len(self.sink.received) >= size)
        return bytes(self.sink.received)

    async def eof(self) -> None:
        await self.sink.until(lambda: "eof" in self.sink.calls)

    async def lost(self) -> None:
        await self.sink.until(lambda: self.sink.lost)

    async def peer_receives(self, size: int) -> bytes:
        """Receive *size* bytes at the peer."""
        found = b""
        with anyio.fail_after(PATIENCE):
            while len(found) < size:
                chunk = await self.peer.receive()
                assert chunk, f"the stream ended after {len(found)} of {size} bytes"
                found += chunk
        return found

    async def peer_receives_all(self) -> bytes:
        """Receive at the peer until the end of the stream, which has to be in order."""
        found = bytearray()
        await self._peer_receives(found)
        return bytes(found)

    async def peer_sees_the_end(self) -> bytes:
        """Receive at the peer until the connection ends, however it does."""
        found = bytearray()
        with suppress(anyio.BrokenResourceError, trio.BrokenResourceError):
            await self._peer_receives(found)
        return bytes(found)

    async def _peer_receives(self, found: bytearray) -> None:
        with anyio.fail_after(PATIENCE):
            while chunk := await self.peer.receive():
                found += chunk

    async def assert_over(self) -> None:
        """The transport told of its end once, nothing after it, and left nothing open."""
        sink = self.sink
        assert sink.complaints == []
        assert sink.calls.count("lost") == 1
        assert sink.calls[-1] == "lost"
        assert sink.cause is None or isinstance(sink.cause, Exception)
        assert self.transport.unsent == 0
        for end in self._ends:
            await assert_closed(end)


async def assert_closed(stream: Any) -> None:
    method = getattr(stream, "receive", None) or getattr(stream, "receive_some", None)
    with pytest.raises((anyio.ClosedResourceError, trio.ClosedResourceError)):
        await (method() if method is not None else stream.send_all(b"x"))


@asynccontextmanager
async def connected(kind: Kind, tls: TLS) -> AsyncIterator[Link]:
    """Connect; the test has to see to it that the transport runs, and ends."""
    link = Link(*await kind.connect(tls))
    try:
        yield link
        await link.assert_over()
    finally:
        await link.peer.leave()


@asynccontextmanager
async def running(kind: Kind, tls: TLS) -> AsyncIterator[Link]:
    """Connect and run; by the end of the block the connection has to be ending."""
    async with connected(kind, tls) as link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.transport.run)
            yield link
            await link.lost()


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await checkpoint()


# The peers


class AnyIOPeer:
    def __init__(self, stream: anyio.abc.ByteStream, reset: Callable[[], None]) -> None:
        self.stream = stream
        self._reset = reset

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive(self) -> bytes:
        try:
            return await self.stream.receive()
        except anyio.EndOfStream:
            return b""

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def reset(self) -> None:
        self._reset()
        await self.leave()

    async def aclose(self) -> None:
        with suppress(anyio.BrokenResourceError):  # of TLS, when the other end has gone
            await self.stream.aclose()

    async def leave(self) -> None:
        if isinstance(self.stream, StapledByteStream):
            # AnyIO doesn't close the second half when closing the first is cancelled.
            await anyio.aclose_forcefully(self.stream.receive_stream)
            await anyio.aclose_forcefully(self.stream.send_stream)
        else:
            await anyio.aclose_forcefully(self.stream)


class TrioPeer:
    def __init__(self, stream: trio.abc.Stream, reset: Callable[[], None] | None = None) -> None:
        self.stream = stream
        self._reset = reset

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> bytes:
        return bytes(await self.stream.receive_some())

    async def send_eof(self) -> None:
        assert isinstance(self.stream, trio.abc.HalfCloseableStream)
        await self.stream.send_eof()

    async def reset(self) -> None:
        assert self._reset is not None
        self._reset()
        await self.leave()

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def leave(self) -> None:
        await trio.aclose_forcefully(self.stream)


def _reset_at_close(sock: Any) -> None:
    """Make closing this socket break the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _take_little(sock: Any) -> None:
    """Keep the kernel from growing its buffers."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)


# AnyIO's streams


def memory(
    *, buffer: int | None = None, chunk: int | None = None
) -> Callable[[TLS], Awaitable[Connected]]:
    async def connect(tls: TLS) -> Connected:
        ours, theirs = memory_stream_pair(buffer=buffer, chunk=chunk)
        return StreamTransport(ours), AnyIOPeer(theirs, theirs.reset), [ours]

    return connect


async def pair(tls: TLS) -> Connected:
    receive, far_send = memory_stream_pair(buffer=1000)
    send, far_receive = memory_stream_pair(buffer=1000)

    def reset() -> None:
        far_send.reset()
        far_receive.reset()

    peer = AnyIOPeer(StapledByteStream(far_send, far_receive), reset)
    return StreamTransport((receive, send)), peer, [receive, send]


async def tls_over_memory(tls: TLS) -> Connected:
    """The server's side."""
    ours, theirs = memory_stream_pair(buffer=1000)
    transport: Transport | None = None

    async def start() -> None:
        nonlocal transport
        transport = await wrap(ours, tls.server, server_side=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        peer = await TLSStream.wrap(theirs, hostname="localhost", ssl_context=tls.client)
    assert transport is not None
    return transport, AnyIOPeer(peer, theirs.reset), [ours]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, Callable[[], Awaitable[anyio.abc.SocketStream]]]]:
    """Give a port on this machine, and how to accept a connection to it."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        (one,) = listener.listeners
        port = one.extra(SocketAttribute.local_port)
        yield port, cast(anyio.abc.SocketListener, one).accept


async def tcp(tls: TLS) -> Connected:
    async with listening() as (port, accept):
        transport = await dial("127.0.0.1", port)
        stream = await accept()
    return transport, _socket_peer(transport, stream, stream), []


async def tls_over_tcp(tls: TLS) -> Connected:
    """The client's side."""
    transport: Transport | None = None

    async def start() -> None:
        nonlocal transport
        transport = await dial("127.0.0.1", port, context=tls.client)

    async with listening() as (port, accept):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            stream = await accept()
            secure = await TLSStream.wrap(stream, server_side=True, ssl_context=tls.server)
    assert transport is not None
    return transport, _socket_peer(transport, secure, stream), []


def _socket_peer(
    transport: Transport, stream: anyio.abc.ByteStream, below: anyio.abc.SocketStream
) -> Peer:
    raw = below.extra(SocketAttribute.raw_socket)
    _take_little(raw)
    _take_little(transport.extra_attributes[SocketAttribute.raw_socket]())
    return AnyIOPeer(stream, lambda: _reset_at_close(raw))


# trio's streams


async def trio_memory(tls: TLS) -> Connected:
    ours, theirs = trio.testing.memory_stream_pair()
    return StreamTransport(ours), TrioPeer(theirs), [ours]


async def trio_lockstep(tls: TLS) -> Connected:
    ours, theirs = trio.testing.lockstep_stream_pair()
    return StreamTransport(ours), TrioPeer(theirs), [ours]


async def trio_pair(tls: TLS) -> Connected:
    far_send, receive = trio.testing.memory_stream_one_way_pair()
    send, far_receive = trio.testing.memory_stream_one_way_pair()
    peer = TrioPeer(trio.StapledStream(far_send, far_receive))
    return StreamTransport((receive, send)), peer, [receive, send]


async def _trio_sockets() -> tuple[trio.SocketStream, trio.SocketStream, Callable[[], None]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        theirs = await listener.accept()
    _take_little(ours.socket)
    _take_little(theirs.socket)
    return ours, theirs, lambda: _reset_at_close(theirs.socket)


async def trio_tcp(tls: TLS) -> Connected:
    ours, theirs, reset = await _trio_sockets()
    return StreamTransport(ours), TrioPeer(theirs, reset), [ours]


async def trio_tls(tls: TLS) -> Connected:
    ours, theirs, reset = await _trio_sockets()
    transport: Transport | None = None

    async def start() -> None:
        nonlocal transport
        transport = await wrap(ours, tls.client, server_side=False, hostname="localhost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        secure = trio.SSLStream(theirs, tls.server, server_side=True)
        await secure.do_handshake()
    assert transport is not None
    return transport, TrioPeer(cast(trio.abc.Stream, secure), reset), [ours]


ON_TRIO = ("trio",)

KINDS = [
    Kind("memory", memory(), bounded=False, big=200_000),
    Kind("lockstep", memory(buffer=0), big=200_000),
    Kind("blocks_at_7", memory(buffer=7), big=4_000),
    Kind("chunks_of_1000", memory(buffer=5000, chunk=1000), big=200_000),
    Kind("pair", pair, big=200_000),
    Kind("tls_over_memory", tls_over_memory, half_closes=False, big=200_000),
    Kind("tcp", tcp),
    Kind("tls_over_tcp", tls_over_tcp, half_closes=False),
    Kind("trio_memory", trio_memory, bounded=False, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_lockstep", trio_lockstep, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_pair", trio_pair, bounded=False, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_tcp", trio_tcp, backends=ON_TRIO),
    Kind("trio_tls", trio_tls, half_closes=False, backends=ON_TRIO),
]


def over(condition: Callable[[Kind], bool] = lambda kind: True) -> pytest.MarkDecorator:
    """Parametrise a test with every kind of which *condition* is true."""
    return pytest.mark.parametrize("kind", [one for one in KINDS if condition(one)], ids=str)


every_kind = over()
