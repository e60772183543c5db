"""From an address, or a stream, to a transport: `anyio_ws.transports.dial`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
import pytest
import trio
import trio.testing
import trustme
from anyio.abc import SocketAttribute
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from anyio_ws.testing import cancel_sweep, memory_stream_pair
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial, wrap

from .kinds import PATIENCE, TLS, Recorder, assert_closed, listening

Behaviour = Callable[[anyio.abc.ByteStream], Coroutine[Any, Any, None]]
"""What the other end does with its stream during the handshake."""


async def hang_up(stream: anyio.abc.ByteStream) -> None:
    await stream.receive()
    await stream.aclose()


async def answer_in_plain_text(stream: anyio.abc.ByteStream) -> None:
    await stream.receive()
    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def say_nothing(stream: anyio.abc.ByteStream) -> None:
    await anyio.sleep_forever()


def speak_tls(context: ssl.SSLContext) -> Behaviour:
    async def speak(stream: anyio.abc.ByteStream) -> None:
        with suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
            await TLSStream.wrap(stream, server_side=True, ssl_context=context)

    return speak


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[int]:
    """Serve one connection after the other on a port of this machine."""

    async def serve(accept: Callable[[], Awaitable[anyio.abc.SocketStream]]) -> None:
        while True:
            async with await accept() as stream:
                await behaviour(stream)

    async with listening() as (port, accept), anyio.create_task_group() as tasks:
        tasks.start_soon(serve, accept)
        yield port
        tasks.cancel_scope.cancel()


async def end(transport: Transport) -> None:
    transport.start(Recorder(transport))
    transport.abort()
    await transport.run()


class TestDialling:
    async def test_a_listening_port_is_reached(self) -> None:
        async with server(say_nothing) as port:
            transport = await dial("127.0.0.1", port)
            address = transport.extra_attributes[SocketAttribute.remote_address]()
            assert address == ("127.0.0.1", port)
            await end(transport)

    async def test_small_writes_are_not_held_back_by_the_kernel(self) -> None:
        async with server(say_nothing) as port:
            transport = await dial("127.0.0.1", port)
            raw = transport.extra_attributes[SocketAttribute.raw_socket]()
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await end(transport)

    async def test_a_port_where_nobody_listens_is_an_os_error(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # and doesn't listen
            with pytest.raises(OSError, match=r"[Cc]onnect"):
                await dial("127.0.0.1", bound.getsockname()[1])

    @pytest.mark.parametrize("host", ["", "a" * 64 + ".example", "b\u00fccher..de"])
    async def test_a_host_that_cannot_be_one_is_an_os_error(self, host: str) -> None:
        with pytest.raises(OSError, match=r".") as caught:
            await dial(host, 80)
        assert not isinstance(caught.value, ssl.SSLError)

    async def test_tls_is_started_and_the_name_is_that_of_the_host(self, tls: TLS) -> None:
        async with server(speak_tls(tls.server)) as port:
            await end(await dial("127.0.0.1", port, context=tls.client))

    async def test_the_certificate_can_be_checked_against_another_name(self, tls: TLS) -> None:
        async with server(speak_tls(tls.server)) as port:
            await end(
                await dial("127.0.0.1", port, context=tls.client, server_hostname="localhost")
            )
            with pytest.raises(ssl.SSLCertVerificationError, match="example"):
                await dial("127.0.0.1", port, context=tls.client, server_hostname="www.example.org")

    async def test_cancelled_wherever_it_waits_it_leaves_nothing_open(self, tls: TLS) -> None:
        async with server(speak_tls(tls.server)) as port:
            for attempt in cancel_sweep():
                with anyio.fail_after(PATIENCE):
                    transport = await attempt.run(dial("127.0.0.1", port, context=tls.client))
                if transport is not None:
                    await end(transport)


@dataclass(frozen=True)
class Way:
    """A kind of stream to start TLS on: what is wrapped, what is then closed, and the other end."""

    name: str
    backends: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    async def open(self) -> tuple[Any, list[Any], anyio.abc.ByteStream]:
        if self.name == "stream":
            ours, theirs = memory_stream_pair()
            return ours, [ours], theirs
        if self.name == "pair":
            (receive, far_send), (send, far_receive) = memory_stream_pair(), memory_stream_pair()
            far = StapledByteStream(far_send, far_receive)
            return (receive, send), [receive, send], far
        if self.name == "trio_stream":
            near, other = trio.testing.memory_stream_pair()
            return near, [near], _AsAnyIO(other)
        far_out, near_in = trio.testing.memory_stream_one_way_pair()
        near_out, far_in = trio.testing.memory_stream_one_way_pair()
        return (
            (near_in, near_out),
            [near_in, near_out],
            _AsAnyIO(trio.StapledStream(far_out, far_in)),
        )


class _AsAnyIO(anyio.abc.ByteStream):
    """A trio stream for a behaviour."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = bytes(await self.stream.receive_some(max_bytes))
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self.stream.send_all(item)
        except trio.BrokenResourceError as exc:
            raise anyio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self.stream.aclose()


EVERYWHERE = ("asyncio", "uvloop", "trio")
every_way = pytest.mark.parametrize(
    "way",
    [
        Way("stream", EVERYWHERE),
        Way("pair", EVERYWHERE),
        Way("trio_stream", ("trio",)),
        Way("trio_pair", ("trio",)),
    ],
    ids=str,
)


class TestTLSFailures:
    """Each closes the stream, and says what was wrong."""

    @staticmethod
    async def fail(
        way: Way,
        behaviour: Behaviour,
        error: type[BaseException],
        match: str,
        context: ssl.SSLContext,
        hostname: str | None = "localhost",
    ) -> None:
        stream, ends, far = await way.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(behaviour, far)
            with anyio.fail_after(PATIENCE), pytest.raises(error, match=match):
                await wrap(stream, context, server_side=False, hostname=hostname)
            tasks.cancel_scope.cancel()
        for one in ends:
            await assert_closed(one)

    @every_way
    async def test_an_unknown_authority(self, way: Way, tls: TLS) -> None:
        await self.fail(
            way,
            speak_tls(tls.server),
            ssl.SSLCertVerificationError,
            "unable to get local issuer|self.signed",
            ssl.create_default_context(),
        )

    @every_way
    async def test_a_certificate_for_another_host(self, way: Way, tls: TLS) -> None:
        behaviour, error = speak_tls(tls.server), ssl.SSLCertVerificationError
        await self.fail(way, behaviour, error, "example.org", tls.client, "example.org")

    @every_way
    async def test_a_peer_that_does_not_speak_tls(self, way: Way, tls: TLS) -> None:
        await self.fail(
            way, answer_in_plain_text, ssl.SSLError, "(?i)wrong.version|record", tls.client
        )

    @every_way
    async def test_a_peer_that_hangs_up(self, way: Way, tls: TLS) -> None:
        await self.fail(way, hang_up, OSError, "(?i)eof|handshake", tls.client)

    @every_way
    async def test_a_name_that_is_missing(self, way: Way, tls: TLS) -> None:
        await self.fail(way, say_nothing, ValueError, "hostname", tls.client, None)

    @every_way
    async def test_a_client_that_does_not_speak_tls(self, way: Way, tls: TLS) -> None:
        stream, ends, far = await way.open()
        await far.send(b"GET / HTTP/1.1\r\n\r\n")
        with anyio.fail_after(PATIENCE), pytest.raises(ssl.SSLError, match=r"(?i)http.request"):
            await wrap(stream, tls.server, server_side=True)
        for one in ends:
            await assert_closed(one)

    @every_way
    async def test_a_client_that_distrusts_us(
        self, way: Way, tls: TLS, client_ssl_context: ssl.SSLContext
    ) -> None:
        async def distrust(stream: anyio.abc.ByteStream) -> None:
            with pytest.raises(ssl.SSLCertVerificationError):
                await TLSStream.wrap(
                    stream, hostname="localhost", ssl_context=ssl.create_default_context()
                )
            await anyio.aclose_forcefully(stream)
            if isinstance(stream, StapledByteStream):
                await stream.send_stream.aclose()

        stream, ends, far = await way.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(distrust, far)
            with anyio.fail_after(PATIENCE), pytest.raises(OSError, match=r"."):
                await wrap(stream, tls.server, server_side=True)
        for one in ends:
            await assert_closed(one)

    @every_way
    async def test_cancelled_wherever_it_waits_the_stream_is_closed(
        self, way: Way, tls: TLS
    ) -> None:
        for attempt in cancel_sweep():
            stream, ends, far = await way.open()
            transport: Transport | None = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speak_tls(tls.server), far)
                with anyio.fail_after(PATIENCE):
                    transport = await attempt.run(
                        wrap(stream, tls.client, server_side=False, hostname="localhost")
                    )
                tasks.cancel_scope.cancel()
            if transport is not None:
                await end(transport)
            elif attempt.suspension or attempt.native:  # otherwise it never began
                for one in ends:
                    await assert_closed(one)
            else:
                for one in ends:
                    await one.aclose()

    async def test_a_reset_during_the_handshake_over_tcp(self, tls: TLS) -> None:
        async def reset(stream: anyio.abc.ByteStream) -> None:
            await stream.receive()
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await anyio.aclose_forcefully(stream)

        async with server(reset) as port:
            with anyio.fail_after(PATIENCE), pytest.raises(OSError, match=r"(?i)reset|handshake"):
                await dial("127.0.0.1", port, context=tls.client)


class TestWrapping:
    async def test_without_a_context_nothing_is_started(self) -> None:
        ours, theirs = memory_stream_pair()
        transport = await wrap(ours, None, server_side=False)
        transport.write(b"plain")
        transport.start(Recorder(transport))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            assert await theirs.receive() == b"plain"
            transport.abort()

    async def test_something_else_than_a_stream_is_a_type_error(self, tls: TLS) -> None:
        for context in (None, tls.client):
            with pytest.raises(TypeError, match="byte stream of AnyIO or trio"):
                await wrap(object(), context, server_side=False)  # type: ignore[arg-type]  # on purpose

    async def test_a_stream_that_has_tls_is_not_given_it_again(
        self, tls: TLS, ca: trustme.CA
    ) -> None:
        ours, theirs = memory_stream_pair()
        secure: TLSStream | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak_tls(tls.server), theirs)
            secure = await TLSStream.wrap(ours, hostname="localhost", ssl_context=tls.client)
        assert secure is not None
        await end(await wrap(secure, tls.client, server_side=False, hostname="localhost"))
        await assert_closed(ours)
