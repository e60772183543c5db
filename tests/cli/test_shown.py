"""How `anyio-ws connect` reads what is typed, and writes what arrives; without a process."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import pytest

from anyio_ws.cli.shown import UNPACKED, Output, decompressed, visible
from anyio_ws.cli.source import BadInput, Source, as_message
from anyio_ws.events import Binary, Closed, Event, Ping, Pong, Text

NASTY = "a\x1b[2Jb\x07\x9b\x7f\u202ec\r"


# -- reading


class Pieces:
    """What gives pieces, one after the other, and then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    async def __call__(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


async def lines(source: Source) -> list[bytes]:
    found: list[bytes] = []
    while (line := await source.next_line()) is not None:
        found.append(line)
    assert await source.next_line() is None
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"one\n", b"\n", b"two"], [b"one", b"", b"two"]),
        ([b"o", b"n", b"e\nt", b"wo\r", b"\nthree"], [b"one", b"two", b"three"]),
        ([b"a\0b\n"], [b"a\0b"]),
    ],
)
async def test_lines_are_found_wherever_the_input_is_cut(
    pieces: list[bytes], expected: list[bytes]
) -> None:
    assert await lines(Source(Pieces(*pieces))) == expected


async def test_zero_bytes_may_separate_instead_of_line_breaks() -> None:
    source = Source(Pieces(b"one\r\n", b"more\0two\0\0", b"three\n"), null=True)
    assert await lines(source) == [b"one\r\nmore", b"two", b"", b"three\n"]


def test_a_line_becomes_a_message_of_the_kind_that_is_wanted() -> None:
    assert as_message("grün".encode()) == "grün"
    assert as_message(b"\xff", binary=True) == b"\xff"
    assert as_message(b"00 fF", hexadecimal=True) == b"\x00\xff"
    with pytest.raises(BadInput, match="isn't UTF-8"):
        as_message(b"\xff")
    for wrong in (b"0", b"xy", b"\xff"):
        with pytest.raises(BadInput, match="hexadecimal"):
            as_message(wrong, hexadecimal=True)


# -- writing


def test_a_pipe_gets_text_as_it_is_and_binary_as_digits() -> None:
    output = Output()
    assert output.event(Text(NASTY)) == NASTY.encode() + b"\n"
    assert output.event(Binary(b"\x00\xff")) == b"00ff\n"
    assert output.event(Ping(b"")) + output.event(Pong(b"")) + output.event(Closed(1000, "")) == b""
    assert output.opened("ws://x", None) + output.closed(1000, "") == b""


def test_messages_may_end_with_zero_bytes() -> None:
    assert Output(null=True).event(Text("one\ntwo")) == b"one\ntwo\0"


def test_raw_adds_nothing() -> None:
    output = Output(raw=True)
    assert (
        output.event(Text(NASTY)) + output.event(Binary(b"\x00\xff")) == NASTY.encode() + b"\0\xff"
    )


@pytest.mark.parametrize("raw", [False, True])
def test_no_control_character_reaches_a_terminal(raw: bool) -> None:
    output = Output(terminal=True, raw=raw)
    for event in Text(NASTY), Binary(NASTY.encode()), Binary(bytes(range(256))):
        shown = output.event(event).decode()
        assert all(char.isprintable() or char == "\n" for char in shown)
    assert r"a\x1b[2Jb\x07\x9b\x7f\u202ec\r" in output.event(Text(NASTY)).decode()
    shown = Output(terminal=True, json=True).event(Text(NASTY)).decode()
    assert shown[:-1].isprintable()
    assert json.loads(shown)["data"] == NASTY


def test_what_is_printable_is_shown_as_it_is() -> None:
    assert visible("grün 🙂 \\n") == "grün 🙂 \\n"


def test_further_lines_of_a_message_do_not_look_like_messages_in_a_terminal() -> None:
    assert Output(terminal=True).event(Text("one\n< two")) == b"< one\n  < two\n"


def test_a_terminal_gets_a_dump_of_binary_messages_cut_if_it_is_long() -> None:
    shown = Output(terminal=True).event(Binary(b"0123456789abcdef\x00\n")).decode()
    assert shown.splitlines() == [
        "< binary, 18 bytes",
        "  00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "  00000010  00 0a" + " " * 44 + "|..|",
    ]
    shown = Output(terminal=True).event(Binary(bytes(2000))).decode()
    assert len(shown.splitlines()) == 66
    assert shown.endswith("\n  and 976 bytes more; --hex shows all\n")
    assert Output(terminal=True).event(Binary(b"")) == b"< binary, 0 bytes\n"
    assert Output(terminal=True, hex=True).event(Binary(b"\x00\xff")) == b"< 00ff\n"


def test_everything_is_an_object_of_json() -> None:
    output = Output(json=True)
    events: list[Event] = [Text("a\nb"), Binary(b"\xff"), Ping(b"1"), Pong(b"")]
    written = [
        output.opened("ws://x", "chat"),
        *(output.event(one) for one in events),
        output.closed(1001, "bye"),
    ]
    assert all(line.count(b"\n") == 1 for line in written)
    found = [json.loads(line) for line in written]
    assert all(one.pop("time") > 1e9 for one in found)
    assert all(0 <= one.pop("elapsed") < 60 for one in found)
    assert found == [
        {"event": "open", "url": "ws://x", "subprotocol": "chat"},
        {"event": "text", "data": "a\nb"},
        {"event": "binary", "base64": base64.b64encode(b"\xff").decode()},
        {"event": "ping", "base64": "MQ=="},
        {"event": "pong", "base64": ""},
        {"event": "close", "code": 1001, "reason": "bye"},
    ]
    assert json.loads(Output(json=True, hex=True).event(Binary(b"\xff")))["hex"] == "ff"


def test_messages_that_are_compressed_by_the_application_are_unpacked() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = [
        gzip.compress(b"hello"),
        zlib.compress(b"hello"),
        packer.compress(b"hello") + packer.flush(),
    ]
    for data in packed:
        assert decompressed(data) == b"hello"
        assert Output(decompress=True).event(Binary(data)) == b"hello\n"
        assert Output(decompress=True, raw=True).event(Binary(data)) == b"hello"
    assert Output(decompress=True).event(Binary(gzip.compress(b"\xff"))) == b"ff\n"


def test_what_is_not_compressed_or_beyond_measure_stays_as_it_is() -> None:
    huge = gzip.compress(bytes(UNPACKED + 1))
    for data in b"", b"hello", b"\x00\xff", gzip.compress(b"hello")[:-1], huge:
        assert decompressed(data) is data
