"""Messages: sent, received, iterated over, without waiting."""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import ConnectionClosedError, ConnectionClosedOK, WebSocket, accept_websocket
from anyio_ws.sansio import Close
from anyio_ws.testing import memory_stream_pair

from ..sansio.helpers import BINARY, CLOSE, CONT, binary, close, more, ping, pong, text
from .helpers import REQUEST, connected, server_and_peer, settle

MESSAGES = ["hello", "", "zwölf Boxkämpfer 🥊", b"\x00\xff", b"", "x" * 70_000, b"y" * 2**20]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: repr(message[:5]))
async def test_a_message_arrives_as_it_was_sent_in_both_directions(message: str | bytes) -> None:
    async with connected() as (client, server):
        await client.send(message)
        received = await server.receive()
        assert received == message
        assert type(received) is type(message)
        await server.send(message)
        assert await client.receive() == message


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_bytes_like_objects_are_sent_as_binary_and_may_change_afterwards(
    kind: type[bytearray] | type[memoryview],
) -> None:
    buffer = bytearray(b"before")
    async with connected() as (client, server):
        await client.send(kind(buffer))
        buffer[:] = b"after!"
        assert await server.receive() == b"before"


async def test_messages_keep_their_order() -> None:
    async with connected() as (client, server):
        for number in range(200):
            await client.send(str(number))
        assert [await server.receive() for _ in range(200)] == [str(i) for i in range(200)]


async def test_a_connection_works_however_the_bytes_are_cut() -> None:
    async with connected(chunk=1) as (client, server):
        await client.send("zwölf")
        assert await server.receive() == "zwölf"
        await server.send([b"a", b"b"])
        assert await client.receive() == b"ab"


async def test_a_connection_works_in_lock_step() -> None:
    async with connected(buffer=0) as (client, server):
        await client.send("there")
        assert await server.receive() == "there"
        await server.send("and back")
        assert await client.receive() == "and back"


@pytest.mark.parametrize("item", [1, None, 1.5, object()])
async def test_what_is_no_message_is_refused_and_harms_nothing(item: object) -> None:
    async with connected() as (client, server):
        with pytest.raises(TypeError, match=type(item).__name__):
            await client.send(item)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match=type(item).__name__):
            client.send_nowait(item)  # type: ignore[arg-type]
        await client.send("fine")
        assert await server.receive() == "fine"


# -- iterating


@pytest.mark.parametrize("code", [1000, 1001])
async def test_iterating_ends_quietly_when_the_peer_closes_normally(code: int) -> None:
    async with connected() as (client, server):
        await server.send("one")
        await server.send("two")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.aclose, code)
            assert [message async for message in client] == ["one", "two"]


async def test_iterating_ends_quietly_when_the_peer_closes_without_a_code() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("one"), close())
        assert [message async for message in ws] == ["one"]
        assert ws.close_code == 1005


async def test_iterating_ends_quietly_when_this_side_closes() -> None:
    async with connected() as (client, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            assert [message async for message in client] == []


async def test_iterating_raises_when_the_connection_ends_badly_after_what_arrived() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("one"), close(1011, "oh dear"))
        messages = aiter(ws)
        assert await anext(messages) == "one"
        with pytest.raises(ConnectionClosedError, match="oh dear"):
            await anext(messages)


# -- without waiting


async def test_receive_nowait_takes_what_is_there() -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()
        await peer.send(text("one"), binary(b"two"), close(1000))
        await settle()
        assert ws.receive_nowait() == "one"
        assert ws.receive_nowait() == b"two"
        with pytest.raises(ConnectionClosedOK):
            ws.receive_nowait()


async def test_receive_nowait_does_not_take_half_a_message() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("ha", fin=False))
        await settle()
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()
        await peer.send(more("lf", fin=True))
        await settle()
        assert ws.receive_nowait() == "half"


def fill(ws: WebSocket, message: bytes) -> int:
    """Send without waiting as often as possible; return how often that was."""
    for number in range(10_000):
        try:
            ws.send_nowait(message)
        except anyio.WouldBlock:
            return number
    raise AssertionError("send_nowait() never has to wait")


async def test_send_nowait_sends_until_it_would_have_to_wait() -> None:
    async with server_and_peer(buffer=1000, write_limit=500) as (ws, peer):
        sent = fill(ws, b"x" * 100)
        assert sent >= 5
        for _ in range(sent):
            assert (await peer.receive()).payload == b"x" * 100
        await settle()
        ws.send_nowait("room again")
        assert (await peer.receive()).payload == b"room again"


async def test_send_nowait_on_a_closed_connection_says_so() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(close(1000))
        await settle()
        with pytest.raises(ConnectionClosedOK):
            ws.send_nowait("too late")


# -- what came before a failure


async def test_what_came_before_a_bad_frame_is_delivered_and_can_be_answered() -> None:
    async with server_and_peer(close_timeout=None) as (ws, peer):
        await peer.send(text("a question"), text("unmasked")._replace(masked=False))
        assert await ws.receive() == "a question"
        await ws.send("an answer")
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.sent == Close(1002, "frame from a client isn't masked")
        assert await peer.receive() == text("an answer")
        failed = await peer.receive()
        assert (failed.opcode, failed.payload[:2]) == (CLOSE, (1002).to_bytes(2, "big"))
        await peer.aclose()


async def test_a_handler_that_is_not_receiving_can_still_answer_before_the_failure() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"), text("2"), text("bad")._replace(rsv=0x40))
        for number in "12":
            assert await ws.receive() == number
            await settle()
            await ws.send(f"{number} done")
        with pytest.raises(ConnectionClosedError, match="1002"):
            await ws.receive()
        assert [(await peer.receive()).payload for _ in "12"] == [b"1 done", b"2 done"]


@pytest.mark.parametrize("end", ["eof", "reset"])
async def test_what_came_before_the_connection_broke_is_delivered(end: str) -> None:
    async with server_and_peer(resettable=True) as (ws, peer):
        await peer.send(text("one"), text("two"))
        await settle()
        if end == "eof":
            await peer.aclose()
        else:
            await peer.reset()
        await settle()
        assert await ws.receive() == "one"
        assert await ws.receive() == "two"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


# -- long messages


@pytest.mark.parametrize("whose", ["ours", "theirs"])
async def test_a_message_longer_than_1_mib_is_cut_into_frames_and_a_ping_or_pong_passes(
    whose: str,
) -> None:
    async with server_and_peer(buffer=1000) as (ws, peer):
        await ws.send(b"x" * (3 * 2**20 + 1))
        if whose == "ours":
            await ws.send_ping(b"urgent")
        else:
            await peer.send(ping(b"urgent"))
        await settle()
        frames = [await peer.receive()]
        while not (frames[-1].fin and frames[-1].opcode == CONT):
            frames.append(await peer.receive())
        assert (ping if whose == "ours" else pong)(b"urgent") in frames
        data = [frame for frame in frames if frame.opcode < 8]
        assert [len(frame.payload) for frame in data] == [2**20, 2**20, 2**20, 1]
        assert [frame.opcode for frame in data] == [BINARY, CONT, CONT, CONT]


async def test_a_long_text_arrives_whole_although_its_frames_cut_characters() -> None:
    message = "é" * (2**20 + 7)
    async with connected(server={"max_size": None}) as (client, server):
        await client.send("a" + message)
        assert await server.receive() == "a" + message


# -- what a message may be


async def test_a_message_of_max_size_arrives_and_a_larger_one_fails_the_connection() -> None:
    async with server_and_peer(max_size=10) as (ws, peer):
        await peer.send(text("x" * 10), text("x" * 5, fin=False), more("x" * 6, fin=True))
        assert await ws.receive() == "x" * 10
        with pytest.raises(ConnectionClosedError, match="1009"):
            await ws.receive()
        failed = await peer.receive()
        assert (failed.opcode, failed.payload[:2]) == (CLOSE, (1009).to_bytes(2, "big"))


async def test_text_that_is_not_utf_8_fails_the_connection_with_1007() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text(b"\xff"))
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.sent is not None
        assert caught.value.sent.code == 1007
        assert "UTF-8" in str(caught.value.__cause__)


async def test_data_that_came_along_with_the_request_is_received() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(REQUEST + text("early").serialize(masked=True))
    async with accept_websocket(ours, close_timeout=0) as ws:
        assert await ws.receive() == "early"


async def test_fragments_and_control_frames_between_them_make_one_message() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("a", fin=False), ping(b"p"), more("", fin=False), more("b", fin=True))
        assert await ws.receive() == "ab"
        assert await peer.receive() == pong(b"p")
