"""What is fuzzed, and what must hold for every input.

A target takes bytes and returns, or raises: then it has found something. The first bytes of an input say
how the rest is used (which side, which limit, cut into which pieces), the rest is what the peer sends.

An input may be fed twice, in pieces and whole, and must come to the same then. `Broken` is what a target
raises itself; anything else comes from the library, which must raise nothing on account of a peer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from anyio_ws.exceptions import InvalidHandshake, NegotiationError, ProtocolViolation
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Event,
    Extension,
    Fragment,
    Frame,
    Message,
    Protocol,
    Request,
    Response,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.sansio.extensions.inflate import TAIL, Inflater
from anyio_ws.sansio.headers import build_extension, is_token, parse_extensions

from ..sansio.helpers import KEY, deflate, outcome
from .held import held

Target = Callable[[bytes], None]

LIMITS: Final = (125, 2**12, 2**16, None)
"""What ``max_size`` is chosen from."""

NARROW: Final = (100, 5)
"""Another ``max_fragment_size`` and ``max_fragments`` than hardly any."""

OVERHEAD: Final = 2**14
"""Bytes that may be held beyond payload: a connection's own objects, and Pongs that wait."""

MOST_PIECES: Final = 40
"""After so many pieces the rest of an input comes whole: long inputs shouldn't take long."""

CODES: Final = {1002, 1007, 1008, 1009}
"""Of the violations that a peer can commit after the handshake."""


class Broken(AssertionError):
    """Something that must hold doesn't."""


def check(holds: bool, what: str, *about: object) -> None:
    if not holds:
        raise Broken(what, *about)


def same(seen: Sequence[object]) -> None:
    """Check that all cuts came to the same."""
    check(seen[0] == seen[-1], "how the input is cut shows", *seen)


def cuts(how: int) -> Sequence[int]:
    """Ways to cut an input, of which both must come to the same."""
    return (how & 7, 0) if how & 8 else (how & 7,)


def measured(how: int) -> bool:
    """Whether to look at what is held: it takes as long as the rest, so not every time."""
    return not how & 16


def pieces(data: bytes, how: int) -> Iterator[bytes]:
    """Cut *data*: whole, byte by byte, in sevens, or in two at one place or another."""
    sizes = (len(data), 1, 7, len(data) // 2, len(data) - 1, 2, 3, len(data) // 3)
    size = max(sizes[how], 1)
    end = min(len(data), size * MOST_PIECES)
    for start in range(0, end, size):
        yield data[start : start + size]
    if end < len(data):
        yield data[end:]


# -- frames


class Limits(NamedTuple):
    max_size: int | None
    max_fragment_size: int | None
    max_fragments: int


def frames(data: bytes) -> None:
    """The frame parser, with everything that stands on it, on either side."""
    if len(data) < 2:
        return
    first, how, wire = data[0], data[1], data[2:]
    side = Side.SERVER if first & 1 else Side.CLIENT
    extensions = _deflate if first & 2 else _none
    max_size = LIMITS[first >> 2 & 3]
    if max_size is None and first & 2:
        max_size = 2**16  # a bomb of 4 KiB has 4 MiB, and no limit was asked for
    messages = bool(first & 16)
    limits = Limits(max_size, *(NARROW if first & 32 else (None, 2**17)))
    seen = [
        _converse(side, list(pieces(wire, cut)), extensions(), limits, how, messages=messages)
        for cut in cuts(how)
    ]
    same(seen)


def _none() -> list[Extension]:
    return []


def _deflate() -> list[Extension]:
    return [deflate()]


def _converse(
    side: Side,
    chunks: Sequence[bytes],
    extensions: list[Extension],
    limits: Limits,
    how: int,
    *,
    messages: bool,
) -> object:
    """Feed *chunks* to a connection and end it; return everything that was seen."""
    max_size = limits.max_size
    protocol = Protocol(
        side,
        max_size=max_size,
        max_fragment_size=limits.max_fragment_size,
        max_fragments=limits.max_fragments,
    )
    protocol.masking_key = lambda: KEY
    protocol._set_extensions(extensions)
    if messages:
        protocol.collect_messages()
    received: list[Event | Message] = []
    for chunk in chunks:
        if messages:
            received += _messages(protocol, chunk)
        else:
            protocol.receive_data(chunk)
            received += protocol.events_received()
    # A str may take four times its UTF-8, and what is gathered may have been given room to grow.
    size = sum(map(len, chunks))
    limit = size if max_size is None else max_size + max(map(len, chunks), default=0)
    if measured(how):
        check(held(protocol) <= 4 * limit + OVERHEAD, "more is held than the limits allow")
    protocol.receive_eof()
    check(protocol.state is State.CLOSED, "the end of the stream didn't close the connection")
    _check_received(received, size if max_size is None else max_size)
    cause = protocol.close_exc.__cause__
    if isinstance(cause, ProtocolViolation):
        check(cause.code in CODES, "an unexpected close code", cause.code)
        if extensions:  # see _inflated
            return received, ProtocolViolation
    else:
        check(cause is None or isinstance(cause, EOFError), "an unexpected cause", cause)
    return received, outcome(protocol, messages=messages)


def _messages(protocol: Protocol, chunk: bytes) -> list[Message]:
    whole = protocol.receive_whole(chunk, None, None)
    if whole is None:
        protocol.receive_data(chunk)
        return protocol.messages_received()
    if protocol.input_pending:
        protocol.receive_data(b"")
    return [*whole, *protocol.messages_received()]


def _check_received(received: Sequence[Event | Message], max_size: int) -> None:
    size = 0
    for one in received:
        if isinstance(one, Request | Response):
            raise Broken("a handshake that is over goes on")
        if isinstance(one, Frame):
            if one.opcode & 8:
                check(one.fin and len(one.data) <= 125, "no control frame", one)
                continue
            data: str | bytes = one.data
            fin = one.fin
            check(not (one.rsv1 or one.rsv2 or one.rsv3), "bits that nobody cleared", one)
        elif isinstance(one, Fragment):
            data, fin = one.data, one.final
        else:
            data, fin = one, True
        size += len(data.encode() if isinstance(data, str) else data)
        check(size <= max_size, "a message is too long", size)
        if fin:
            size = 0


# -- handshakes

REQUEST_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455's example; it fits what `seeds` answers."""


def server_handshake(data: bytes) -> None:
    """A server, from the first byte of the request to frames after the response."""
    if len(data) < 2:
        return
    origins = ["https://a"] if data[0] & 1 else None
    subprotocols = ["chat", "x"] if data[0] & 2 else None
    seen: list[object] = []
    for cut in cuts(data[1]):
        protocol = ServerProtocol(
            origins=origins,
            subprotocols=subprotocols,
            extensions=[ServerPerMessageDeflateFactory()],
            max_size=LIMITS[0],
        )
        received: list[Event] = []
        for piece in pieces(data[2:], cut):
            protocol.receive_data(piece)
            received += _answered(protocol)
        if measured(data[1]):
            check(held(protocol) <= 8 * len(data) + OVERHEAD, "more is held than arrived")
        seen.append((received, _end_handshake(protocol)))
    same(seen)


def _answered(protocol: ServerProtocol) -> list[Event]:
    events = protocol.events_received()
    for event in events:
        if isinstance(event, Request):
            response = protocol.accept(event)
            response.headers["Date"] = "now"
            protocol.send_response(response)
            return events + protocol.events_received()
    return events


def client_handshake(data: bytes) -> None:
    """A client that has sent its request, from the first byte of the response."""
    if len(data) < 2:
        return
    subprotocols = ["chat", "x"] if data[0] & 1 else None
    extensions = [ClientPerMessageDeflateFactory()] if data[0] & 2 else None
    seen: list[object] = []
    for cut in cuts(data[1]):
        protocol = ClientProtocol(
            "ws://h/chat", subprotocols=subprotocols, extensions=extensions, max_size=LIMITS[0]
        )
        protocol.key = REQUEST_KEY
        protocol.masking_key = lambda: KEY
        protocol.send_request(protocol.connect())
        protocol.data_to_send()
        received: list[Event] = []
        for piece in pieces(data[2:], cut):
            protocol.receive_data(piece)
            received += protocol.events_received()
        if measured(data[1]):
            check(held(protocol) <= 8 * len(data) + OVERHEAD, "more is held than arrived")
        opened = protocol.state is not State.CONNECTING
        seen.append((received, opened, _end_handshake(protocol)))
    same(seen)


class _Ended(NamedTuple):
    """What a handshake, and what followed it, came to."""

    failure: type[BaseException] | None
    first_line: bytes
    frames: bytes
    code: int | None


def _end_handshake(protocol: ServerProtocol | ClientProtocol) -> _Ended:
    protocol.receive_eof()
    check(protocol.state is State.CLOSED, "the end of the stream didn't close the connection")
    *writes, end = protocol.data_to_send()
    check(end == b"" and b"" not in writes, "our stream doesn't end, or not once")
    failure = protocol.handshake_exc
    first_line = b""
    if isinstance(protocol, ServerProtocol) and writes:
        head, separator, body = writes.pop(0).partition(b"\r\n\r\n")
        first_line, *fields = head.split(b"\r\n")
        # Nothing of the request may end a line of the response.
        check(bool(separator) and all(b": " in field for field in fields), "a bad response", head)
        check(
            b"\n" not in b"".join(fields) and b"\r" not in b"".join(fields), "a bad response", head
        )
        announced = [field for field in fields if field.startswith(b"Content-Length: ")]
        expected = [] if failure is None else [b"Content-Length: %d" % len(body)]
        check(announced == expected, "the wrong length", head, body)
        check(failure is not None or not body, "a 101 with a body", body)
        check(
            (b" 101 " in first_line) == (failure is None), "the wrong status", first_line, failure
        )
    if failure is None:
        return _Ended(None, first_line, b"".join(writes), protocol.close_code)
    check(isinstance(failure, InvalidHandshake), "an unexpected failure", failure)
    check(not writes or isinstance(protocol, ServerProtocol), "a client has something to say")
    # How the objection is worded depends on how much of the nonsense there was to see.
    return _Ended(InvalidHandshake, b"", b"", protocol.close_code)


# -- the extension header


def extension_header(data: bytes) -> None:
    """Sec-WebSocket-Extensions: its grammar, and the negotiation of compression, on both sides."""
    values = data.decode("iso-8859-1").split("\n")
    try:
        extensions = parse_extensions(values)
    except InvalidHandshake:
        return
    written = ", ".join(build_extension(name, params) for name, params in extensions)
    check(parse_extensions([written]) == extensions, "it isn't read as it was written", written)
    for name, params in extensions:
        check(is_token(name), "no token", name)
        check(all(is_token(key) for key, _ in params), "no token", params)
        check(all(value is None or is_token(value) for _, value in params), "no token", params)
        client = ClientPerMessageDeflateFactory(client_max_window_bits=True)
        try:
            client.process_response_params(params, [])
        except NegotiationError:
            pass
        try:
            answer, _ = ServerPerMessageDeflateFactory().process_request_params(params, [])
        except NegotiationError:
            continue
        # What we answer must be an answer, and none that a client can't take.
        [(_, reread)] = parse_extensions([build_extension(client.name, answer)])
        client.process_response_params(reread, [])


# -- the inflater


def inflater(data: bytes) -> None:
    """What compressed frames become, up to a limit and never beyond it.

    An input is its settings, and frames: two bytes of size, the first bit of which ends a message, and data.
    """
    if len(data) < 2:
        return
    bits = 9 + data[0] % 7
    single = bool(data[0] & 8)
    max_size = (0, 100, 2**10, 2**16)[data[0] >> 4 & 3]
    found = list(_frames(data[2:]))
    seen = [_inflated(Inflater(bits, single=single), found, max_size, cut) for cut in cuts(data[1])]
    same(seen)
    whole = [payload for payload, fin in found[:1] if fin and payload]
    first = seen[0][0] if seen[0] else None
    if whole and first is not None:
        plain = zlib.decompressobj(-bits).decompress(whole[0] + TAIL, max_size + 1)
        check(first.startswith(plain), "zlib makes something else of it")


def _frames(data: bytes) -> Iterator[tuple[bytes, bool]]:
    while len(data) >= 2:
        size = int.from_bytes(data[:2], "big")
        end = 2 + (size & 0x7FFF)
        yield data[2:end], bool(size & 0x8000)
        data = data[end:]


def _inflated(
    inflater: Inflater, found: Sequence[tuple[bytes, bool]], max_size: int, cut: int
) -> list[bytes | None]:
    """Return what each frame becomes; None instead for a violation, which is the last.

    Not its code: of data that is too long and then invalid, zlib says one or the other, as it is cut.
    """
    output: list[bytes | None] = []
    room = max_size
    for payload, fin in found:
        try:
            for piece in pieces(payload, cut):
                inflater.feed(piece, room)
                # What zlib was given and has no use for yet is at most a piece.
                most = 2 * max_size + 2 * len(piece) + OVERHEAD // 4
                check(held(inflater) <= most, "more is held than the limit allows")
            if fin:
                inflater.end_message(room)
        except ProtocolViolation as violation:
            check(violation.code in (1007, 1009), "an unexpected code", violation.code)
            check(held(inflater) <= OVERHEAD // 4 + 2 * len(payload), "what failed is held")
            output.append(None)
            break
        frame = inflater.end_frame()
        check(len(frame) <= room, "more bytes than are allowed", len(frame), room)
        room = max_size if fin else room - len(frame)
        output.append(frame)
    return output


TARGETS: Final[dict[str, Target]] = {
    "frames": frames,
    "server-handshake": server_handshake,
    "client-handshake": client_handshake,
    "extension-header": extension_header,
    "inflater": inflater,
}
