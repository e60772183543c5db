"""Masking keys of one's own choice: ``insecure_masking_key=``."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Literal

import anyio
import pytest
from anyio.abc import UNIXSocketStream

from anyio_ws import ClientConfig, WebSocket, open_websocket
from anyio_ws.sansio import Frame, Opcode, Side
from anyio_ws.testing import ScriptedPeer

from ..sansio.codecs import CODECS, running_on
from ..sansio.helpers import close, ping, pong, text
from .helpers import URL, client_and_peer, closing, connected


def keys(*given: object) -> Callable[[], bytes]:
    """Gives one after the other, and raises those that are exceptions."""
    rest = list(given)

    def key() -> bytes:
        one = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(one, Exception):
            raise one
        return one  # type: ignore[return-value]  # what is none, too

    return key


@asynccontextmanager
async def client_and_wire(
    key: Callable[[], bytes], compression: Literal["deflate"] | None = None
) -> AsyncIterator[tuple[WebSocket, UNIXSocketStream]]:
    """A client and the raw bytes of what it sends after the handshake."""
    ours, other = socket.socketpair()
    theirs = await UNIXSocketStream.from_socket(other)
    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(ScriptedPeer(theirs, Side.SERVER).accept)
        async with open_websocket(
            URL,
            stream=ours,
            close_timeout=0,
            insecure_masking_key=key,
            compression=compression,
        ) as ws:
            yield ws, theirs


@pytest.mark.parametrize("codec", CODECS)
async def test_every_frame_has_it_with_either_codec(codec: str) -> None:
    module: ModuleType = CODECS[codec]
    with running_on(module):
        async with client_and_wire(lambda: bytes(4)) as (ws, wire):
            await ws.send("hello")
            await ws.send_ping(b"there")
            await ws.lowlevel.send_frame(Frame(Opcode(0x3), b"!"))
            await ws.flush()
            zero = bytes(4)
            expected = b"\x81\x85" + zero + b"hello" + b"\x89\x85" + zero + b"there"
            expected += b"\x83\x81" + zero + b"!"
            received = b""
            while len(received) < len(expected):
                received += await wire.receive()
            assert received == expected


async def test_each_frame_asks_anew_and_is_understood() -> None:
    given = [bytes([n] * 4) for n in range(200)]
    asked = iter(given)
    async with connected(client={"insecure_masking_key": lambda: next(asked)}) as (client, server):
        for number in range(20):
            await client.send(str(number))
            assert await server.receive() == str(number)
        assert next(asked) == given[20]


NO_KEYS = [b"", b"abc", b"abcde", "abcd", None, 4, bytearray(4)]


@pytest.mark.parametrize("bad", NO_KEYS, ids=repr)
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_what_is_no_key_is_a_value_error_and_nothing_is_sent(
    bad: object, compression: Literal["deflate"] | None
) -> None:
    key = keys(bad, bad, bad, b"good")
    async with client_and_peer(insecure_masking_key=key, compression=compression) as (ws, peer):
        with pytest.raises(ValueError, match="4 bytes"):
            await ws.send("never sent")
        with pytest.raises(ValueError, match="4 bytes"):
            ws.send_nowait("never sent")
        with pytest.raises(ValueError, match="4 bytes"):
            await ws.lowlevel.send_frame(Frame(Opcode.TEXT, b"never sent"))
        await ws.send("fine")
        assert await peer.receive() == text("fine")


async def test_compression_survives_a_message_that_had_no_key() -> None:
    """What follows must not refer to what was never sent."""
    message = "the same words again and again, " * 50
    key = keys(b"good", b"bad", b"good")
    async with connected(client={"insecure_masking_key": key}) as (client, server):
        assert client.extensions
        await client.send(message)
        with pytest.raises(ValueError, match="4 bytes"):
            await client.send("other words, only once, and never sent" * 50)
        await client.send(message)
        assert [await server.receive(), await server.receive()] == [message, message]


async def test_what_it_raises_comes_out_of_send_and_nothing_is_sent() -> None:
    error = RuntimeError("no more keys")
    async with client_and_peer(insecure_masking_key=keys(error, b"good")) as (ws, peer):
        with pytest.raises(RuntimeError) as caught:
            await ws.send("never sent")
        assert caught.value is error
        await ws.send("fine")
        assert await peer.receive() == text("fine")


async def test_a_long_message_that_runs_out_of_keys_fails_the_connection() -> None:
    key = keys(b"good", b"bad", b"good")
    async with client_and_peer(insecure_masking_key=key) as (ws, peer):
        with pytest.raises(ValueError, match="4 bytes"):
            await ws.send(bytes(2**20 + 1))
        await peer.receive()
        assert (await peer.receive()).payload[:2] == (1011).to_bytes(2, "big")


async def test_control_frames_are_sent_without_it_where_there_is_none_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_and_peer(insecure_masking_key=lambda: b"bad") as (ws, peer):
        await peer.send(ping(b"are you there?"))
        assert await peer.receive() == pong(b"are you there?")
        await ws.send_ping(b"and you?")
        assert await peer.receive() == ping(b"and you?")
        await ws.send_eof()
        assert await peer.receive() == close(1000)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert [record.getMessage() for record in caplog.records] == [
        f"no masking key for a {name} frame" for name in ("PONG", "PING", "CLOSE")
    ]


def test_it_costs_nothing_where_it_is_not_given() -> None:
    """What is called for each frame is the function of ours itself."""
    from anyio_ws.sansio import ClientProtocol
    from anyio_ws.sansio.masking import masking_key

    assert ClientConfig().insecure_masking_key is None
    assert ClientProtocol(URL).masking_key is masking_key
