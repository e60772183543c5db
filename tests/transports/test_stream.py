"""What is particular to the transport over a stream: `anyio_ws.transports.stream`."""

from __future__ import annotations

from typing import Any, cast

import anyio
import anyio.abc
import pytest
import trio
import trio.testing
from anyio.streams.tls import TLSAttribute, TLSStream

from anyio_ws.testing import MemoryByteStream, memory_stream_pair
from anyio_ws.transports.stream import LINGER, StreamTransport, close_forcefully, join

from .kinds import PATIENCE, TLS, assert_closed
from .recorder import Recorder, Watched, settle


class TestWhenWritingFails:
    """What the peer had sent may still be readable."""

    @staticmethod
    def one_way_left() -> tuple[Watched, Recorder, MemoryByteStream]:
        """A transport that can't write, and what its peer sends with."""
        receive, far_send = memory_stream_pair()
        send, far_receive = memory_stream_pair()
        far_receive.reset()
        transport = Watched(StreamTransport((receive, send)), half_closes=True)
        transport.start(transport.recorder)
        return transport, transport.recorder, far_send

    async def test_reading_goes_on_for_a_while(self, virtual_time: None) -> None:
        transport, sink, far = self.one_way_left()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            transport.write(b"x")
            await anyio.sleep(LINGER / 2)
            await far.send(b"why I left")
            await sink.until(lambda: sink.lost)
        assert anyio.current_time() == start + LINGER
        assert sink.received == b"why I left"
        assert sink.calls == ["output_lost", "data", "lost"]
        assert isinstance(sink.cause, anyio.BrokenResourceError)
        assert sink.output_cause is sink.cause

    async def test_the_end_of_the_input_is_then_the_end(self, virtual_time: None) -> None:
        transport, sink, far = self.one_way_left()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            transport.write(b"x")
            await settle()
            await far.send(b"why I left")
            await far.send_eof()
        assert anyio.current_time() == start
        assert sink.calls == ["output_lost", "data", "lost"]
        assert isinstance(sink.cause, anyio.BrokenResourceError)

    async def test_while_reading_is_paused_it_waits(self, virtual_time: None) -> None:
        transport, sink, far = self.one_way_left()
        start = anyio.current_time()
        transport.pause_reading()
        transport.write(b"x")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            await far.send(b"why I left")
            await anyio.sleep(3600)
            assert sink.calls == ["output_lost"]
            transport.resume_reading()
            await sink.until(lambda: sink.lost)
        assert anyio.current_time() == start + 3600 + LINGER
        assert sink.received == b"why I left"
        assert isinstance(sink.cause, anyio.BrokenResourceError)

    async def test_a_pause_does_not_count(self, virtual_time: None) -> None:
        transport, sink, far = self.one_way_left()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            transport.write(b"x")
            for _ in range(3):
                await anyio.sleep(LINGER / 4)
                transport.pause_reading()
                await far.send(b"x")
                await anyio.sleep(3600)
                transport.resume_reading()
            await sink.until(lambda: sink.lost)
        assert anyio.current_time() == pytest.approx(start + 3 * 3600 + LINGER)
        assert sink.received == b"xxx"
        assert sink.complaints == []

    async def test_after_the_end_of_the_input_that_is_the_end(self, virtual_time: None) -> None:
        transport, sink, far = self.one_way_left()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            await far.send_eof()
            await sink.until(lambda: "eof" in sink.calls)
            transport.write(b"x")
        assert anyio.current_time() == start
        assert isinstance(sink.cause, anyio.BrokenResourceError)


class _Wrapper(anyio.abc.ByteStream):
    """A stream of a user's own, around another."""

    def __init__(self, inner: MemoryByteStream) -> None:
        self.inner = inner

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.inner.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.inner.send(item)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


class _CannotHalfClose(_Wrapper):
    async def send_eof(self) -> None:
        raise NotImplementedError("as AnyIO's TLS")


class _CannotClose(_Wrapper):
    async def aclose(self) -> None:
        raise OSError("can't close")


class TestStreamsOfAUser:
    async def test_one_that_says_it_cannot_half_close_is_closed(self) -> None:
        ours, theirs = memory_stream_pair()
        transport = StreamTransport(_CannotHalfClose(ours))
        sink = Recorder(transport)
        transport.start(sink)
        transport.write(b"bye")
        transport.write_eof()
        with anyio.fail_after(PATIENCE):
            await transport.run()
        assert await theirs.receive() == b"bye"
        with pytest.raises(anyio.EndOfStream):
            await theirs.receive()
        assert sink.cause is None
        await assert_closed(ours)

    async def test_what_closing_raises_is_the_cause_and_the_other_half_is_closed(self) -> None:
        for broken in (0, 1):
            (one, source), (other, far) = memory_stream_pair(), memory_stream_pair()
            halves = (one, other)
            receive, send = (
                _CannotClose(half) if index == broken else half for index, half in enumerate(halves)
            )
            transport = StreamTransport((receive, send))
            sink = Recorder(transport)
            transport.start(sink)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.run)
                await settle()
                far.reset()
                transport.write(b"x")
                await source.send_eof()
            assert sink.calls[-1] == "lost"
            assert isinstance(sink.cause, anyio.BrokenResourceError)  # the first
            await assert_closed(halves[1 - broken])

    async def test_what_closing_raises_after_an_abort_is_no_cause(self) -> None:
        ours, _ = memory_stream_pair()
        transport = StreamTransport(_CannotClose(ours))
        sink = Recorder(transport)
        transport.start(sink)
        transport.abort()
        await transport.run()
        assert sink.calls == ["lost"]
        assert sink.cause is None

    async def test_what_closing_raises_after_an_orderly_end_is_the_cause(self) -> None:
        ours, theirs = memory_stream_pair()
        transport = StreamTransport(_CannotClose(ours))
        sink = Recorder(transport)
        transport.start(sink)
        transport.write_eof()
        await theirs.send_eof()
        await transport.run()
        assert sink.calls == ["eof", "lost"]
        assert isinstance(sink.cause, OSError)

    @pytest.mark.parametrize("standard_compatible", [True, False])
    @pytest.mark.parametrize("first", ["we", "they"])
    async def test_tls_that_is_there_already_ends_in_order(
        self, tls: TLS, standard_compatible: bool, first: str
    ) -> None:
        near, far = memory_stream_pair(buffer=1000)
        streams: dict[bool, TLSStream] = {}

        async def start(stream: MemoryByteStream, server_side: bool) -> None:
            streams[server_side] = await TLSStream.wrap(
                stream,
                server_side=server_side,
                hostname=None if server_side else "localhost",
                ssl_context=tls.server if server_side else tls.client,
                standard_compatible=standard_compatible,
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start, near, False)
            tasks.start_soon(start, far, True)
        transport = StreamTransport(streams[False])
        assert transport.extra_attributes[TLSAttribute.tls_version]() == "TLSv1.3"
        sink = Recorder(transport)
        sink.on_eof = transport.write_eof
        transport.start(sink)
        peer = streams[True]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            transport.write(b"hello")
            assert await peer.receive() == b"hello"
            if first == "we":
                transport.write_eof()
                with pytest.raises(anyio.EndOfStream):
                    await peer.receive()
            await peer.aclose()
            await sink.until(lambda: sink.lost)
        assert sink.cause is None
        await assert_closed(near)

    async def test_closing_forcefully_closes_both_halves_even_if_cancelled(self) -> None:
        (receive, _), (send, _) = memory_stream_pair(), memory_stream_pair()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await close_forcefully(join((receive, send)))
        await assert_closed(receive)
        await assert_closed(send)


class _Duck:
    """Has the methods, and isn't a stream."""

    async def receive(self) -> bytes: ...  # type: ignore[empty-body]  # never called

    async def send(self, data: bytes) -> None: ...


class TestKindsOfStreams:
    @pytest.mark.parametrize(
        "thing",
        [
            None,
            b"bytes",
            object(),
            _Duck(),
            (),
            memory_stream_pair()[:1],
            memory_stream_pair() + memory_stream_pair(),
            (memory_stream_pair()[0], None),
            (memory_stream_pair()[0], trio.testing.memory_stream_one_way_pair()[0]),
            (_Duck(), _Duck()),
            list(memory_stream_pair()),
        ],
        ids=lambda thing: type(thing).__name__ + str(len(thing) if hasattr(thing, "len") else ""),
    )
    async def test_anything_else_is_a_type_error(self, thing: Any) -> None:
        with pytest.raises(TypeError, match="byte stream of AnyIO or trio"):
            StreamTransport(thing)

    async def test_a_pair_is_receive_first_then_send(self) -> None:
        one_way = trio.testing.memory_stream_one_way_pair()
        with pytest.raises(TypeError):
            StreamTransport(cast(Any, one_way))  # (send, receive)

    async def test_a_memory_stream_has_no_addresses(self) -> None:
        transport = StreamTransport(memory_stream_pair()[0])
        assert dict(transport.extra_attributes) == {}
