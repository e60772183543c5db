"""The tunnel of an HTTP proxy as a filter, while it is opened: `anyio_ws.transports.proxy`.

Once it is open, it is held to the contract like every other transport; see `kinds`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.streams.tls import TLSAttribute

from anyio_ws.exceptions import ProxyError
from anyio_ws.testing import MemoryByteStream, memory_stream_pair
from anyio_ws.transports.proxy import TunnelTransport
from anyio_ws.transports.stream import StreamTransport
from anyio_ws.transports.tls import TLSEngine, TLSTransport

from .kinds import PATIENCE, TLS, TellingOpening
from .recorder import settle
from .sinks import QuietSink

REQUEST = b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"
GRANTED = b"HTTP/1.1 200 OK\r\n\r\n"


@asynccontextmanager
async def opening() -> AsyncIterator[tuple[TunnelTransport, QuietSink, MemoryByteStream]]:
    """A tunnel that was asked for, its sink, and the proxy's end. By the end of the block it is over."""
    ours, theirs = memory_stream_pair()
    tunnel = TunnelTransport(StreamTransport(ours), TellingOpening(), "http://proxy.example:80")
    sink = QuietSink()
    tunnel.start(sink)
    async with theirs, anyio.create_task_group() as tasks:
        tasks.start_soon(tunnel.run)
        with anyio.fail_after(PATIENCE):
            request = b""
            while len(request) < len(REQUEST):
                request += await theirs.receive()
        assert request == REQUEST
        yield tunnel, sink, theirs
        await sink.until_lost()


@pytest.mark.parametrize("early", [b"x", b"HTTP/1.1 407 No\r\n\r\n", bytes(100_000)])
async def test_what_comes_with_the_answer_comes_out_of_the_tunnel(early: bytes) -> None:
    async with opening() as (tunnel, sink, proxy):
        await proxy.send(GRANTED + early)
        await sink.until_received(early)
        await proxy.send(b" and more")
        await sink.until_received(early + b" and more")
        tunnel.abort()
    assert sink.cause is None


async def test_while_reading_is_paused_the_answer_is_read_and_what_comes_with_it_is_kept() -> None:
    async with opening() as (tunnel, sink, proxy):
        tunnel.pause_reading()
        await proxy.send(GRANTED + b"early")
        await settle()
        await proxy.send(b" and late")
        await settle()
        assert sink.received == b""
        tunnel.write(b"hello")  # there is a tunnel
        with anyio.fail_after(PATIENCE):
            assert await proxy.receive() == b"hello"
        tunnel.resume_reading()
        await sink.until_received(b"early and late")
        tunnel.abort()


async def test_what_is_written_before_waits_for_the_tunnel() -> None:
    async with opening() as (tunnel, sink, proxy):
        tunnel.write(b"first, ")
        tunnel.write(b"second, ", b"third")
        tunnel.write_eof()
        tunnel.write(b"too late")
        assert tunnel.unsent == 20
        received = bytearray()

        async def receive() -> None:
            async for chunk in proxy:
                received.extend(chunk)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await settle()
                assert received == b""
                await proxy.send(GRANTED)
        assert received == b"first, second, third"
        assert tunnel.unsent == 0
        await proxy.aclose()
    assert sink.cause is None


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", b"\5\0", b""])
async def test_a_refusal_ends_the_connection_and_drops_what_waits(answer: bytes) -> None:
    async with opening() as (tunnel, sink, proxy):
        tunnel.write(b"hello")
        if answer:
            await proxy.send(answer + b"and more")
        else:
            await proxy.send_eof()
        await sink.until_lost()
        assert tunnel.unsent == 0
    assert isinstance(sink.cause, ProxyError)
    assert sink.received == b""


async def test_a_proxy_that_breaks_the_connection_is_the_cause() -> None:
    async with opening() as (_, sink, proxy):
        proxy.reset()
    assert isinstance(sink.cause, ProxyError)
    assert str(sink.cause).startswith("the proxy http://proxy.example:80 broke the connection")
    assert sink.cause.__cause__ is not None


async def test_it_can_be_aborted_before_there_is_a_tunnel() -> None:
    async with opening() as (tunnel, sink, _):
        tunnel.write(b"hello")
        tunnel.abort()
    assert sink.cause is None
    assert tunnel.unsent == 0


async def test_the_attributes_are_those_below_without_tls(tls: TLS) -> None:
    ours, theirs = memory_stream_pair()
    engine = TLSEngine(tls.client, server_side=False, hostname="localhost")
    below = TLSTransport(StreamTransport(ours), engine)
    tunnel = TunnelTransport(below, TellingOpening(), "https://proxy.example:443")
    assert TLSAttribute.tls_version in below.extra_attributes
    assert set(below.extra_attributes) - set(tunnel.extra_attributes) == {
        value for name, value in vars(TLSAttribute).items() if not name.startswith("_")
    }
    await ours.aclose()
    await theirs.aclose()
