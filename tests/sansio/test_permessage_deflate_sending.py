"""Compressing messages: which, how, and what becomes of a send that fails (RFC 7692)."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from anyio_ws.exceptions import ProtocolError
from anyio_ws.sansio import PerMessageDeflate, Protocol, Side, State

from .helpers import (
    BINARY,
    CONT,
    PING,
    RSV1,
    SIDES,
    TEXT,
    binary,
    close,
    compressed,
    connection,
    deflate,
    feed,
    more,
    received,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)

# From the examples of section 7.2.3
HELLO = bytes.fromhex("f248cdc9c90700")
HELLO_AGAIN = bytes.fromhex("f200110000")


@both_sides
def test_messages_are_written_as_in_the_examples(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    for _ in range(2):
        protocol.send_text(b"Hello")
    protocol.send_binary(b"")
    protocol.send_binary(b"")
    assert written(protocol).frames == [
        compressed(HELLO),
        compressed(HELLO_AGAIN),
        compressed(b"\x00", opcode=BINARY),
        compressed(b"\x00", opcode=BINARY),
    ]


@both_sides
def test_without_context_takeover_equal_messages_are_written_equally(side: Side) -> None:
    protocol = connection(side, extensions=[deflate(local_no_context_takeover=True)])
    for _ in range(3):
        protocol.send_text(b"Hello")
    assert written(protocol).frames == [compressed(HELLO)] * 3


@both_sides
def test_only_the_first_fragment_is_marked(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    protocol.send_text(b"Hel", fin=False)
    protocol.send_ping(b"?")
    protocol.send_continuation(b"", False)
    protocol.send_continuation(b"lo", False)
    protocol.send_continuation(b"", True)
    protocol.send_close(1000)
    frames = written(protocol).frames
    assert [(raw.opcode, raw.rsv, raw.fin) for raw in frames] == [
        (TEXT, RSV1, False),
        (PING, 0, True),
        (CONT, 0, False),
        (CONT, 0, False),
        (CONT, 0, True),
        (close().opcode, 0, True),
    ]
    data = b"".join(raw.payload for raw in frames if raw.opcode in (TEXT, CONT))
    assert zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff") == b"Hello"


# -- what is compressed


@both_sides
def test_a_message_can_be_left_uncompressed(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    protocol.send_text(b"Hello")
    protocol.send_text(b"Hello", compress=False)
    protocol.send_binary(b"Hel", fin=False, compress=False)
    protocol.send_continuation(b"lo", True)
    protocol.send_text(b"Hello")
    assert written(protocol).frames == [
        compressed(HELLO),
        text("Hello"),
        binary(b"Hel", fin=False),
        more("lo", fin=True),
        compressed(HELLO_AGAIN),
    ]


@both_sides
@pytest.mark.parametrize(
    ("threshold", "size", "is_compressed"),
    [(64, 0, False), (64, 63, False), (64, 64, True), (0, 0, True), (1, 0, False), (1, 1, True)],
)
def test_a_message_below_the_threshold_is_left_uncompressed(
    side: Side, threshold: int, size: int, is_compressed: bool
) -> None:
    protocol = connection(side, extensions=[deflate(threshold=threshold)])
    protocol.send_binary(bytes(size))
    [raw] = written(protocol).frames
    assert raw.rsv == (RSV1 if is_compressed else 0)
    assert is_compressed or raw.payload == bytes(size)


@both_sides
def test_of_a_fragmented_message_nobody_knows_how_long_it_will_be(side: Side) -> None:
    protocol = connection(side, extensions=[deflate(threshold=64)])
    protocol.send_binary(b"", fin=False)
    protocol.send_continuation(b"x", True)
    assert [raw.rsv for raw in written(protocol).frames] == [RSV1, 0]


@both_sides
def test_nothing_is_compressed_for_a_window_that_zlib_has_not(side: Side) -> None:
    protocol = connection(side, extensions=[deflate(local_max_window_bits=8)])
    data = bytes(10_000)
    protocol.send_binary(data)
    protocol.send_binary(b"Hel", fin=False)
    protocol.send_continuation(b"lo", True)
    assert written(protocol).frames == [
        binary(data),
        binary(b"Hel", fin=False),
        more("lo", fin=True),
    ]


@both_sides
def test_there_is_no_state_of_zlibs_before_the_first_compressed_message(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def watch(name: str) -> None:
        make = getattr(zlib, name)

        def watched(*args: Any) -> Any:
            made.append(name)
            return make(*args)

        monkeypatch.setattr(zlib, name, watched)

    watch("compressobj")
    watch("decompressobj")
    protocol = connection(side, extensions=[deflate(threshold=10)])
    protocol.send_text(b"small")
    protocol.send_text(b"large enough", compress=False)
    feed(protocol, to(side, text("plain"), compressed(b"")))
    assert made == []
    protocol.send_text(b"large enough")
    assert made == ["compressobj"]
    feed(protocol, to(side, compressed(HELLO)))
    assert made == ["compressobj", "decompressobj"]
    protocol.send_text(b"large enough")
    feed(protocol, to(side, compressed(HELLO)))
    assert len(made) == 2
    assert [frame.data for frame in received(protocol)] == [b"plain", b"", b"Hello", b"Hello"]


# -- sends that fail


class Interrupted(BaseException):
    """What a signal raises."""


@both_sides
@pytest.mark.parametrize("where", ["compress", "flush", "key"])
@pytest.mark.parametrize("fragment", [False, True])
def test_what_a_failed_send_compressed_is_not_referred_to(
    side: Side, where: str, fragment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = connection(side, extensions=[deflate()])
    other = Side.CLIENT if side is Side.SERVER else Side.SERVER
    receiver = connection(other, extensions=[deflate()])
    sender.send_text(b"what both know")
    if fragment:
        sender.send_text(b"a part, ", fin=False)

    def send(data: bytes) -> None:
        if fragment:
            sender.send_continuation(data, True)
        else:
            sender.send_text(data)

    lost = b"only the sender has seen this"
    with monkeypatch.context() as patch:
        interrupt(where, sender, patch)
        with pytest.raises(Interrupted):
            send(lost)
    send(lost + b", has it?")
    sender.send_text(b"what both know, " + lost)
    receiver.receive_data(b"".join(sender.data_to_send()))
    assert state_of(receiver) is State.OPEN
    assert [frame.data for frame in received(receiver)] == [
        b"what both know",
        *([b"a part, "] if fragment else []),
        lost + b", has it?",
        b"what both know, " + lost,
    ]


def interrupt(where: str, protocol: Protocol, patch: pytest.MonkeyPatch) -> None:
    """Let the next frame that is sent fail when it has got as far as *where*."""

    def fail(*args: object) -> bytes:
        raise Interrupted

    if where == "key":
        patch.setattr(Protocol, "_serialize", fail)
        return
    [extension] = protocol.extensions
    assert isinstance(extension, PerMessageDeflate)

    class Failing:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def compress(self, data: bytes) -> bytes:
            return fail() if where == "compress" else bytes(self.inner.compress(data))

        flush = fail

    extension._deflater = Failing(extension._deflater)  # type: ignore[assignment]  # a fake


@both_sides
def test_a_send_that_the_state_forbids_leaves_the_window_alone(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    protocol.send_text(b"Hello")
    with pytest.raises(ProtocolError):
        protocol.send_continuation(b"Hello", True)
    with pytest.raises(TypeError):
        protocol.send_text("Hello")  # type: ignore[arg-type]  # that is the test
    protocol.send_text(b"Hello")
    assert written(protocol).frames == [compressed(HELLO), compressed(HELLO_AGAIN)]
