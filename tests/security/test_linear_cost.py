"""Input whose cost grows faster than its size: what every quadratic parser is attacked with.

Counted are the lines of Python executed and the bytes allocated, freed or not, at four sizes; both must grow
no faster than the input, however it is cut. The largest input is eight times the smallest: what is quadratic
costs sixty-four times as much, and has a slope of 2. `test_header_by_the_byte` has the smallest pieces.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest

from anyio_ws.sansio import ClientProtocol, Protocol, ServerProtocol, Side, State
from anyio_ws.testing import handshake_request, handshake_response

from ..measure import Work, allocated_by, lines_of, slope
from ..sansio.helpers import (
    BINARY,
    SIDES,
    TEXT,
    Raw,
    Split,
    compressed,
    connection,
    deflate,
    feed,
    more,
    ping,
    state_of,
    to,
)
from .helpers import ARRIVALS, KIB, arriving, in_kibibytes

MOST = 1.05


class Input(NamedTuple):
    """A kind of input: the frames for a size, and the smallest of four sizes."""

    frames: Callable[[int], list[Raw]]
    smallest: int

    @property
    def sizes(self) -> list[int]:
        return [self.smallest << doubled for doubled in range(4)]


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def squeezed(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def in_fragments(first: Raw, fragment: bytes, number: int, *, last: bytes = b"") -> list[Raw]:
    return [first, *[more(fragment, fin=False)] * number, more(last, fin=True)]


INPUTS = {
    "a large binary frame": Input(lambda size: [Raw(BINARY, noise(size))], 32 * KIB),
    "a large text frame": Input(lambda size: [Raw(TEXT, b"a" * size)], 32 * KIB),
    "a large text frame of wide characters": Input(
        lambda size: [Raw(TEXT, "€".encode() * (size // 3))], 32 * KIB
    ),
    "small frames": Input(lambda size: [Raw(TEXT, b"hello")] * size, 2000),
    "empty frames": Input(lambda size: [Raw(BINARY)] * size, 2000),
    "pings": Input(lambda size: [ping(b"?")] * size, 60),
    "tiny fragments": Input(partial(in_fragments, Raw(TEXT, b"a", False), b"b"), 60),
    "empty fragments": Input(partial(in_fragments, Raw(BINARY, b"", False), b""), 60),
    "halves of characters": Input(
        partial(in_fragments, Raw(TEXT, b"\xc3", False), b"\xa9\xc3", last=b"\xa9"), 60
    ),
    "a large compressed message": Input(
        lambda size: [compressed(squeezed(b"ab" * (size // 2)))], 64 * KIB
    ),
    "a large message that doesn't compress": Input(
        lambda size: [compressed(squeezed(noise(size)), opcode=BINARY)], 32 * KIB
    ),
    "small compressed messages": Input(
        lambda size: [compressed(squeezed(b"hello, hello"))] * size, 60
    ),
    "empty compressed fragments": Input(
        partial(in_fragments, compressed(b"\x00", fin=False), b"", last=b""), 60
    ),
    "compressed fragments": Input(
        partial(
            in_fragments,
            compressed(b"\x00\x00\x00\xff\xff", fin=False),
            squeezed(b"hello") + b"\x00\x00\xff\xff",
            last=b"\x00",
        ),
        60,
    ),
    "blocks that end the stream": Input(
        lambda size: [compressed(b"\x03\x00" * size + b"\x00")], 60
    ),
}


def receive(protocol: Protocol, data: bytes, split: Split) -> None:
    """Feed *data* and fetch what comes of it, as whoever drives a protocol does."""
    for piece in split(data):
        protocol.receive_data(piece)
        protocol.messages_received()
        protocol.data_to_send()
    assert state_of(protocol) is State.OPEN


def assert_linear(measure: Callable[[Work], int], sizes: list[int], works: list[Work]) -> None:
    costs = [measure(work) for work in works]
    assert all(costs)
    assert slope(sizes, costs) <= MOST, dict(zip(sizes, costs, strict=True))


CASES = [
    pytest.param(
        name, split, measure, side, id=f"{name}-{split.__name__}-{measure.__name__}-{side.name}"
    )
    for name, kind in INPUTS.items()
    for split in ARRIVALS
    for measure in (lines_of, allocated_by)
    for side in SIDES
    # Following every allocation takes time. What is copied again and again is so as pieces arrive, and
    # unmasking is all that a server does beside.
    if measure is lines_of
    or (split is in_kibibytes and (side is Side.SERVER or kind.smallest >= KIB))
]


@pytest.mark.parametrize(("name", "split", "measure", "side"), CASES)
def test_frames_cost_what_they_are_long(
    name: str, split: Split, measure: Callable[[Work], int], side: Side
) -> None:
    def work(size: int) -> Work:
        protocol = connection(side, max_size=None, extensions=[deflate()])
        protocol.collect_messages()
        protocol.receive_data(to(side, compressed(squeezed(b"warm-up"))))
        return partial(receive, protocol, to(side, *kind.frames(size)), split)

    kind = INPUTS[name]
    assert_linear(measure, kind.sizes, [work(size) for size in kind.sizes])


# -- heads


def with_long_fields(size: int) -> list[tuple[str, str]]:
    return [("Cookie", "x" * size)]


def with_many_fields(size: int) -> list[tuple[str, str]]:
    return [("Cookie", "x")] * (size // 100)


def with_many_tokens(size: int) -> list[tuple[str, str]]:
    return [("Sec-WebSocket-Protocol", "a, " * (size // 3))]


def with_many_offers(size: int) -> list[tuple[str, str]]:
    return [("Sec-WebSocket-Extensions", "a; b=c, " * (size // 8))]


def accept(data: bytes, split: Split) -> None:
    server = ServerProtocol()
    feed(server, data, split)
    [request] = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]  # it is one
    assert state_of(server) is State.OPEN


def connect(client: ClientProtocol, data: bytes, split: Split) -> None:
    feed(client, data, split)
    assert state_of(client) is State.OPEN


SIZES = [500, 1000, 2000, 4000]

measures = pytest.mark.parametrize("measure", [lines_of, allocated_by])


@measures
@arriving
@pytest.mark.parametrize(
    "fields", [with_long_fields, with_many_fields, with_many_tokens, with_many_offers]
)
def test_requests_cost_what_they_are_long(
    fields: Callable[[int], list[tuple[str, str]]],
    measure: Callable[[Work], int],
    split: Split,
) -> None:
    requests = [handshake_request("/", *fields(size)) for size in SIZES]
    assert_linear(measure, SIZES, [partial(accept, request, split) for request in requests])


@measures
@arriving
@pytest.mark.parametrize("fields", [with_long_fields, with_many_fields])
def test_responses_cost_what_they_are_long(
    fields: Callable[[int], list[tuple[str, str]]],
    measure: Callable[[Work], int],
    split: Split,
) -> None:
    def work(size: int) -> Work:
        client = ClientProtocol("ws://h/")
        client.send_request(client.connect())
        response = handshake_response(client.data_to_send()[0], *fields(size))
        return partial(connect, client, response, split)

    assert_linear(measure, SIZES, [work(size) for size in SIZES])


# -- the measures themselves


def copying(pieces: list[bytes]) -> None:
    """What makes a parser quadratic most often."""
    buffer = b""
    for piece in pieces:
        buffer = buffer + piece


def searching(pieces: list[bytes]) -> None:
    seen: list[bytes] = []
    for piece in pieces:
        seen.append(piece)
        for other in seen:
            assert other


@pytest.mark.parametrize(("work", "measure"), [(copying, allocated_by), (searching, lines_of)])
def test_what_is_quadratic_is_seen_to_be(
    work: Callable[[list[bytes]], None], measure: Callable[[Work], int]
) -> None:
    sizes = [50, 100, 200, 400]
    costs = [measure(partial(work, [bytes(100)] * size)) for size in sizes]
    assert slope(sizes, costs) > 1.8
