"""A message that is sent on many connections: encoded once for all that would encode it alike."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from anyio_ws.exceptions import ProtocolError
from anyio_ws.sansio import Extension, Frame, Opcode, PerMessageDeflate, Protocol, Side
from anyio_ws.sansio.frames import MAX_FRAME
from anyio_ws.sansio.masking import masking_key
from anyio_ws.sansio.prepared import PreparedMessage

from .helpers import connection, deflate

TEXT = "the same for everybody, " * 10


def pair(side: Side, extensions: Sequence[dict[str, Any]] = ()) -> tuple[Protocol, Protocol]:
    """A sender and a receiver that has really the other end's zlib state."""
    sender = connection(side, extensions=[deflate(**one) for one in extensions])
    other = Side.CLIENT if side is Side.SERVER else Side.SERVER
    mirrored = [
        {name.replace("local", "remote"): value for name, value in one.items()}
        for one in extensions
    ]
    receiver = connection(other, max_size=None, extensions=[deflate(**one) for one in mirrored])
    receiver.collect_messages()
    return sender, receiver


def transfer(sender: Protocol, receiver: Protocol) -> list[Any]:
    """What arrives of what was sent."""
    for data in sender.data_to_send():
        receiver.receive_data(data)
    return receiver.messages_received()


@pytest.mark.parametrize(
    "message", ["text", b"binary", bytearray(b"array"), memoryview(b"view"), ""]
)
@pytest.mark.parametrize("side", list(Side))
def test_it_arrives_as_it_is(side: Side, message: Any) -> None:
    sender, receiver = pair(side)
    prepared = PreparedMessage(message)
    for _ in range(2):
        sender.send_prepared(prepared)
        expected = message if isinstance(message, str) else bytes(message)
        assert transfer(sender, receiver) == [expected]


@pytest.mark.parametrize("message", [None, 1, ["a"], {"a": "b"}])
def test_anything_else_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError, match="str or bytes-like"):
        PreparedMessage(message)


def test_servers_send_the_very_same_bytes() -> None:
    prepared = PreparedMessage(TEXT)
    senders = [pair(Side.SERVER)[0] for _ in range(3)]
    for sender in senders:
        sender.send_prepared(prepared)
    one, *others = [sender.data_to_send()[0] for sender in senders]
    assert all(other is one for other in others)
    assert prepared.plain is one


def test_clients_mask_it_with_a_key_for_each() -> None:
    prepared = PreparedMessage(TEXT)
    written = set()
    for _ in range(3):
        sender, receiver = pair(Side.CLIENT)
        sender.masking_key = masking_key
        sender.send_prepared(prepared)
        (data,) = sender.data_to_send()
        written.add(data)
        receiver.receive_data(data)
        assert receiver.messages_received() == [TEXT]
    assert len(written) == 3


def test_it_is_compressed_once_for_all_with_the_same_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 0
    encode_alone = PerMessageDeflate.encode_alone

    def counted(self: PerMessageDeflate, frame: Frame) -> Frame:
        nonlocal count
        count += 1
        return encode_alone(self, frame)

    monkeypatch.setattr(PerMessageDeflate, "encode_alone", counted)
    prepared = PreparedMessage(TEXT)
    settings: list[dict[str, Any]] = [{"local_max_window_bits": bits} for bits in (9, 12, 15)]
    for setting in settings * 5:
        sender, receiver = pair(Side.SERVER, [setting])
        sender.send_prepared(prepared)
        assert transfer(sender, receiver) == [TEXT]
    assert count == len(settings)


@pytest.mark.parametrize(
    ("message", "compress", "bits"), [("short", True, 12), (TEXT, False, 12), (TEXT, True, 8)]
)
def test_what_is_not_to_be_compressed_is_sent_as_it_is(
    message: str, compress: bool, bits: int
) -> None:
    prepared = PreparedMessage(message, compress=compress)
    plain, _ = pair(Side.SERVER)
    plain.send_prepared(prepared)
    sender, receiver = pair(Side.SERVER, [{"local_max_window_bits": bits, "threshold": 64}])
    if bits == 8:  # which only says what we may do
        receiver = pair(Side.SERVER, [{}])[1]
    sender.send_prepared(prepared)
    (data,) = sender.data_to_send()
    assert data is plain.data_to_send()[0]
    receiver.receive_data(data)
    assert receiver.messages_received() == [message]


# What is sent in turns with it, on the same connection: by itself, in fragments, or not compressed.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["alone", "prepared", "fragments", "plain", "prepared plain"]),
        st.text("ab ", max_size=40).map(lambda text: text * 5),
    ),
    max_size=12,
)


@given(
    steps=STEPS,
    side=st.sampled_from(list(Side)),
    takeover=st.booleans(),
    bits=st.sampled_from([9, 12, 15]),
)
def test_in_any_turns_with_other_messages_everything_is_inflated_to_what_it_was(
    steps: list[tuple[str, str]], side: Side, takeover: bool, bits: int
) -> None:
    setting = {"local_no_context_takeover": not takeover, "local_max_window_bits": bits}
    sender, receiver = pair(side, [{**setting, "threshold": 0}])
    for how, text in steps:
        data = text.encode()
        if how == "fragments":
            sender.send_text(data[:7], fin=False)
            sender.send_continuation(data[7:], fin=True)
            parts = transfer(sender, receiver)
            assert "".join(part.data for part in parts) == text
            continue
        if how.startswith("prepared"):
            sender.send_prepared(PreparedMessage(text, compress="plain" not in how))
        else:
            sender.send_text(data, compress=how != "plain")
        assert transfer(sender, receiver) == [text]


def test_one_that_is_not_compressed_leaves_the_window_alone() -> None:
    sizes = {}
    for compress in (False, True):
        sender, receiver = pair(Side.SERVER, [{}])
        sender.send_text(TEXT.encode())
        sender.send_prepared(PreparedMessage("x" * 100, compress=compress))
        transfer(sender, receiver)
        sender.send_text(TEXT.encode())
        sizes[compress] = len(sender.data_to_send()[0])
    assert sizes[False] < sizes[True], "what was compressed before can't be referred to any more"


class Shouting(Extension):
    """An extension of somebody's own."""

    name = "shouting"
    rsv = 0x20

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        return frame._replace(data=frame.data.upper(), rsv2=frame.opcode is not Opcode.CONT)

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        return frame._replace(rsv2=False)


class Derived(PerMessageDeflate):
    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        return super().encode(frame._replace(data=frame.data.upper()), compress=compress)


def derived() -> Derived:
    return Derived(
        remote_no_context_takeover=False,
        local_no_context_takeover=False,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


@pytest.mark.parametrize("kinds", [[Shouting], [derived], [Shouting, deflate]])
def test_an_extension_whose_ways_are_not_known_encodes_it_itself(
    kinds: list[Callable[[], Extension]],
) -> None:
    prepared = PreparedMessage("hello " * 20)
    sender = connection(Side.SERVER, extensions=[kind() for kind in kinds])
    receiver = connection(Side.CLIENT, extensions=[Shouting(), deflate()])
    receiver.collect_messages()
    for _ in range(2):
        sender.send_prepared(prepared)
        assert transfer(sender, receiver) == ["HELLO " * 20]
    assert prepared.plain is None


@pytest.mark.parametrize("extensions", [[], [{}]])
@pytest.mark.parametrize("side", list(Side))
def test_a_very_long_one_is_cut_into_frames(side: Side, extensions: list[dict[str, Any]]) -> None:
    data = random.Random(1).randbytes(2 * MAX_FRAME + 1)  # nothing that could be compressed
    sender, receiver = pair(side, extensions)
    prepared = PreparedMessage(data, compress=True)
    for _ in range(2):
        sender.send_prepared(prepared)
        frames = sender.data_to_send()
        assert max(map(len, frames)) <= MAX_FRAME + 14
        assert len(frames) == 3
        receiver = pair(side, extensions)[1]
        for frame in frames:
            receiver.receive_data(frame)
        arrived = transfer(sender, receiver)
        assert b"".join(getattr(part, "data", part) for part in arrived) == data
    assert prepared.plain is None


def test_it_waits_for_the_end_of_a_fragmented_message() -> None:
    sender, _ = pair(Side.SERVER)
    sender.send_text(b"begun", fin=False)
    with pytest.raises(ProtocolError, match="inside a fragmented"):
        sender.send_prepared(PreparedMessage("in between"))
    sender.send_continuation(b"ended", fin=True)
    sender.send_prepared(PreparedMessage("after"))
    assert len(sender.data_to_send()) == 3


def test_nothing_is_sent_after_a_close_frame() -> None:
    sender, _ = pair(Side.SERVER)
    sender.send_close(1000)
    with pytest.raises(ProtocolError, match="CLOSING"):
        sender.send_prepared(PreparedMessage("too late"))


def test_its_frames_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test.prepared")
    with caplog.at_level(logging.DEBUG, logger.name):
        sender = Protocol(Side.SERVER, logger=logger)
        sender.send_prepared(PreparedMessage("for the log"))
    assert "for the log" in caplog.text
    assert not sender.plain
