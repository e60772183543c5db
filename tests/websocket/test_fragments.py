"""Messages in fragments: sent from iterables, received as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import anyio
import pytest

from anyio_ws import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, State, WebSocket

from ..sansio.helpers import BINARY, CLOSE, CONT, TEXT, close, more, ping, text
from .helpers import connected, server_and_peer, settle


class Source:
    """An asynchronous iterable that gives its items one by one, when it is told to."""

    def __init__(self, *items: object) -> None:
        self._items = iter(items)
        self._allowed = anyio.Semaphore(0)

    def give(self, number: int = 1) -> None:
        for _ in range(number):
            self._allowed.release()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        await self._allowed.acquire()
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            return item
        raise StopAsyncIteration


# -- sending


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        (["zwölf ", "", "Boxkämpfer"], "zwölf Boxkämpfer"),
        ((b"a", bytearray(b"b"), memoryview(b"c")), b"abc"),
        (["only one"], "only one"),
        ([""], ""),
        ([b""], b""),
    ],
    ids=["text", "binary", "one", "empty text", "empty binary"],
)
async def test_an_iterable_is_sent_as_one_message(
    fragments: Iterable[str] | Iterable[bytes], message: str | bytes
) -> None:
    async with connected() as (client, server):
        for iterable in (fragments, iter(fragments)):
            await client.send(iterable)  # type: ignore[arg-type]  # of str or of bytes, not of either
            received = await server.receive()
            assert received == message
            assert type(received) is type(message)


async def test_an_asynchronous_iterable_is_sent_fragment_by_fragment() -> None:
    source = Source("one", "two")
    async with server_and_peer() as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, source)
            source.give()
            assert await peer.receive() == text("one", fin=False)
            source.give()
            assert await peer.receive() == more("two", fin=False)
            source.give()
            assert await peer.receive() == more("", fin=True)


async def test_an_empty_iterable_sends_nothing() -> None:
    async with server_and_peer() as (ws, peer):
        source = Source()
        source.give()
        await ws.send([])
        await ws.send(iter(()))
        await ws.send(source)
        await ws.send("something")
        assert await peer.receive() == text("something")


@pytest.mark.parametrize("mapping", [{}, {"a": "b"}, {b"a": 1}])
async def test_a_mapping_is_refused(mapping: dict[str, str]) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(TypeError, match="mapping"):
            await ws.send(mapping)
        await ws.send("fine")
        assert await peer.receive() == text("fine")


@pytest.mark.parametrize("items", [[1], [None, "a"], ["a".encode, "b"]])
async def test_a_first_fragment_of_no_type_that_can_be_sent_is_refused_and_harms_nothing(
    items: list[object],
) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(TypeError, match="expected"):
            await ws.send(items)  # type: ignore[arg-type]  # that is the point
        await ws.send("fine")
        assert await peer.receive() == text("fine")


async def test_other_messages_wait_for_the_last_fragment_and_pings_do_not() -> None:
    source = Source(b"1", b"2")
    async with server_and_peer() as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, source)
            source.give()
            await settle()
            tasks.start_soon(ws.send, "after")
            await settle()  # trio starts tasks in any order
            tasks.start_soon(ws.send, ["in ", "parts"])
            await settle()
            with pytest.raises(anyio.WouldBlock):
                ws.send_nowait("neither")
            await ws.send_ping(b"passes")
            source.give(2)
            frames = [await peer.receive() for _ in range(8)]
            assert [frame.opcode for frame in frames] == [
                *(BINARY, ping().opcode, CONT, CONT),
                *(TEXT, TEXT, CONT, CONT),
            ]
            assert frames[4] == text("after")


async def test_the_peer_hears_of_a_message_in_fragments_while_its_sender_is_slow() -> None:
    source = Source("a", "b")
    async with connected() as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, source)
            source.give()
            await settle()
            await server.send("meanwhile")
            assert await client.receive() == "meanwhile"
            source.give(2)
            assert await server.receive() == "ab"


async def expect_cut_short(ws: WebSocket, other: WebSocket) -> None:
    with pytest.raises(ConnectionClosedError) as caught:
        await other.receive()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    with pytest.raises(ConnectionClosedError):
        await ws.send("impossible now")


@pytest.mark.parametrize("items", [("text", b"binary"), (b"binary", "text"), ("text", 5)])
async def test_fragments_of_another_type_fail_the_connection(items: tuple[str, object]) -> None:
    async with connected() as (client, server):
        with pytest.raises(TypeError):
            await client.send(items)  # type: ignore[arg-type]  # that is the point
        await expect_cut_short(client, server)


async def test_what_the_iterable_raises_comes_out_and_fails_the_connection() -> None:
    error = LookupError("of the iterable")
    source = Source("one", error)
    source.give(2)
    async with connected() as (client, server):
        with pytest.raises(LookupError) as caught:
            await client.send(source)
        assert caught.value is error
        await expect_cut_short(client, server)


async def test_what_the_iterable_raises_before_the_first_fragment_harms_nothing() -> None:
    source = Source(LookupError("at once"))
    source.give()
    async with connected() as (client, server):
        with pytest.raises(LookupError):
            await client.send(source)
        await client.send("fine")
        assert await server.receive() == "fine"


async def test_whoever_waits_behind_a_message_that_failed_is_told() -> None:
    source = Source("one", LookupError())
    ended: list[str] = []
    async with connected() as (client, _):

        async def send_source() -> None:
            with pytest.raises(LookupError):
                await client.send(source)

        async def send_after() -> None:
            with pytest.raises(ConnectionClosed):
                await client.send("after")
            ended.append("after")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_source)
            source.give()
            await settle()
            tasks.start_soon(send_after)
            await settle()
            source.give()
    assert ended == ["after"]


async def test_closing_ends_a_message_that_is_being_sent_in_fragments() -> None:
    source = Source("one", "two")
    async with connected() as (client, server):

        async def send_source() -> None:
            with pytest.raises(ConnectionClosedOK):
                await client.send(source)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_source)
            source.give()
            await settle()
            await client.aclose(1000)
            source.give()
        assert (server.close_code, client.close_code) == (1000, 1000)


async def test_fragments_wait_for_room_as_messages_do() -> None:
    asked: list[int] = []

    def source() -> Iterator[bytes]:
        for number in range(100):
            asked.append(number)
            yield b"x" * 100

    async with server_and_peer(buffer=200, write_limit=1000) as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, source())
            await settle()
            assert len(asked) < 20
            size = 0
            while not (frame := await peer.receive()).fin:
                size += len(frame.payload)
            assert (size, len(asked)) == (10_000, 100)


# -- receiving


async def test_fragments_are_received_as_they_arrive() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.receive_fragments() as parts:
            for number in "123":
                await peer.send((text if number == "1" else more)(number, fin=False), ping())
                assert await anext(parts) == number
            await peer.send(more("4", fin=True), text("the next message"))
            assert [part async for part in parts] == ["4"]
            assert [part async for part in parts] == []
        assert await ws.receive() == "the next message"


@pytest.mark.parametrize("message", ["text", b"binary", ""])
async def test_a_message_in_one_frame_is_one_fragment(message: str | bytes) -> None:
    async with connected() as (client, server):
        await client.send(message)
        async with server.receive_fragments() as parts:
            assert [part async for part in parts] == [message]


async def test_leaving_early_discards_the_rest_of_the_message_and_does_not_wait_for_it() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1", fin=False), more("2", fin=False))
        async with ws.receive_fragments() as parts:
            async for part in parts:
                assert part == "1"
                break
        await peer.send(more("3", fin=False), text("inside")._replace(opcode=CONT), text("next"))
        assert await ws.receive() == "next"


async def test_leaving_early_discards_a_message_that_has_arrived() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1", fin=False), more("2", fin=True), text("next"))
        async with ws.receive_fragments() as parts:
            async for _ in parts:
                break
        assert await ws.receive() == "next"


async def test_leaving_before_the_first_fragment_discards_nothing() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1", fin=False), more("2", fin=True))
        async with ws.receive_fragments():
            pass
        assert await ws.receive() == "12"


async def test_receiving_is_taken_over_while_the_block_lasts() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.receive_fragments() as parts:
            with pytest.raises(anyio.BusyResourceError):
                await ws.receive()
            with pytest.raises(anyio.BusyResourceError):
                async with ws.receive_fragments():
                    pass
            await peer.send(text("for the block"))
            assert [part async for part in parts] == ["for the block"]


async def test_a_message_that_never_ends_because_the_peer_closed_raises_even_if_normally() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1", fin=False), close(1000))
        async with ws.receive_fragments() as parts:
            assert await anext(parts) == "1"
            with pytest.raises(ConnectionClosedOK):
                await anext(parts)
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


async def test_the_fragments_before_a_violation_are_received_first() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1", fin=False), more(b"\xff", fin=True))
        async with ws.receive_fragments() as parts:
            assert await anext(parts) == "1"
            with pytest.raises(ConnectionClosedError, match="1007"):
                await anext(parts)
        assert ws.state is State.CLOSING
        assert (await peer.receive()).opcode == CLOSE


async def test_a_message_of_many_tiny_fragments_arrives_whole() -> None:
    async with server_and_peer() as (ws, peer):
        data = bytes(range(256)) * 20
        for index in range(0, len(data), 2):
            pair = data[index : index + 2]
            frame = more("", fin=False)._replace(payload=pair)
            await peer.send(frame if index else frame._replace(opcode=BINARY))
        await peer.send(more("", fin=True))
        assert await ws.receive() == data


async def test_a_block_left_by_aclose_is_left_in_order() -> None:
    async with connected() as (client, server):
        source = Source("1", "2")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_closed_while_sending, server, source)
            source.give()
            async with client.receive_fragments() as parts:
                assert await anext(parts) == "1"
                await client.aclose()
                source.give()
        with pytest.raises(ConnectionClosedOK):
            await client.receive()


async def expect_closed_while_sending(ws: WebSocket, source: Source) -> None:
    with pytest.raises(ConnectionClosed):
        await ws.send(source)


async def test_a_very_long_fragment_is_cut_into_frames() -> None:
    async with server_and_peer() as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, [bytes(2**20 + 1), b"end"])
            frames = [await peer.receive() for _ in range(4)]
            assert [(frame.opcode, len(frame.payload), frame.fin) for frame in frames] == [
                (BINARY, 2**20, False),
                (CONT, 1, False),
                (CONT, 3, False),
                (CONT, 0, True),
            ]
