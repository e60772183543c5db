"""The compiled codec and the pure one: the same results, whatever they are given, and nothing left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyio_ws.sansio import Extension, Protocol, Side
from anyio_ws.sansio import codec as chosen_codec
from anyio_ws.sansio._pure_codec import encode_frame

from .codecs import CODECS, NAMES, running_on
from .helpers import (
    KEY,
    PING,
    SIDES,
    TEXT,
    Outcome,
    Raw,
    Suffix,
    binary,
    close,
    connection,
    more,
    outcome,
    ping,
    text,
    to,
)
from .test_properties import conversations, cut_streams, run, sides

pure = CODECS["pure"]
needs_both = pytest.mark.skipif("compiled" not in CODECS, reason="the codec isn't compiled here")
quick = settings(max_examples=200)


def result(function: Callable[..., object], *arguments: object) -> object:
    """What it returns, or which exception it raises."""
    try:
        return function(*arguments)
    except Exception as exc:
        return type(exc)


# -- one function of both

keys = st.binary(min_size=4, max_size=4)
any_key = keys | st.binary(max_size=6)
counts = st.one_of(st.integers(-2, 300), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 2**200]))
limits = st.none() | counts


@needs_both
@quick
@given(st.binary(max_size=300), st.integers(0, 8), any_key, st.integers(0, 2**40))
def test_both_mask_alike(data: bytes, start: int, key: bytes, offset: int) -> None:
    view = memoryview(data)[start:]
    expected = result(pure.apply_mask, view, key, offset)
    assert result(CODECS["compiled"].apply_mask, view, key, offset) == expected


@needs_both
@quick
@given(
    st.integers(0, 255),
    st.binary(max_size=140) | st.sampled_from([65535, 65536, 70000]).map(bytes),
    st.none() | any_key,
)
def test_both_write_frames_alike(first: int, data: bytes, key: bytes | None) -> None:
    expected = result(pure.encode_frame, first, data, key)
    assert result(CODECS["compiled"].encode_frame, first, data, key) == expected


@needs_both
@quick
@given(st.data(), cut_streams(), st.booleans(), limits, limits, limits, st.integers(0, 200))
@example(None, (Side.CLIENT, b"\x82\x7f" + b"\xff" * 8, []), False, None, None, None, 0)
@example(None, (Side.CLIENT, b"\x82\x7e\x00\x7d" + bytes(125), []), False, None, None, None, 0)
@example(None, (Side.CLIENT, b"\x82\x7e\x80", []), False, None, None, None, 0)
def test_both_read_the_same_messages(
    data: st.DataObject | None,
    case: tuple[Side, bytes, list[bytes]],
    masked: bool,
    max_size: int | None,
    budget: int | None,
    max_events: int | None,
    overhead: int,
) -> None:
    _, wire, _ = case
    position = 0 if data is None else data.draw(st.integers(-1, len(wire) + 1))
    arguments = wire, position, masked, max_size, budget, max_events, overhead
    expected = result(pure.decode_messages, *arguments)
    assert result(CODECS["compiled"].decode_messages, *arguments) == expected


@needs_both
@quick
@given(
    st.integers(-1, 60),
    st.none() | any_key,
    st.lists(st.tuples(st.binary(max_size=30), st.integers(-1, 31), st.integers(-1, 31))),
)
def test_both_put_payloads_together_alike(
    size: int, key: bytes | None, parts: list[tuple[bytes, int, int]]
) -> None:
    def seen(codec: ModuleType) -> list[object]:
        payload = codec.Payload(size, key)
        results: list[object] = []
        for data, start, end in parts:
            results.append(result(payload.add, data, start, end))
            results.append(result(payload.last, end - start))
        return [*results, payload.take(), payload.take()]

    if key is not None and len(key) != 4:
        assert {result(codec.Payload, size, key) for codec in CODECS.values()} == {ValueError}
    else:
        assert seen(CODECS["compiled"]) == seen(pure)


# -- a connection on both, and without the short cut


def both_marked() -> list[Extension]:
    return [Suffix("x-a", b"a", 0x40), Suffix("x-b", b"", 0x20)]


def unmarked() -> list[Extension]:
    return [Suffix("x-all", b"", 0)]


@quick
@given(
    cut_streams(),
    st.booleans(),
    st.none() | st.integers(1, 700),
    st.booleans(),
    st.sampled_from([list, both_marked, unmarked]),
)
def test_a_connection_is_the_same_on_every_codec_and_without_the_short_cut(
    case: tuple[Side, bytes, list[bytes]],
    messages: bool,
    budget: int | None,
    hold: bool,
    extensions: Callable[[], list[Extension]],
) -> None:
    side, _, cut = case

    def seen(*, whole: bool) -> list[Outcome]:
        return run(
            *(side, cut),
            messages=messages,
            budget=budget,
            hold=hold,
            extensions=extensions,
            whole=whole,
        )

    with running_on(pure, short_cut=False):
        expected = seen(whole=False)
    for module in CODECS.values():
        with running_on(module):
            assert seen(whole=False) == expected
            assert seen(whole=True) == expected


@quick
@given(conversations, sides, st.none() | st.integers(1, 500), st.none() | st.integers(1, 4))
def test_a_call_produces_the_same_share_with_and_without_the_short_cut(
    frames: list[Raw], side: Side, budget: int | None, max_events: int | None
) -> None:
    def shares() -> list[Outcome]:
        protocol = connection(side)
        protocol.collect_messages()
        protocol.budget, protocol.max_events = budget, max_events
        protocol.receive_data(to(side, *frames))
        seen = [outcome(protocol, messages=True)]
        while protocol.input_pending:
            protocol.receive_data(b"")
            seen.append(outcome(protocol, messages=True))
        return seen

    with running_on(pure, short_cut=False):
        expected = shares()
    for module in CODECS.values():
        with running_on(module):
            assert shares() == expected


@pytest.mark.parametrize("side", SIDES)
def test_the_short_cut_is_taken_where_it_can_be(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the tests above compare nothing."""
    protocol = connection(side, extensions=[Suffix("x-a", b"a", 0x40)])
    protocol.collect_messages()
    judged: list[int] = []
    begin_frame = protocol._assembler.begin_frame

    class Watched:
        def begin_frame(self, opcode: int, *rest: object) -> object:
            judged.append(opcode)
            return begin_frame(opcode, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(protocol._decoder, "_judge", Watched())
    wire = to(
        side, text("a"), binary(b"b"), ping(b"p"), text("c"), text("d", fin=False), more("e", fin=True),
        text("f"),
    )  # fmt: skip
    assert protocol.receive_whole(wire, None, None) == ["a", b"b"]
    assert judged == []
    protocol.receive_data(b"")
    assert judged == [PING, TEXT, 0]
    assert [one for one in protocol.messages_received() if not isinstance(one, tuple)] == ["c", "f"]


@pytest.mark.parametrize("side", SIDES)
def test_there_is_no_short_cut_in_the_middle_of_anything(side: Side) -> None:
    one = to(side, text("a"))

    def refuses(protocol: Protocol, *fed: bytes) -> None:
        for data in fed:
            protocol.receive_data(data)
        assert protocol.receive_whole(one, None, None) is None
        assert not protocol.input_pending

    refuses(connection(side))  # nobody asked for messages
    for fed in (
        [one[:1]],
        [one[:-1]],
        [to(side, text("d", fin=False))],
        [to(side, ping(b"p"))],  # which would come after what is taken
        [to(side, close(1000))],
        [to(side, Raw(3))],
    ):
        protocol = connection(side)
        protocol.collect_messages()
        refuses(protocol, *fed)
    protocol = connection(side)
    protocol.collect_messages()
    protocol.receive_eof()
    refuses(protocol)
    protocol = connection(side, extensions=[Suffix("x-all", b"", 0)])
    protocol.collect_messages()
    refuses(protocol)


def test_text_that_is_no_utf_8_is_left_for_the_frame_decoder() -> None:
    wire = to(Side.SERVER, text("good"), text(b"\xff"), text("never"))
    for module in CODECS.values():
        with running_on(module):
            messages, position, _ = module.decode_messages(wire, 0, True, None, None, None, 0)
            assert (messages, position) == (["good"], 10)
            protocol = connection(Side.SERVER)
            protocol.collect_messages()
            protocol.receive_data(wire)
            assert protocol.messages_received() == ["good"]
            protocol.receive_eof()
            assert str(protocol.close_exc.__cause__) == (
                "text isn't UTF-8: invalid start byte, byte 0xff"
            )


@pytest.mark.parametrize("size", [5, 4095, 4096, 4097, 200_000])
@pytest.mark.parametrize("side", SIDES)
def test_text_of_any_size_and_width_is_read(side: Side, size: int) -> None:
    for module in CODECS.values():
        for character in "aé€𝄞":
            message = character * size
            wire = to(side, text(message), text("next"))
            with running_on(module):
                protocol = connection(side)
                protocol.collect_messages()
                protocol.receive_data(wire)
                assert protocol.messages_received() == [message, "next"]


def test_a_large_payload_is_handed_over_whole_and_once() -> None:
    data = bytes(i * 7 & 0xFF for i in range(300_000))
    for module in CODECS.values():
        payload = module.Payload(len(data), KEY)
        wire = module.apply_mask(data, KEY)
        for start in range(0, len(wire), 1001):
            payload.add(wire, start, min(start + 1001, len(wire)))
        assert payload.last(10) == data[-10:]
        assert payload.take() == data
        assert payload.take() == b""


# -- nothing is left behind


def text_frame(data: bytes) -> bytes:
    return encode_frame(0x81, data, KEY)


GOOD = text_frame(b"good" * 2000) + encode_frame(0x82, bytes(100), KEY) + text_frame(b"x")
BAD = GOOD + text_frame(b"\xff" * 5000)


def put_together(codec: ModuleType) -> bytes:
    payload = codec.Payload(5000, KEY)
    for _ in range(4):
        payload.add(bytes(1000), 0, 1000)
    assert result(payload.add, bytes(1001), 0, 1001) is ValueError
    return bytes(payload.last(10) + payload.take())


def dropped(codec: ModuleType) -> None:
    codec.Payload(5000, KEY).add(bytes(1000), 0, 1000)


@pytest.mark.parametrize(
    "call",
    [
        lambda codec: codec.apply_mask(memoryview(bytearray(999)), KEY, 3),
        lambda codec: result(codec.apply_mask, b"data", b"12345"),
        lambda codec: result(codec.apply_mask, "text", KEY),
        lambda codec: codec.encode_frame(0x82, bytes(999), KEY),
        lambda codec: codec.encode_frame(0x82, bytearray(999), None),
        lambda codec: result(codec.encode_frame, 0x82, "text", None),
        lambda codec: codec.decode_messages(GOOD, 0, True, None, None, None, 0),
        lambda codec: codec.decode_messages(BAD, 0, True, None, None, None, 0),
        lambda codec: result(codec.decode_messages, GOOD, -1, True, None, None, None, 0),
        lambda codec: result(codec.decode_messages, GOOD, 0, True, "text", None, None, 0),
        put_together,
        dropped,
    ],
)
def test_nothing_is_left_behind(call: Callable[[ModuleType], object], codec: ModuleType) -> None:
    watched = KEY, GOOD, BAD, codec.Payload
    call(codec)
    tracemalloc.start()
    try:
        for _ in range(10):
            call(codec)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0], [sys.getrefcount(one) for one in watched]
        for _ in range(200):
            call(codec)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0], [sys.getrefcount(one) for one in watched]
    finally:
        tracemalloc.stop()
    assert after[1] == before[1]
    assert after[0] - before[0] < 2000  # not ten bytes for each call


def test_what_is_unmasked_from_is_not_held(codec: ModuleType) -> None:
    data = bytearray(100)
    codec.apply_mask(data, KEY)
    codec.encode_frame(0x82, data, KEY)
    data += b"a bytearray that somebody looks into can't grow"
    assert len(data) > 100


def test_a_declared_size_allocates_nothing(codec: ModuleType) -> None:
    tracemalloc.start()
    try:
        payload = codec.Payload(2**62, KEY)
        payload.add(bytes(100), 0, 100)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


# -- which one is used


def chosen(**environment: str) -> str:
    program = "from anyio_ws.sansio import codec; print(codec.apply_mask.__module__, codec.CODEC)"
    inherited = {k: v for k, v in os.environ.items() if k != "ANYIO_WS_PURE_PYTHON"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return ended.stdout.strip()


@needs_both
@pytest.mark.parametrize(
    "environment", [{}, {"ANYIO_WS_PURE_PYTHON": ""}, {"ANYIO_WS_PURE_PYTHON": "0"}]
)
def test_the_compiled_codec_is_used_where_there_is_one(environment: dict[str, str]) -> None:
    assert chosen(**environment) == "anyio_ws.sansio._codec compiled"


def test_the_pure_codec_can_be_asked_for() -> None:
    expected = "anyio_ws.sansio._pure_codec pure Python (by ANYIO_WS_PURE_PYTHON)"
    assert chosen(ANYIO_WS_PURE_PYTHON="1") == expected


def test_the_pure_codec_is_used_where_there_is_no_other() -> None:
    program = (
        "import sys; sys.modules['anyio_ws.sansio._codec'] = None\n"
        "from anyio_ws.__main__ import main; main(['--version'])"
    )
    inherited = {k: v for k, v in os.environ.items() if k != "ANYIO_WS_PURE_PYTHON"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=inherited, capture_output=True, check=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "codec: pure Python (not compiled)"


def test_both_have_the_same_names() -> None:
    for module in CODECS.values():
        assert {name for name in NAMES if callable(getattr(module, name))} == set(NAMES)
    assert set(NAMES) == set(chosen_codec.__all__) - {"CODEC"}
