"""The scripted peer: `ScriptedPeer`, towards our client and our server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import pytest

from anyio_ws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    State,
    accept_websocket,
    open_websocket,
)
from anyio_ws.sansio import Opcode, Side
from anyio_ws.testing import (
    MemoryByteStream,
    RawFrame,
    ScriptedPeer,
    cancel_sweep,
    handshake_request,
    handshake_response,
    memory_stream_pair,
)

from .helpers import (
    CLOSE,
    HELLO,
    connected,
    receive_all,
    send_and_end,
    settle,
)

either_side = pytest.mark.parametrize("side", Side)


# -- a good peer


@either_side
async def test_it_shakes_hands_and_exchanges_messages(side: Side) -> None:
    async with connected(side) as (ws, peer):
        assert ws.state is State.OPEN
        await peer.send(HELLO)
        assert await ws.receive() == "hello"
        await ws.send(b"\x00\x01" * 100)
        await ws.send("bye")
        assert await peer.receive() == RawFrame(Opcode.BINARY, b"\x00\x01" * 100)
        assert await peer.receive() == RawFrame(Opcode.TEXT, b"bye")


async def test_as_a_server_it_returns_the_request_and_adds_headers() -> None:
    ours, theirs = memory_stream_pair()
    peer = ScriptedPeer(theirs, Side.SERVER)
    requests: list[bytes] = []

    async def accept() -> None:
        requests.append(await peer.accept(("Sec-WebSocket-Protocol", "b"), ("X-Extra", "1")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        url = "ws://example.org:8080/feed?x=1"
        async with open_websocket(url, stream=ours, subprotocols=["a", "b"], close_timeout=0) as ws:
            assert ws.subprotocol == "b"
            assert ws.response.headers["X-Extra"] == "1"
    assert requests[0].startswith(b"GET /feed?x=1 HTTP/1.1\r\n")
    assert b"\r\nHost: example.org:8080\r\n" in requests[0]


async def test_as_a_client_it_names_target_host_and_headers_and_returns_the_response() -> None:
    ours, theirs = memory_stream_pair()
    peer = ScriptedPeer(theirs, Side.CLIENT)
    responses: list[bytes] = []

    async def connect() -> None:
        offer = ("Sec-WebSocket-Protocol", "a, b")
        responses.append(await peer.connect("/feed?x=1", offer, host="example.org:8080"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        async with accept_websocket(ours, subprotocols=["b"], close_timeout=0) as ws:
            await ws.flush()
            assert ws.subprotocol == "b"
            assert ws.request.path == "/feed?x=1"
            assert ws.request.headers["Host"] == "example.org:8080"
    assert responses[0].startswith(b"HTTP/1.1 101 ")
    assert responses[0].endswith(b"\r\n\r\n")


@either_side
async def test_it_closes_properly_when_told_to(side: Side) -> None:
    async with connected(side, close_timeout=60) as (ws, peer):
        await peer.send(CLOSE)
        assert await peer.receive() == CLOSE
        await peer.aclose()
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


@either_side
async def test_it_answers_nothing_by_itself(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await ws.send_ping(b"?")
        await ws.send_eof()
        await settle()
        assert ws.state is State.CLOSING
        assert [await peer.receive(), await peer.receive()] == [RawFrame(Opcode.PING, b"?"), CLOSE]


# -- a bad peer


BAD: dict[str, RawFrame | bytes] = {
    "a reserved opcode": RawFrame(0x3),
    "a reserved bit": RawFrame(Opcode.TEXT, rsv=0x20),
    "a fragmented ping": RawFrame(Opcode.PING, fin=False),
    "a continuation of nothing": RawFrame(Opcode.CONT, b"x"),
    "a length that isn't minimal": RawFrame(Opcode.BINARY, b"x", width=8),
    "bytes that aren't a frame": b"GET / HTTP/1.1\r\n\r\n",
}


@either_side
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_it_does_wrong_fails_the_connection(side: Side, bad: RawFrame | bytes) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(HELLO, bad)
        assert await ws.receive() == "hello"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        answer = await peer.receive()
        assert (answer.opcode, answer.payload[:2]) == (Opcode.CLOSE, (1002).to_bytes(2, "big"))


@either_side
async def test_it_masks_wrongly_when_told_to(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(HELLO._replace(masked=side is Side.SERVER))
        with pytest.raises(ConnectionClosedError, match="mask"):
            await ws.receive()


async def test_a_frame_with_the_wrong_masking_is_an_error_and_stays_readable() -> None:
    for side in Side:
        ours, theirs = memory_stream_pair()
        wire = HELLO.serialize(masked=side is Side.CLIENT)  # as this side itself should
        await send_and_end(ours, wire)
        peer = ScriptedPeer(theirs, side)
        with pytest.raises(AssertionError, match="only clients mask"):
            await peer.receive()
        assert await peer.receive_rest() == wire


async def test_a_response_that_does_not_accept_is_an_error() -> None:
    good = handshake_response(handshake_request())
    for response in (good.replace(b"101", b"200"), good.replace(b"Accept: ", b"Accept: x")):
        ours, theirs = memory_stream_pair()
        await ours.send(response)
        with pytest.raises(AssertionError, match="not accepted"):
            await ScriptedPeer(theirs, Side.CLIENT).connect()


async def test_a_request_that_is_none_is_an_error() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send(b"hello\r\n\r\n")
    with pytest.raises(AssertionError, match="not the request"):
        await ScriptedPeer(theirs, Side.SERVER).accept()


# -- cut


async def test_what_it_sends_is_cut_into_pieces_and_only_if_told_to() -> None:
    ours, theirs = memory_stream_pair(buffer=0)
    peer = ScriptedPeer(theirs, Side.SERVER)
    chunks: list[bytes] = []

    async def receive() -> None:
        async for chunk in ours:
            chunks.append(chunk)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await peer.send(HELLO, b"abcdef")
        peer.cut = 3
        await peer.send(HELLO, b"abc")
        await peer.send()
        peer.cut = 1
        await peer.send(b"1", b"", b"23")
        await peer.aclose()
    wire = HELLO.serialize(masked=False)
    threes = [wire[:3], wire[3:6], wire[6:] + b"ab", b"c"]
    assert chunks == [wire + b"abcdef", *threes, b"1", b"2", b"3"]


@either_side
@pytest.mark.parametrize("buffer", [None, 0])
async def test_our_connection_does_not_mind_being_cut_at_every_byte(
    side: Side, buffer: int | None
) -> None:
    async with connected(side, buffer=buffer, close_timeout=60, cut=1) as (ws, peer):

        async def script() -> None:
            await peer.send(
                RawFrame(Opcode.TEXT, b"zw", fin=False),
                RawFrame(Opcode.PING, b"?"),
                RawFrame(Opcode.CONT, "ölf".encode()),
                RawFrame(Opcode.BINARY, bytes(range(200))),
                CLOSE,
            )
            assert await peer.receive() == RawFrame(Opcode.PONG, b"?")
            assert await peer.receive() == CLOSE
            await peer.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(script)
            assert [message async for message in ws] == ["zwölf", bytes(range(200))]
            await ws.wait_closed()
        assert ws.close_code == 1000


async def test_pieces_have_at_least_a_byte() -> None:
    peer = ScriptedPeer(memory_stream_pair()[0], Side.SERVER, cut=0)
    with pytest.raises(ValueError, match="cut"):
        await peer.send(HELLO)


# -- cancelling


METHODS: dict[str, Callable[[ScriptedPeer], Awaitable[object]]] = {
    "connect": ScriptedPeer.connect,
    "accept": ScriptedPeer.accept,
    "send": lambda peer: peer.send(HELLO),
    "send nothing": ScriptedPeer.send,
    "receive": ScriptedPeer.receive,
    "receive_head": ScriptedPeer.receive_head,
    "receive_rest": ScriptedPeer.receive_rest,
    "stay_silent": ScriptedPeer.stay_silent,
    "send_eof": ScriptedPeer.send_eof,
    "aclose": ScriptedPeer.aclose,
    "reset": ScriptedPeer.reset,
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
async def test_every_method_can_be_cancelled(
    method: Callable[[ScriptedPeer], Awaitable[object]],
) -> None:
    ours, theirs = memory_stream_pair()
    await ours.send(HELLO.serialize(masked=True) * 2)
    peer = ScriptedPeer(theirs, Side.SERVER)
    await peer.receive()  # so that there is another one in its hands
    with anyio.CancelScope() as scope:
        scope.cancel()
        await method(peer)
    assert scope.cancelled_caught


def streams(chunk: int = 3) -> tuple[MemoryByteStream, ScriptedPeer]:
    ours, theirs = memory_stream_pair(chunk=chunk)
    return ours, ScriptedPeer(theirs, Side.CLIENT)


async def test_a_cancelled_receive_loses_nothing() -> None:
    for attempt in cancel_sweep():
        ours, peer = streams()
        await ours.send(HELLO.serialize(masked=False))
        frame = await attempt.run(peer.receive())
        if attempt.cancelled:
            frame = await peer.receive()
        assert frame == HELLO, attempt


async def test_a_cancelled_receive_head_loses_nothing() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    for attempt in cancel_sweep():
        ours, peer = streams()
        await ours.send(head + HELLO.serialize(masked=False))
        got = await attempt.run(peer.receive_head())
        if attempt.cancelled:
            got = await peer.receive_head()
        assert got == head, attempt
        assert await peer.receive() == HELLO, attempt


async def test_a_cancelled_receive_rest_loses_nothing() -> None:
    for attempt in cancel_sweep():
        ours, peer = streams()
        await send_and_end(ours, b"0123456789")
        got = await attempt.run(peer.receive_rest())
        if attempt.cancelled:
            got = await peer.receive_rest()
        assert got == b"0123456789", attempt


async def test_a_cancelled_send_has_sent_a_part() -> None:
    for attempt in cancel_sweep():
        ours, peer = streams()
        peer.cut = 2
        await attempt.run(peer.send(b"01234567"))
        await peer.aclose()
        part = await receive_all(ours)
        assert b"01234567".startswith(part), attempt
        assert attempt.cancelled or part == b"01234567", attempt


async def test_a_stream_that_ends_within_a_frame_leaves_the_part_to_receive_rest() -> None:
    ours, peer = streams()
    wire = HELLO.serialize(masked=False)
    await send_and_end(ours, wire + wire[:4])
    assert await peer.receive() == HELLO
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await peer.receive()
    assert await peer.receive_rest() == wire[:4]
    assert await peer.receive_rest() == b""
