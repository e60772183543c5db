"""From a socket or a stream that somebody else opened to a transport: `anyio_ws.transports.dial.over`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
import pytest
import trio
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteStream

from anyio_ws.testing import cancel_sweep, memory_stream_pair
from anyio_ws.transports.dial import over
from anyio_ws.transports.stream import StreamTransport

from .kinds import PATIENCE, assert_closed
from .sinks import QuietSink, check_moves_bytes, end


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two sockets that are connected over TCP; the second doesn't block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    other.setblocking(False)
    return one, other


def unix_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    other.setblocking(False)
    return one, other


# -- sockets


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
async def test_a_connected_socket_is_spoken_over(
    pair: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    one, other = pair()
    with other:
        transport = await over(one)
        assert not isinstance(transport, StreamTransport)
        assert transport.extra_attributes[SocketAttribute.raw_socket]() is one
        await check_moves_bytes(transport, other)
    assert one.fileno() < 0


async def test_what_arrived_before_a_socket_was_handed_over_is_received() -> None:
    one, other = tcp_pair()
    with other:
        other.send(b"early")
        transport = await over(one)
        sink = QuietSink()
        async with anyio.create_task_group() as tasks:
            transport.start(sink)
            if transport.has_to_run:
                tasks.start_soon(transport.run)
            await sink.until_received(b"early")
            transport.abort()
            await sink.until_lost()


def datagram_socket() -> socket.socket:
    return socket.socket(type=socket.SOCK_DGRAM)


def closed_socket() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (datagram_socket, "SOCK_STREAM"),
        (socket.socket, "connected socket"),
        (lambda: socket.socket(socket.AF_UNIX), "connected socket"),
        (lambda: socket.create_server(("127.0.0.1", 0)), "listens"),
        (closed_socket, "closed"),
    ],
    ids=["datagrams", "unconnected", "unconnected unix", "listening", "closed"],
)
async def test_a_socket_that_is_no_connection_is_refused_and_left_as_it_is(
    make: Callable[[], socket.socket], error: str
) -> None:
    with make() as sock:
        number = sock.fileno()
        with pytest.raises(ValueError, match=error):
            await over(sock)
        assert sock.fileno() == number
        assert sock.getblocking()


async def test_a_connection_that_was_reset_already_is_a_lost_one() -> None:
    one, other = tcp_pair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    await check_lost(one)


async def test_a_socket_that_was_bound_and_never_connected_is_a_lost_connection() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await check_lost(sock)


async def check_lost(sock: socket.socket) -> None:
    transport = await over(sock)
    sink = QuietSink()
    async with anyio.create_task_group() as tasks:
        transport.start(sink)
        if transport.has_to_run:
            tasks.start_soon(transport.run)
        await sink.until_lost()
    assert isinstance(sink.cause, OSError)
    assert sock.fileno() < 0


# -- streams

ON_TRIO = ("trio",)
ON_ASYNCIO = ("asyncio", "uvloop")

Stream = Any
"""AnyIO's or trio's."""


@dataclass(frozen=True)
class Way:
    """A kind of stream that has a socket. *open* makes one of a connected socket."""

    name: str
    open: Callable[[socket.socket], Awaitable[Stream]]
    pair: Callable[[], tuple[socket.socket, socket.socket]]
    backends: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


async def trio_stream(sock: socket.socket) -> Stream:
    sock.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


class CountingStream(anyio.abc.SocketStream):
    """What somebody made of AnyIO's: to go round it would be to go round what it's for."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self.count = 0

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self.stream.receive(max_bytes)
        self.count += len(data)
        return data

    async def send(self, item: bytes) -> None:
        self.count += len(item)
        await self.stream.send(item)

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()

    @property
    def _raw_socket(self) -> socket.socket:
        return self.stream.extra(SocketAttribute.raw_socket)


async def counting_stream(sock: socket.socket) -> Stream:
    return CountingStream(await anyio.abc.SocketStream.from_socket(sock))


async def buffered_stream(sock: socket.socket) -> Stream:
    return BufferedByteStream(await anyio.abc.SocketStream.from_socket(sock))


anyio_tcp = anyio.abc.SocketStream.from_socket
anyio_unix = anyio.abc.UNIXSocketStream.from_socket


@pytest.mark.parametrize(
    "way",
    [
        Way("trio", trio_stream, tcp_pair, ON_TRIO),
        Way("trio unix", trio_stream, unix_pair, ON_TRIO),
        Way("anyio", anyio_tcp, tcp_pair, ON_TRIO),
        Way("anyio unix", anyio_unix, unix_pair, ON_TRIO),
    ],
    ids=str,
)
async def test_a_stream_that_gives_its_socket_up_is_taken_over_and_closed_for_its_user(
    way: Way,
) -> None:
    one, other = way.pair()
    with other:
        stream = await way.open(one)
        transport = await over(stream)
        assert not isinstance(transport, StreamTransport)
        await assert_closed(stream)  # already
        await check_moves_bytes(transport, other)


@pytest.mark.parametrize(
    "way",
    [
        Way("anyio", anyio_tcp, tcp_pair, ON_ASYNCIO),
        Way("anyio unix", anyio_unix, unix_pair, ON_ASYNCIO),
        Way("anyio buffered", buffered_stream, tcp_pair, (*ON_ASYNCIO, *ON_TRIO)),
        Way("somebody's", counting_stream, tcp_pair, (*ON_ASYNCIO, *ON_TRIO)),
    ],
    ids=str,
)
async def test_a_stream_that_keeps_its_socket_is_used_as_a_stream_and_closed_in_the_end(
    way: Way,
) -> None:
    one, other = way.pair()
    with other:
        stream = await way.open(one)
        transport = await over(stream)
        assert isinstance(transport, StreamTransport)
        await check_moves_bytes(transport, other)
        await assert_closed(stream)


async def test_a_stream_without_a_socket_is_used_as_a_stream() -> None:
    one, other = memory_stream_pair()
    transport = await over(one)
    assert isinstance(transport, StreamTransport)
    await end(transport)
    await assert_closed(one)
    await other.aclose()


@pytest.mark.parametrize("junk", [object, None, "socket", (), (1, 2), 7], ids=repr)
async def test_what_is_neither_a_socket_nor_a_stream_is_a_type_error(junk: Any) -> None:
    with pytest.raises(TypeError, match="byte stream"):
        await over(junk)


# -- cancelling


async def as_it_is(sock: socket.socket) -> Any:
    return sock


@pytest.mark.parametrize(
    "way",
    [
        Way("socket", as_it_is, tcp_pair, ON_ASYNCIO),
        Way("trio", trio_stream, tcp_pair, ON_TRIO),
        Way("anyio", anyio_tcp, tcp_pair, ON_TRIO),
    ],
    ids=str,
)
async def test_cancelled_wherever_it_waits_the_socket_is_closed(way: Way) -> None:
    for attempt in cancel_sweep():
        one, other = way.pair()
        with other:
            connection = await way.open(one)
            with anyio.fail_after(PATIENCE):
                transport = await attempt.run(over(connection))
            if transport is not None:
                await end(transport)
            with anyio.fail_after(PATIENCE):
                await anyio.wait_readable(other)
            assert other.recv(1) == b"", attempt
