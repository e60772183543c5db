"""Members of `anyio_ws.mux` that aren't connections: object streams, and connections that come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import anyio
import pytest
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from anyio_ws import ConnectError, WebSocket, mux, open_server, open_websocket

from .feeds import PATIENCE, feed, settle

Send: TypeAlias = MemoryObjectSendStream[int]
Receive: TypeAlias = MemoryObjectReceiveStream[int]


def streams(buffer: float = 10) -> tuple[Send, Receive]:
    send, receive = anyio.create_memory_object_stream[int](buffer)
    return send, receive


class TestStreams:
    async def test_they_are_merged_in_order_and_end_quietly(self) -> None:
        one_in, one = streams()
        two_in, two = streams()
        received = []
        with one, two:
            async with mux(one, two, on_disconnect="drop") as merged:
                with one_in, two_in:
                    for number in range(10):
                        one_in.send_nowait(number)
                        two_in.send_nowait(number)
                with anyio.fail_after(PATIENCE):
                    async for pair in merged:
                        received.append(pair)
            for stream in (one, two):
                mine = [number for which, number in received if which is stream]
                assert mine == list(range(10))
            assert merged.undelivered == []

    async def test_beside_a_connection(self) -> None:
        send, stream = streams()
        async with feed() as one:
            with send, stream:
                async with mux(one.ws, stream) as merged:
                    await one.send("a")
                    assert await merged.receive() == (one.ws, "a")
                    send.send_nowait(1)
                    assert await merged.receive() == (stream, 1)

    async def test_no_more_than_one_item_is_received_ahead_and_it_is_handed_over_at_the_end(
        self,
    ) -> None:
        send, stream = streams()
        with send, stream:
            async with mux(stream) as merged:
                for number in range(5):
                    send.send_nowait(number)
                await settle()
                assert stream.statistics().current_buffer_used == 4
                assert await merged.receive() == (stream, 0)
                await settle()
                assert stream.statistics().current_buffer_used == 3
            assert merged.undelivered == [(stream, 1)]
            assert stream.receive_nowait() == 2

    async def test_the_first_that_ends_ends_the_mux_after_what_had_arrived(self) -> None:
        one_in, one = streams()
        two_in, two = streams()
        with one_in, one, two_in, two:
            async with mux(one, two) as merged:
                one_in.send_nowait(1)
                await settle()
                two_in.close()
                await settle()
                assert merged.first_to_disconnect is two
                assert isinstance(merged.closed_exc, anyio.EndOfStream)
                assert await merged.receive() == (one, 1)
                one_in.send_nowait(2)
                await settle()
                for _ in range(2):
                    with pytest.raises(anyio.EndOfStream):
                        await merged.receive()
            assert merged.undelivered == [(one, 2)]

    async def test_one_that_breaks_cancels_the_block_if_it_is_to(self) -> None:
        class Broken(ObjectReceiveStream[int]):
            async def receive(self) -> int:
                await settle()
                raise anyio.BrokenResourceError

            async def aclose(self) -> None: ...

        with pytest.raises(anyio.BrokenResourceError):
            async with mux(Broken(), on_disconnect="cancel"):
                await anyio.sleep_forever()

    async def test_an_error_that_is_no_end_comes_out_of_the_block_as_that_very_object(self) -> None:
        error = LookupError("mine")

        class Failing(ObjectReceiveStream[int]):
            async def receive(self) -> int:
                await settle()
                raise error

            async def aclose(self) -> None: ...

        async def run() -> None:
            async with mux(Failing(), on_disconnect="drop") as merged:
                async for _ in merged:
                    pass

        with pytest.raises(LookupError) as caught:
            await run()
        assert caught.value is error
        assert error.__context__ is None

    async def test_one_that_is_discarded_is_free_soon_and_what_was_received_is_delivered(
        self,
    ) -> None:
        send, stream = streams()
        other_in, other = streams()
        with send, stream, other_in, other:
            async with mux(stream, other) as merged:
                for number in range(3):
                    send.send_nowait(number)
                await settle()
                merged.discard(stream)
                assert await merged.receive() == (stream, 0)
                await settle()
                assert stream.statistics().tasks_waiting_receive == 0
                assert await stream.receive() == 1
                with pytest.raises(anyio.WouldBlock):
                    merged.receive_nowait()
                merged.add(stream)
                assert await merged.receive() == (stream, 2)

    async def test_what_one_gives_though_it_is_cancelled_is_kept(self) -> None:
        class Late(ObjectReceiveStream[int]):
            async def receive(self) -> int:
                began.set()
                with anyio.CancelScope(shield=True):
                    await settle()
                return 7

            async def aclose(self) -> None: ...

        late, began = Late(), anyio.Event()
        async with mux(late) as merged:
            await began.wait()
        assert merged.undelivered == [(late, 7)]

    async def test_one_that_comes_back_at_once_is_received_from_by_one_task(self) -> None:
        class Guarded(ObjectReceiveStream[int]):
            def __init__(self) -> None:
                self.guard = anyio.ResourceGuard("receiving from")

            async def receive(self) -> int:
                with self.guard:
                    return await stream.receive()

            async def aclose(self) -> None: ...

        send, stream = streams()
        with send, stream:
            guarded = Guarded()
            async with mux(guarded) as merged:
                for number in range(20):
                    if number % 2:
                        await settle()
                    for _ in range(number % 4):
                        merged.discard(guarded)
                        merged.add(guarded)
                    send.send_nowait(number)
                    with anyio.fail_after(PATIENCE):
                        assert await merged.receive() == (guarded, number)

    async def test_a_source_may_bring_them(self) -> None:
        send, stream = streams()

        async def source() -> AsyncIterator[ObjectReceiveStream[int]]:
            yield stream

        with send, stream:
            async with mux(source=source()) as merged:
                send.send_nowait(1)
                assert await merged.receive() == (stream, 1)

    async def test_leaving_cancels_nothing_but_their_tasks(self) -> None:
        send, stream = streams()
        with send, stream:
            for _ in range(3):
                async with mux(stream):
                    await settle()
                    assert stream.statistics().tasks_waiting_receive == 1
                assert stream.statistics().tasks_waiting_receive == 0
                await settle()


class Attempts(AsyncIterator[AbstractAsyncContextManager[WebSocket]]):
    """Connects again and again; as `anyio_ws.reconnecting_websocket` with a policy that has no patience."""

    def __init__(self, url: str, number: int, end: Exception | None = None) -> None:
        self.url = url
        self.left = number
        self.end = end

    async def __anext__(self) -> AbstractAsyncContextManager[WebSocket]:
        if not self.left:
            raise self.end or StopAsyncIteration
        self.left -= 1
        return open_websocket(self.url)


async def three_numbers(ws: WebSocket) -> None:
    for number in "123":
        await ws.send(number)


class TestSessions:
    async def test_it_is_one_member_and_gives_the_messages_of_all_its_connections(self) -> None:
        async with open_server(three_numbers, "127.0.0.1", 0) as server:
            session = Attempts(server.url, 3)
            with anyio.fail_after(PATIENCE):
                async with mux(session) as merged:
                    pairs = [pair async for pair in merged]
                    assert merged.first_to_disconnect is pairs[-1][0]
                    assert merged.statistics().taken_from == {session: 9}
            assert [message for _, message in pairs] == [*"123123123"]
            assert len({ws for ws, _ in pairs}) == 3
            assert all(ws.close_code == 1000 for ws, _ in pairs)

    async def test_the_present_connection_can_be_sent_to(self) -> None:
        async def echo(ws: WebSocket) -> None:
            await ws.send("hello")
            await ws.send(await ws.receive())

        async with open_server(echo, "127.0.0.1", 0) as server:
            async with mux(Attempts(server.url, 2), on_disconnect="drop") as merged:
                received = []
                async for ws, message in merged:
                    received.append(message)
                    if message == "hello":
                        await ws.send(f"you, too, {len(received)}")
        assert received == ["hello", "you, too, 1", "hello", "you, too, 3"]

    async def test_what_it_gives_up_with_is_told(self) -> None:
        error = ConnectError("nobody there")
        told: list[object] = []

        def dropped(session: object, exc: Exception) -> None:
            told.append((session, exc))

        async with open_server(three_numbers, "127.0.0.1", 0) as server:
            session = Attempts(server.url, 1, error)
            async with mux(session, on_disconnect="drop", on_drop=dropped) as merged:
                assert [message async for _, message in merged] == [*"123"]
            assert told == [(session, error)]

            async def run() -> None:
                async with mux(Attempts(server.url, 1, error)) as merged:
                    async for _ in merged:
                        pass

            with pytest.raises(ConnectError) as caught:
                await run()
            assert caught.value is error

    async def test_another_error_comes_out_of_the_block_as_that_very_object(self) -> None:
        error = LookupError("a bug")

        async def run() -> None:
            async with mux(Attempts("ws://localhost", 0, error)) as merged:
                await merged.receive()

        with pytest.raises(LookupError) as caught:
            await run()
        assert caught.value is error

    @pytest.mark.parametrize("how", ["leave", "discard"])
    async def test_its_connection_is_closed_in_the_end_and_its_messages_are_kept(
        self, how: str
    ) -> None:
        codes: list[int | None] = []

        async def serve(ws: WebSocket) -> None:
            await three_numbers(ws)
            await ws.wait_closed()
            codes.append(ws.close_code)

        rest: list[tuple[WebSocket, str | bytes]] = []
        async with open_server(serve, "127.0.0.1", 0) as server:
            session = Attempts(server.url, 3)
            async with feed() as other, mux(session, other.ws) as merged:
                ws, first = await merged.receive()
                while merged.statistics().ready == 0 or ws.statistics().messages_received < 3:
                    await settle()
                if how == "discard":
                    merged.discard(session)
                    rest = [await merged.receive() for _ in range(2)]
                    await ws.wait_closed()
                    assert other.ws in merged.members
            if how == "leave":
                rest = merged.undelivered
            assert [first, *(message for _, message in rest)] == [*"123"]
            assert {one for one, _ in rest} == {ws}
            with anyio.fail_after(PATIENCE):
                await server.shutdown(grace=PATIENCE)
        assert codes == [1001]
