"""Text or binary as the caller wants it, whatever an item or a message is: ``text=`` and ``decode=``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from anyio_ws import ConnectionClosedError

from ..sansio.helpers import BINARY, CONT, TEXT, binary, more, text
from .helpers import connected, server_and_peer, settle

WORD = "zwölf"
NOT_UTF_8 = b"ok \xc3("
CUT = WORD.encode()[:3]  # in the middle of a character


# -- sending


@pytest.mark.parametrize(
    ("item", "as_text", "opcode"),
    [
        (WORD, None, TEXT),
        (WORD, True, TEXT),
        (WORD, False, BINARY),
        (WORD.encode(), None, BINARY),
        (WORD.encode(), False, BINARY),
        (WORD.encode(), True, TEXT),
        (bytearray(WORD.encode()), True, TEXT),
        (memoryview(WORD.encode()), True, TEXT),
    ],
)
async def test_an_item_is_sent_as_the_type_that_is_asked_for(
    item: str | bytes, as_text: bool | None, opcode: int
) -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send(item, text=as_text)
        ws.send_nowait(item, text=as_text)
        for _ in range(2):
            frame = await peer.receive()
            assert (frame.opcode, frame.payload) == (opcode, WORD.encode())


@pytest.mark.parametrize("bad", [NOT_UTF_8, CUT, b"\xed\xa0\x80", bytearray(b"\xff")])
async def test_what_is_not_utf_8_is_not_sent_as_text_and_harms_nothing(bad: bytes) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(UnicodeDecodeError) as caught:
            await ws.send(bad, text=True)
        assert caught.value.object == bad
        with pytest.raises(UnicodeDecodeError):
            ws.send_nowait(bad, text=True)
        with pytest.raises(UnicodeDecodeError):
            await ws.send([bad, b"more"] if bad != CUT else [b"\xff"], text=True)
        await ws.send("fine")
        assert await peer.receive() == text("fine")


@pytest.mark.parametrize("as_text", [None, True, False])
async def test_a_string_that_can_not_be_encoded_is_not_sent(as_text: bool | None) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(ValueError, match="surrogates"):
            await ws.send("\ud800", text=as_text)
        await ws.send("fine")
        assert await peer.receive() == text("fine")


@pytest.mark.parametrize(
    ("items", "as_text", "opcode"),
    [
        (["zw", "ölf"], None, TEXT),
        (["zw", "ölf"], False, BINARY),
        ([b"zw\xc3", b"\xb6lf"], False, BINARY),
        ([b"zw\xc3", b"", memoryview(b"\xb6lf")], True, TEXT),
        ([b"z", b"w", b"\xc3", b"\xb6", b"lf"], True, TEXT),
    ],
)
async def test_so_are_fragments_which_may_end_in_the_middle_of_a_character(
    items: Iterable[Any], as_text: bool | None, opcode: int
) -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send(items, text=as_text)
        frames = [await peer.receive()]
        while not frames[-1].fin:
            frames.append(await peer.receive())
        assert [frame.opcode for frame in frames] == [opcode] + [CONT] * (len(frames) - 1)
        assert b"".join(frame.payload for frame in frames) == WORD.encode()


@pytest.mark.parametrize("items", [[b"ok", b"\xff"], [b"ok", b"\xc3"], [b"\xc3", b"\xc3"]])
async def test_a_fragment_that_is_not_utf_8_fails_the_connection(items: list[bytes]) -> None:
    async with connected() as (client, server):
        with pytest.raises(UnicodeDecodeError):
            await client.send(items, text=True)
        with pytest.raises(ConnectionClosedError, match="1011"):
            await server.receive()


@pytest.mark.parametrize("as_text", [True, False])
async def test_fragments_are_of_one_type_all_the_same(as_text: bool) -> None:
    mixed: Any = ["a", b"b"]
    async with connected() as (client, server):
        with pytest.raises(TypeError, match="TEXT message can't have a BINARY fragment"):
            await client.send(mixed, text=as_text)
        with pytest.raises(ConnectionClosedError, match="1011"):
            await server.receive()


async def test_a_long_text_of_bytes_is_cut_into_frames_and_arrives_whole() -> None:
    message = "ä" * 2**20
    async with connected(server={"max_size": None}) as (client, server):
        await client.send(("x" + message).encode(), text=True)
        assert await server.receive() == "x" + message


# -- receiving


@pytest.mark.parametrize("message", [WORD, WORD.encode(), "", b""])
@pytest.mark.parametrize("decode", [True, False])
async def test_a_message_is_received_as_the_type_that_is_asked_for(
    message: str | bytes, decode: bool
) -> None:
    plain = message if isinstance(message, str) else message.decode()
    expected = plain if decode else plain.encode()
    async with connected() as (client, server):
        await client.send(message)
        await client.send(message)
        await client.send(message)
        # One that is waited for, one that is there, and one that may not wait.
        received = [await server.receive(decode=decode), await server.receive(decode=decode)]
        await settle()
        received.append(server.receive_nowait(decode=decode))
        assert received == [expected] * 3
        assert {type(one) for one in received} == {type(expected)}


async def test_types_follow_from_what_is_asked_for() -> None:
    """A type checker knows: there is no cast here."""
    async with connected() as (client, server):
        for message in ("a", b"b", "c", b"d"):
            await client.send(message)
        strings: list[str] = [await server.receive(decode=True), await server.receive(decode=True)]
        await settle()
        blobs: list[bytes] = [
            server.receive_nowait(decode=False),
            await server.receive(decode=False),
        ]
        assert (strings, blobs) == (["a", "b"], [b"c", b"d"])


@pytest.mark.parametrize("whole", [True, False])
async def test_a_binary_message_that_is_no_text_is_in_the_exception_and_nothing_else_happens(
    whole: bool,
) -> None:
    async with server_and_peer() as (ws, peer):
        bad = (
            [binary(NOT_UTF_8)]
            if whole
            else [binary(NOT_UTF_8[:4], fin=False), more(NOT_UTF_8[4:], fin=True)]
        )
        await peer.send(*bad, *bad, text("next"))
        with pytest.raises(UnicodeDecodeError) as caught:
            await ws.receive(decode=True)
        assert caught.value.object == NOT_UTF_8
        with pytest.raises(UnicodeDecodeError) as caught:
            ws.receive_nowait(decode=True)
        assert caught.value.object == NOT_UTF_8
        assert await ws.receive(decode=True) == "next"
        await ws.send("still open")
        assert (await peer.receive()).payload == b"still open"


async def test_a_cancelled_receive_that_decodes_loses_nothing() -> None:
    async with server_and_peer() as (ws, peer):
        with anyio.move_on_after(0):
            await ws.receive(decode=True)
        await peer.send(binary(b"here"))
        assert await ws.receive(decode=True) == "here"
