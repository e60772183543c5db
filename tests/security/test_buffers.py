"""Buffers whose length isn't their number of bytes, and what is no buffer (CVE-2026-45736: memory disclosed).

What goes out are the bytes of the buffer, as they are when the call is made; what has none is a TypeError,
and nothing is sent. A close reason is text and nothing else.
"""

from __future__ import annotations

import array
import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from anyio_ws import WebSocket
from anyio_ws.sansio import Protocol, Side, State

from ..sansio.helpers import BINARY, PING, PONG, TEXT, Raw, connection, state_of, written
from .helpers import both_sides, connected

DATA = bytes(range(48, 72))


def mapped() -> mmap.mmap:
    area = mmap.mmap(-1, len(DATA))
    area.write(DATA)
    return area


class Lookalike:
    """Has what buffers have, but is none."""

    def __bytes__(self) -> bytes:
        return b"of __bytes__"

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: object) -> int:
        return 0


BUFFERS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(DATA),
    "memoryview": lambda: memoryview(DATA),
    "of a bytearray": lambda: memoryview(bytearray(DATA)),
    "a part": lambda: memoryview(b"xx" + DATA + b"xx")[2:-2],
    "every other byte": lambda: memoryview(b"".join(bytes([one, 0]) for one in DATA))[::2],
    "backwards": lambda: memoryview(DATA[::-1])[::-1],
    "shorts": lambda: memoryview(array.array("H", DATA)),
    "doubles": lambda: memoryview(array.array("d", DATA)),
    "every other short": lambda: memoryview(
        array.array("H", b"".join(DATA[i : i + 2] + b"xx" for i in range(0, len(DATA), 2)))
    )[::2],
    "two dimensions": lambda: memoryview(DATA).cast("B", (4, 6)),
    "signed": lambda: memoryview(DATA).cast("b"),
    "characters": lambda: memoryview(DATA).cast("c"),
    "ctypes": lambda: memoryview((ctypes.c_uint32 * 6).from_buffer_copy(DATA)),
    "mapped": lambda: memoryview(mapped()),
}

NO_BUFFERS: dict[str, Callable[[], Any]] = {
    "int": lambda: 5,  # bytes(5) would be five bytes of zeros
    "float": lambda: 1.5,
    "list": lambda: [1, 2, 3],
    "array": lambda: array.array("H", [1, 2]),
    "ctypes": lambda: (ctypes.c_char * 4)(),
    "lookalike": Lookalike,
}

SENDING: dict[str, tuple[int, Callable[[Protocol, Any], None]]] = {
    "ping": (PING, Protocol.send_ping),
    "pong": (PONG, Protocol.send_pong),
    "binary": (BINARY, Protocol.send_binary),
    "text": (TEXT, Protocol.send_text),
}

buffers = pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
no_buffers = pytest.mark.parametrize("make", NO_BUFFERS.values(), ids=NO_BUFFERS)
sending = pytest.mark.parametrize(("opcode", "send"), SENDING.values(), ids=SENDING)


@both_sides
@buffers
@sending
def test_the_bytes_of_a_buffer_are_sent(
    side: Side, make: Callable[[], Any], opcode: int, send: Callable[[Protocol, Any], None]
) -> None:
    protocol = connection(side)
    send(protocol, make())
    assert written(protocol).frames == [Raw(opcode, DATA)]


@both_sides
@sending
def test_what_becomes_of_a_buffer_after_the_call_is_not_sent(
    side: Side, opcode: int, send: Callable[[Protocol, Any], None]
) -> None:
    protocol = connection(side)
    data = bytearray(DATA)
    send(protocol, memoryview(data))
    data[:] = b"!" * len(DATA)
    data += b"and more"  # no buffer is exported any more
    assert written(protocol).frames == [Raw(opcode, DATA)]


@both_sides
@pytest.mark.parametrize("make", [*NO_BUFFERS.values(), lambda: "text", lambda: None])
@sending
def test_what_is_no_buffer_is_a_type_error_and_sends_nothing(
    side: Side, make: Callable[[], Any], opcode: int, send: Callable[[Protocol, Any], None]
) -> None:
    protocol = connection(side)
    with pytest.raises(TypeError):
        send(protocol, make())
    assert protocol.data_to_send() == []


@both_sides
@pytest.mark.parametrize("send", [Protocol.send_ping, Protocol.send_pong])
def test_the_limit_of_a_control_frame_counts_bytes_and_not_items(
    side: Side, send: Callable[[Protocol, Any], None]
) -> None:
    protocol = connection(side)
    for data in (memoryview(array.array("H", [0] * 63)), memoryview(bytes(126)).cast("B", (2, 63))):
        assert len(data) <= 125 < data.nbytes
        with pytest.raises(ValueError, match="126 bytes"):
            send(protocol, data)
    assert protocol.data_to_send() == []


@both_sides
@pytest.mark.parametrize("end", [Protocol.send_close, Protocol.fail])
@pytest.mark.parametrize(
    "make", [*NO_BUFFERS.values(), *BUFFERS.values(), lambda: b"bytes", lambda: None]
)
def test_a_reason_that_is_no_text_is_a_type_error_and_changes_nothing(
    side: Side, make: Callable[[], Any], end: Callable[[Protocol, int, Any], None]
) -> None:
    protocol = connection(side)
    with pytest.raises(TypeError):
        end(protocol, 1000, make())
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


@both_sides
@pytest.mark.parametrize("end", [Protocol.send_close, Protocol.fail])
@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "\ud800"])
def test_a_reason_that_does_not_fit_changes_nothing_either(
    side: Side, reason: str, end: Callable[[Protocol, int, str], None]
) -> None:
    protocol = connection(side)
    with pytest.raises(ValueError, match=r"reason|surrogates"):
        end(protocol, 1000, reason)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


# -- connections


@both_sides
async def test_a_connection_sends_the_bytes_of_every_buffer(side: Side) -> None:
    async with connected(side) as (ws, peer):
        for make in BUFFERS.values():
            await ws.send(make())
            assert await peer.receive() == Raw(BINARY, DATA)
            await ws.send_ping(make())
            assert await peer.receive() == Raw(PING, DATA)
            await ws.send_pong(make())
            assert await peer.receive() == Raw(PONG, DATA)
            ws.send_nowait(make())
            assert await peer.receive() == Raw(BINARY, DATA)


@both_sides
async def test_a_connection_refuses_what_is_no_buffer_and_lives_on(side: Side) -> None:
    calls: list[Callable[[WebSocket, Any], Any]] = [
        WebSocket.send,
        WebSocket.send_ping,
        WebSocket.send_pong,
        lambda ws, reason: ws.aclose(1000, reason),
        lambda ws, reason: ws.send_eof(1000, reason),
    ]
    async with connected(side) as (ws, peer):
        for make in NO_BUFFERS.values():
            for call in calls:
                with pytest.raises(TypeError):
                    await call(ws, make())
        for make in BUFFERS.values():
            with pytest.raises(TypeError):
                await ws.aclose(1000, make())
        await ws.send(b"nothing came before")
        assert (await peer.receive()).payload == b"nothing came before"
