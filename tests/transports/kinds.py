"""Every kind of transport, connected to a peer, for the tests of the contract.

A further transport is one more entry in `KINDS`: how to connect it, and what it can't do.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import anyio.abc
import pytest
import trio
import trio.testing
from anyio.abc import SocketAttribute
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from anyio_ws.sansio.connect import ConnectProtocol
from anyio_ws.sansio.uri import parse_proxy
from anyio_ws.testing import memory_stream_pair
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial, over
from anyio_ws.transports.proxy import TunnelTransport
from anyio_ws.transports.stream import AnyByteStream, StreamTransport
from anyio_ws.transports.tls import TLSEngine, TLSTransport

from .peers import (
    AnyIOPeer,
    ProxyPeer,
    SocketByteStream,
    TLSPeer,
    TrioPeer,
    reset_at_close,
    take_little,
)
from .recorder import PATIENCE, Link, Peer, Recorder, assert_closed

__all__ = [
    "KINDS",
    "PATIENCE",
    "TLS",
    "Kind",
    "Recorder",
    "assert_closed",
    "bounded",
    "closing_whole",
    "connected",
    "every_kind",
    "half_closing",
    "listening",
    "of_kinds",
    "running",
]


@dataclass(frozen=True)
class TLS:
    """The contexts of the two ends."""

    client: ssl.SSLContext
    server: ssl.SSLContext

    def of(self, *, server_side: bool) -> ssl.SSLContext:
        return self.server if server_side else self.client


Connected = tuple[Transport, Peer, list[Any]]
"""A transport, its peer, and the streams and sockets below the transport that the test can look at."""
PlainConnected = tuple[Transport, AnyIOPeer, list[Any]]
"""The same, and TLS can be put over both ends."""


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
    keeps_input: bool = False
    """Whether what has arrived before the connection breaks is still there to be read."""
    counts_all: bool = True
    """Whether what it sends is what was written, byte for byte."""
    big: int = 2**20
    """Bytes that don't fit into what lies between the transport and a peer that doesn't read."""
    backends: tuple[str, ...] = ("asyncio", "uvloop", "trio")

    def __str__(self) -> str:
        return self.name


@asynccontextmanager
async def connected(kind: Kind, tls: TLS) -> AsyncIterator[Link]:
    """Connect; the test has to see to it that the transport runs, and ends."""
    link = Link(*await kind.connect(tls), half_closes=kind.half_closes)
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
            with anyio.fail_after(PATIENCE):
                await link.peer.ready()
            yield link
            await link.lost()


# Streams


def memory(
    *, buffer: int | None = None, chunk: int | None = None
) -> Callable[[TLS], Awaitable[PlainConnected]]:
    async def connect(tls: TLS) -> PlainConnected:
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


async def anyio_tcp(tls: TLS) -> Connected:
    ours, theirs = await anyio_streams()
    return StreamTransport(ours), AnyIOPeer(theirs, lambda: reset_at_close(theirs.socket)), [ours]


async def anyio_streams() -> tuple[anyio.abc.SocketStream, SocketByteStream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = await anyio.connect_tcp(*listener.getsockname())
        theirs, _ = listener.accept()
    take_little(ours.extra(SocketAttribute.raw_socket))
    take_little(theirs)
    return ours, SocketByteStream(theirs)


# Sockets


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, Callable[[], Awaitable[anyio.abc.SocketStream]]]]:
    """Give a port on this machine, and how to accept a connection to it."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        (one,) = listener.listeners
        port = one.extra(SocketAttribute.local_port)
        yield port, cast(anyio.abc.SocketListener, one).accept


async def dialled(tls: TLS) -> PlainConnected:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = await dial(*listener.getsockname())
        theirs, _ = listener.accept()
    return socket_connected(transport, theirs)


async def accepted(tls: TLS) -> PlainConnected:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return socket_connected(await over(ours), theirs)


async def socketpair(tls: TLS) -> PlainConnected:
    ours, theirs = socket.socketpair()
    return socket_connected(await over(ours), theirs)


def socket_connected(transport: Transport, theirs: socket.socket) -> PlainConnected:
    ours = transport.extra_attributes[SocketAttribute.raw_socket]()
    take_little(ours)
    take_little(theirs)
    peer = AnyIOPeer(SocketByteStream(theirs), lambda: reset_at_close(theirs))
    return transport, peer, [ours]


# TLS


def filtered(
    connect: Callable[[TLS], Awaitable[PlainConnected]],
    *,
    server_side: bool = False,
    layers: int = 1,
) -> Callable[[TLS], Awaitable[Connected]]:
    """Our TLS, as often as *layers* says, over a transport."""

    async def connect_tls(tls: TLS) -> Connected:
        transport, below, ends = await connect(tls)
        for _ in range(layers):
            context = tls.of(server_side=server_side)
            engine = TLSEngine(context, server_side=server_side, hostname="localhost")
            transport = TLSTransport(transport, engine)
        context = tls.of(server_side=not server_side)
        return transport, TLSPeer(below, context, server_side=not server_side, layers=layers), ends

    return connect_tls


async def brought(
    stream: anyio.abc.ByteStream, below: AnyIOPeer, tls: TLS, *, server_side: bool
) -> Connected:
    """A transport over a user's own TLS stream."""
    secure: TLSStream | None = None

    async def start() -> None:
        nonlocal secure
        secure = await TLSStream.wrap(
            stream,
            server_side=server_side,
            hostname=None if server_side else "localhost",
            ssl_context=tls.of(server_side=server_side),
        )

    context = tls.of(server_side=not server_side)
    peer = TLSPeer(below, context, server_side=not server_side)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await peer.ready()
    assert secure is not None
    return StreamTransport(secure), peer, [stream]


async def users_tls(tls: TLS) -> Connected:
    ours, theirs = memory_stream_pair(buffer=1000)
    return await brought(ours, AnyIOPeer(theirs, theirs.reset), tls, server_side=True)


async def users_tls_over_tcp(tls: TLS) -> Connected:
    ours, theirs = await anyio_streams()
    below = AnyIOPeer(theirs, lambda: reset_at_close(theirs.socket))
    return await brought(ours, below, tls, server_side=False)


# Through a proxy


def tunnelled(
    connect: Callable[[TLS], Awaitable[PlainConnected]],
) -> Callable[[TLS], Awaitable[PlainConnected]]:
    """A tunnel of HTTP CONNECT over a transport."""

    async def connect_tunnel(tls: TLS) -> PlainConnected:
        below, peer, ends = await connect(tls)
        opening = TellingOpening()
        tunnel = TunnelTransport(below, opening, "http://proxy.example")
        return tunnel, ProxyPeer(peer, opening.done), ends

    return connect_tunnel


class TellingOpening:
    """Tells when the tunnel is there: the proxy can't know whether its answer was read."""

    def __init__(self) -> None:
        self._connect = ConnectProtocol(parse_proxy("http://proxy.example"), "localhost", 443)
        self.request = self._connect.request
        self.done = anyio.Event()

    def receive_data(self, data: bytes | memoryview) -> bytes | None:
        early = self._connect.receive_data(data)
        if early is not None:
            self.done.set()
        return early


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
    take_little(ours.socket)
    take_little(theirs.socket)
    return ours, theirs, lambda: reset_at_close(theirs.socket)


async def trio_tcp(tls: TLS) -> Connected:
    ours, theirs, reset = await _trio_sockets()
    return StreamTransport(ours), TrioPeer(theirs, reset), [ours]


async def trio_tls_over_tcp(tls: TLS) -> Connected:
    ours, theirs, reset = await _trio_sockets()
    near = trio.SSLStream(ours, tls.client, server_hostname="localhost")
    far = trio.SSLStream(theirs, tls.server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    stream = cast("AnyByteStream", near)
    return StreamTransport(stream), TrioPeer(cast(trio.abc.Stream, far), reset), [ours]


ON_TRIO = ("trio",)

STREAMS = [
    Kind("memory", memory(), bounded=False, big=200_000),
    Kind("lockstep", memory(buffer=0), big=200_000),
    Kind("blocks_at_7", memory(buffer=7), big=4_000),
    Kind("chunks_of_1000", memory(buffer=5000, chunk=1000), big=200_000),
    Kind("pair", pair, big=200_000),
    Kind("anyio_tcp", anyio_tcp),
    Kind("trio_memory", trio_memory, bounded=False, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_lockstep", trio_lockstep, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_pair", trio_pair, bounded=False, resets=False, big=200_000, backends=ON_TRIO),
    Kind("trio_tcp", trio_tcp, keeps_input=True, backends=ON_TRIO),
    Kind("users_tls", users_tls, half_closes=False, big=200_000),
    Kind("users_tls_over_tcp", users_tls_over_tcp, half_closes=False),
    Kind("trio_tls_over_tcp", trio_tls_over_tcp, half_closes=False, backends=ON_TRIO),
]
SOCKETS = [
    Kind("tcp", dialled, keeps_input=True),
    Kind("accepted_tcp", accepted, keeps_input=True),
    Kind("unix", socketpair, resets=False, keeps_input=True),
]


def tls(name: str, connect: Callable[[TLS], Awaitable[Connected]], **traits: Any) -> Kind:
    """A kind of our own TLS."""
    return Kind(name, connect, half_closes=False, counts_all=False, **traits)


FILTERS = [
    tls("tls_over_memory", filtered(memory()), bounded=False, big=200_000),
    tls("tls_over_lockstep", filtered(memory(buffer=0), server_side=True), big=200_000),
    tls("tls_over_tcp", filtered(dialled), keeps_input=True),
    tls("tls_over_accepted_tcp", filtered(accepted, server_side=True), keeps_input=True),
    tls("tls_over_unix", filtered(socketpair, server_side=True), resets=False, keeps_input=True),
    tls("tls_in_tls", filtered(memory(buffer=1000), layers=2), big=200_000),
]
TUNNELS = [
    Kind("tunnel_over_memory", tunnelled(memory()), bounded=False, big=200_000),
    Kind("tunnel_over_lockstep", tunnelled(memory(buffer=0)), big=200_000),
    Kind("tunnel_over_tcp", tunnelled(dialled), keeps_input=True),
    tls("tls_in_tunnel_over_tcp", filtered(tunnelled(dialled)), keeps_input=True),
]
KINDS = STREAMS + SOCKETS + FILTERS + TUNNELS


def of_kinds(condition: Callable[[Kind], bool] = lambda kind: True) -> pytest.MarkDecorator:
    """Parametrise a test with every kind of which *condition* is true."""
    return pytest.mark.parametrize("kind", [one for one in KINDS if condition(one)], ids=str)


every_kind = of_kinds()
bounded = of_kinds(lambda kind: kind.bounded)
half_closing = of_kinds(lambda kind: kind.half_closes)
closing_whole = of_kinds(lambda kind: not kind.half_closes)
