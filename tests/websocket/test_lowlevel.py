"""Frames of any kind on a live connection: `WebSocket.lowlevel`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from anyio_ws import ConnectionClosedError, ConnectionClosedOK, WebSocket
from anyio_ws.events import Pong
from anyio_ws.sansio import Frame, Opcode
from anyio_ws.testing import ScriptedPeer, cancel_sweep

from ..sansio.helpers import CLOSE, PING, PONG, Raw, binary, close, more, ping, text
from .helpers import client_and_peer, connected, server_and_peer, settle

FRAMES = [
    (Frame(Opcode(0x3), b"reserved"), Raw(0x3, b"reserved")),
    (Frame(Opcode(0xF), b"x" * 300), Raw(0xF, b"x" * 300)),
    (Frame(Opcode.TEXT, b"\xff"), Raw(Opcode.TEXT, b"\xff")),
    (Frame(Opcode.CONT, b"of nothing"), more("of nothing", fin=True)),
    (Frame(Opcode.PING, b"x" * 200, fin=False), Raw(PING, b"x" * 200, fin=False)),
    (Frame(Opcode.BINARY, b"bits", rsv1=True, rsv3=True), Raw(Opcode.BINARY, b"bits", rsv=0x50)),
    (Frame(Opcode.PONG, b""), Raw(PONG)),
]


@pytest.mark.parametrize(("frame", "raw"), FRAMES)
async def test_a_frame_is_sent_as_it_is_by_either_side(frame: Frame, raw: Raw) -> None:
    async with server_and_peer() as (ws, peer):
        await ws.lowlevel.send_frame(frame)
        assert await peer.receive() == raw
    async with client_and_peer() as (ws, peer):  # which insists on masked frames
        await ws.lowlevel.send_frame(frame)
        assert await peer.receive() == raw


async def test_it_is_not_cut() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.lowlevel.send_frame(Frame(Opcode.BINARY, bytes(3 * 2**20)))
        assert await peer.receive() == binary(bytes(3 * 2**20))


async def test_it_goes_behind_what_was_sent_and_before_what_is_sent_afterwards() -> None:
    async with server_and_peer(buffer=1000) as (ws, peer):
        await ws.send(bytes(5000))  # more than is taken at once
        await ws.send("1")
        for number in range(20):  # control frames of others' would pass, or be replaced
            await ws.lowlevel.send_frame(Frame(Opcode.PONG, str(number).encode()))
        await ws.lowlevel.send_frame(Frame(Opcode.PING, b"2"))
        await ws.send("3")
        frames = [await peer.receive() for _ in range(24)]
        assert [frame.payload for frame in frames[1:]] == [
            b"1",
            *(str(number).encode() for number in range(20)),
            b"2",
            b"3",
        ]


async def test_messages_that_are_held_to_leave_together_leave_before_it() -> None:
    async with server_and_peer() as (ws, peer):
        for number in range(5):
            await ws.send(str(number))
        await ws.lowlevel.send_frame(Frame(Opcode(0x3), b"last"))
        assert [(await peer.receive()).payload for _ in range(6)] == [
            *(b"0", b"1", b"2", b"3", b"4"),
            b"last",
        ]


async def test_it_may_stand_between_the_fragments_of_a_message_that_is_being_sent() -> None:
    async with server_and_peer() as (ws, peer):

        async def fragments() -> AsyncIterator[str]:
            yield "a"
            await ws.lowlevel.send_frame(Frame(Opcode.PING, b"between"))
            yield "b"

        await ws.send(fragments())
        frames = [await peer.receive() for _ in range(4)]
        assert frames == [
            text("a", fin=False),
            ping(b"between"),
            more("b", fin=False),
            more("", fin=True),
        ]


async def test_fragments_of_your_own_make_a_message() -> None:
    async with connected() as (client, server):
        await client.lowlevel.send_frame(Frame(Opcode.TEXT, b"zw\xc3", fin=False))
        await client.send_ping(b"in between")
        await client.lowlevel.send_frame(Frame(Opcode.CONT, b"\xb6lf"))
        assert await server.receive() == "zwölf"


async def test_the_pong_that_answers_a_ping_of_your_own_is_nobodys() -> None:
    async with connected() as (client, _):
        async with client.events() as events:
            await client.lowlevel.send_frame(Frame(Opcode.PING, b"mine"))
            assert await events.receive() == Pong(b"mine")
        assert client.latency == 0
        assert await client.ping() > 0


async def test_the_peer_fails_the_connection_for_what_breaks_the_protocol() -> None:
    async with connected() as (client, server):
        await client.lowlevel.send_frame(Frame(Opcode(0x3), b""))
        with pytest.raises(ConnectionClosedError, match="reserved opcode 0x3"):
            await client.receive()
        with pytest.raises(ConnectionClosedError):
            await server.receive()


async def test_a_close_frame_of_your_own_leaves_the_connection_as_it_was() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.lowlevel.send_frame(Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        await ws.send("after it")
        assert await peer.receive() == close(1000)
        assert await peer.receive() == text("after it")
        await peer.send(close(1000))
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()
        assert (await peer.receive()).opcode == CLOSE


async def test_on_a_closed_connection_it_raises_as_send_does() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(close(1000))
        await settle()
        with pytest.raises(anyio.BrokenResourceError):
            await ws.lowlevel.send_frame(Frame(Opcode.TEXT, b""))


async def test_a_bad_one_harms_nothing() -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(ValueError, match="16 is not a valid Opcode"):
            await ws.lowlevel.send_frame(Frame(16, b""))  # type: ignore[arg-type]  # that is the point
        await ws.send("fine")
        assert await peer.receive() == text("fine")


async def receive(peer: ScriptedPeer, received: list[Raw]) -> None:
    received.append(await peer.receive())


async def test_a_cancelled_one_is_not_sent_and_one_that_returned_is() -> None:
    for attempt in cancel_sweep():
        async with server_and_peer(buffer=1000, write_limit=0) as (ws, peer):
            await ws.send(bytes(5000))
            received: list[Raw] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, peer, received)
                await attempt.run(ws.lowlevel.send_frame(Frame(Opcode(0x3), b"swept")))
            await ws.send("after")
            received.append(await peer.receive())
            if not attempt.cancelled:
                received.append(await peer.receive())
            swept = [] if attempt.cancelled else [Raw(0x3, b"swept")]
            assert received[1:] == [*swept, text("after")], attempt


async def test_waiting_for_the_handshake_it_says_so() -> None:
    said: list[str] = []

    async def hook(ws: WebSocket, request: object) -> None:
        with pytest.raises(Exception, match="isn't open yet") as caught:
            await ws.lowlevel.send_frame(Frame(Opcode.CONT, b""))
        said.append(type(caught.value).__name__)

    async with connected(server={"process_request": hook}):
        assert said == ["ProtocolError"]
