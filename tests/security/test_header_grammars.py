"""Header values that make a parser backtrack (CVE-2021-32640: ReDoS in Sec-WebSocket-Protocol).

The parsers of headers here use no regular expressions, and do work in proportion to what they read. h11 does
use some, whose work nobody can count from outside; so what would make it work long must never reach it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import h11
import pytest

import anyio_ws.sansio
from anyio_ws.exceptions import InvalidHandshake, InvalidMessage
from anyio_ws.sansio import ClientProtocol, Request, Response, ServerProtocol, Side
from anyio_ws.sansio.headers import (
    parse_basic,
    parse_extensions,
    parse_forwarded_for,
    parse_host,
    parse_tokens,
)
from anyio_ws.sansio.http import MAX_BODY
from anyio_ws.testing import handshake_request, handshake_response

from ..measure import allocated_by, lines_of, slope
from ..sansio.helpers import SPLITS, Split, byte_by_byte, feed
from ..test_layers import type_checking_only
from .helpers import MAX_HEAD, both_sides

CORE = Path(anyio_ws.sansio.__file__).parent

SIZES = [300, 600, 1200, 2400]


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_has_no_regular_expressions(path: Path) -> None:
    tree = ast.parse(path.read_text())
    only_named = type_checking_only(tree)  # patterns that callers bring
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in only_named
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert names.isdisjoint({"re", "fnmatch", "glob"})


NASTY: list[Callable[[int], str]] = [
    lambda size: " " * size,
    lambda size: "b" + " " * size + "x",
    lambda size: "b" + " \t" * (size // 2) + "é",
    lambda size: "," * size,
    lambda size: ", " * (size // 2) + '"',
    lambda size: "a," * (size // 2),
    lambda size: "a" * size,
    lambda size: "a ;" * (size // 3),
    lambda size: "a; " + "b=c; " * (size // 5),
    lambda size: 'a; b="' + "\\x" * (size // 2),
    lambda size: 'a; b="' + "c" * size + '"',
    lambda size: "a; b" * (size // 4) + "=" * 9,
]


@pytest.mark.parametrize("number", range(len(NASTY)))
@pytest.mark.parametrize(
    "parse",
    [
        parse_extensions,
        lambda values: parse_tokens("X", values),
        lambda values: parse_host(values[0]),
        lambda values: parse_host(f"[{values[0]}]"),
        lambda values: parse_basic(f"Basic {values[0]}"),
        lambda values: list(parse_forwarded_for([*values, "::1"])),
    ],
)
@pytest.mark.parametrize("measure", [lines_of, allocated_by])
def test_the_work_for_a_value_grows_as_its_length(
    number: int,
    parse: Callable[[list[str]], object],
    measure: Callable[[Callable[[], object]], int],
) -> None:
    def read(size: int) -> None:
        with suppress(InvalidHandshake):
            parse([NASTY[number](size)])

    assert slope(SIZES, [measure(partial(read, size)) for size in SIZES]) <= 1.05


# -- what h11 reads


class Watched:
    """Notes what h11 is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces: list[bytes] = []
        receive_data = h11.Connection.receive_data

        def watched(connection: h11.Connection, data: bytes) -> None:
            self.pieces.append(bytes(data))
            receive_data(connection, data)

        monkeypatch.setattr(h11.Connection, "receive_data", watched)

    def longest_run(self) -> int:
        """The most blanks that h11 finds where a value may begin, once it has unfolded the lines."""
        longest = 0
        unfolded = re.sub(rb"\r?\n[ \t]+", b" ", b"".join(self.pieces))
        for line in unfolded.split(b"\n"):
            value = line.partition(b":")[2]
            longest = max(longest, len(value) - len(value.lstrip(b" \t")))
        return longest


BLANKS = [
    b"a:" + b" " * 16_000 + b"\0",
    b"a:" + b"\t " * 8_000 + b"b\0",
    b"a:" + b" " * 16_000,
    b"a:" + b"\r\n " * 5_000 + b"\r\n \0",
    b"a:" + b"\n\t \t" * 4_000 + b"\n \0",
    (b"a:" + b" " * 2_000 + b"\r\n") * 8 + b"b:\0",
]


@both_sides
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("number", range(len(BLANKS)))
def test_blanks_before_a_value_do_not_reach_a_regular_expression(
    side: Side, split: Split, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    if side is Side.SERVER:
        protocol: ServerProtocol | ClientProtocol = ServerProtocol()
        head = handshake_request("/")
    else:
        protocol = ClientProtocol("ws://h/")
        protocol.send_request(protocol.connect())
        head = handshake_response(protocol.data_to_send()[0])
    feed(protocol, head[:-2] + BLANKS[number] + b"\r\n\r\n", split)
    assert (protocol.handshake_exc is None) is (b"\0" not in BLANKS[number])
    assert watched.pieces
    assert watched.longest_run() <= 1


@both_sides
@pytest.mark.parametrize("size", [MAX_HEAD + 1, 4 * MAX_HEAD])
def test_a_head_that_is_too_long_is_not_read_although_it_comes_in_one_piece(
    side: Side, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    protocol = ServerProtocol() if side is Side.SERVER else ClientProtocol("ws://h/")
    first_line = b"GET / HTTP/1.1" if side is Side.SERVER else b"HTTP/1.1 101 X"
    protocol.receive_data((first_line + b"\r\nX: ").ljust(size - 4, b"x") + b"\r\n\r\n")
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert protocol.handshake_exc.status == 431
    assert watched.pieces == []


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b" " * 60_000 + b"\nx\r\n",  # an extension of a chunk, and blanks after it
        b"1\r\nx\r\n1;" + b" " * 60_000 + b"\nx\r\n",
        b"0\r\na:" + b" " * 60_000 + b"\0\r\n\r\n",  # a trailer
    ],
)
def test_blanks_in_the_body_of_a_rejection_do_not_reach_one_either(
    body: bytes, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    client = ClientProtocol("ws://h/")
    feed(client, b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n" + body, split)
    [response] = client.events_received()
    assert isinstance(response, Response)
    assert response.status_code == 400
    assert sum(map(len, watched.pieces[1:])) <= 500


def test_a_body_of_very_many_chunks_is_given_up() -> None:
    client = ClientProtocol("ws://h/")
    client.receive_data(b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    read = 0
    while client.handshake_exc is None:
        client.receive_data((b"1;" + b" " * 94 + b"\r\nx\r\n") * 10)
        read += 1010
        assert read < 3 * MAX_BODY, "a client reads on and on"


def test_padding_is_no_part_of_a_value_and_folded_lines_are_joined() -> None:
    server = ServerProtocol()
    lines = [b"A: \t 1 \t", b"B:", b" \t", b" 2", b"C: 3", b"\t4", b"   ", b"D: x: y", b"E:  "]
    request = handshake_request("/")[:-2] + b"\r\n".join(lines) + b"\r\n\r\n"
    feed(server, request, byte_by_byte)
    [event] = server.events_received()
    assert isinstance(event, Request)
    values = [event.headers[name] for name in "ABCDE"]
    assert values == ["1", "2", "3 4", "x: y", ""]
