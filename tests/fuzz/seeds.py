"""What fuzzing starts from: for each target, inputs that together reach all of the code.

They are written here and not kept as files, so that one can see what each is for.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import Final

from anyio_ws.sansio import Side
from anyio_ws.testing import RawFrame as Raw

from ..sansio.helpers import BINARY, TEXT, binary, close, compressed, more, ping, pong, text, to


def deflated(*parts: bytes, bits: int = 15, last: bool = False) -> list[bytes]:
    """Compress the frames of a message; *last*: the last block says that it is the last."""
    deflater = zlib.compressobj(wbits=-bits)
    *begin, end = parts
    frames = [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in begin]
    flushed = deflater.compress(end) + deflater.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    return [*frames, flushed + b"\x00" if last else flushed[:-4]]


def stored(data: bytes) -> bytes:
    """Make compressed data of *data* that is no shorter."""
    deflater = zlib.compressobj(0, wbits=-15)
    return deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]


# -- frames

CONVERSATIONS: Final[list[list[Raw]]] = [
    [],
    [text("Hello"), binary(b"\x00\xff"), ping(b"Hello"), pong(), close()],
    [text("")],
    # Every form of a length, and every form that is too long for what it says.
    [binary(bytes(125)), binary(bytes(126)), binary(bytes(127)), binary(bytes(1000))],
    [binary(bytes(2**16))],
    [Raw(BINARY, b"x", width=2)],
    [Raw(BINARY, b"x", width=8)],
    [Raw(BINARY, bytes(126), width=8)],
    # Fragments, and control frames between them.
    [text("Hel", fin=False), ping(b"1"), more("l", fin=False), pong(b"2"), more("o", fin=True)],
    [binary(b"", fin=False), more(b"", fin=False), more(b"", fin=True)],
    [more("o", fin=True)],
    [more("o", fin=False)],
    [text("a", fin=False), text("b")],
    [binary(b"a", fin=False), binary(b"b", fin=False)],
    [text("half", fin=False), close(1000)],
    # Text, good and bad, whole and cut inside a character.
    [text("κόσμε \N{PILE OF POO} \uffff")],
    [text(b"\xce", fin=False), more(b"\xba", fin=True)],
    [text(b"\xf0\x9f", fin=False), more(b"", fin=False), more(b"\x92\xa9", fin=True)],
    [text(b"\xf0\x9f")],
    [text(b"\xed\xa0\x80")],
    [text(b"ok", fin=False), more(b"\xed\xa0", fin=False), more(b"\x80", fin=True)],
    [text(b"\xff")],
    [text(b"\xf4\x90\x80\x80")],
    # What control frames must not be.
    [Raw(0x9, b"x", fin=False)],
    [Raw(0x9, bytes(126))],
    [Raw(0x8, bytes(126), width=8)],
    # Reserved opcodes and bits.
    *([Raw(opcode, b"x")] for opcode in (3, 7, 0xB, 0xF)),
    *([Raw(TEXT, b"x", rsv=rsv)] for rsv in (0x10, 0x20, 0x40, 0x70)),
    [Raw(0x9, b"x", rsv=0x40)],
    # The wrong mask.
    [Raw(TEXT, b"x", masked=True)],
    [Raw(TEXT, b"x", masked=False)],
    # Close frames.
    *([close(code, "bye")] for code in (1000, 1011, 3000, 4999)),
    *([close(code)] for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    [Raw(0x8, b"\x03")],
    [close(1000, "é" * 61)],
    [close(1000, b"\xff")],
    [close(1000), text("after the end")],
    # Compressed messages.
    [compressed(*deflated(b"Hello"))],
    [compressed(*deflated(b"Hello")), text("not this one"), compressed(*deflated(b"Hello"))],
    [compressed(*deflated(b"\x00\xff" * 50), opcode=BINARY)],
    [compressed(b"\x00")],
    [compressed(b"")],
    [compressed(*deflated(b"Hello", last=True)), compressed(*deflated(b"Hello"))],
    [compressed(*deflated(b"\xff"))],
    [compressed(b"\xff\xff\xff")],
    [compressed(*deflated(bytes(2**17)), opcode=BINARY)],
]


def _fragmented() -> Iterator[list[Raw]]:
    first, second = deflated(b"Hel", b"lo")
    yield [compressed(first, fin=False), ping(), more(second, fin=True)]
    yield [compressed(first, fin=False), Raw(0, second, rsv=0x40)]
    yield [text("Hel", fin=False), Raw(0, second, rsv=0x40)]
    yield [compressed(first, fin=False), close(1000)]


def frames() -> Iterator[bytes]:
    conversations = [*CONVERSATIONS, *_fragmented()]
    cuts = itertools.cycle(range(32))
    for conversation, side in itertools.product(conversations, (Side.CLIENT, Side.SERVER)):
        wire = to(side, *conversation)
        settings = (side is Side.SERVER) | 2 * any(frame.rsv for frame in conversation)
        for limit, messages in ((0, 0), (1, 16), (3, 0)):
            yield bytes([settings | limit << 2 | messages, next(cuts)]) + wire
    for side in (Side.CLIENT, Side.SERVER):
        own = int(side is Side.SERVER)
        for size in (2**7, 2**12, 2**31, 2**63 - 1, 2**63, 2**64 - 1):
            header = bytes([0x82, 127 | 0x80 * own]) + size.to_bytes(8, "big")
            for limit in (0, 3):  # a length that nothing follows
                yield bytes([own | limit << 2, 1]) + header + bytes(40)
        wire = to(side, binary(bytes(300)))
        for end in (0, 1, 2, 3, 4, 5, 8, 9, 100):
            yield bytes([own, 0]) + wire[:end]
        yield bytes([own, 1]) + to(side, *[ping(b"p")] * 40)
        narrow = own | 32
        for limit in (0, 3):
            yield bytes([narrow | limit << 2, 1]) + to(side, binary(bytes(101)))
            squeezed = compressed(b"".join(deflated(bytes(101))), opcode=BINARY)
            yield bytes([narrow | limit << 2 | 2, 1]) + to(side, squeezed)
            long = compressed(stored(bytes(range(256)) * 5), opcode=BINARY)
            yield bytes([narrow | limit << 2 | 2, 1]) + to(side, long)
            parts = [text("a", fin=False), *[more("b", fin=False)] * 5, more("c", fin=True)]
            yield bytes([narrow | limit << 2, 1]) + to(side, *parts)
        nothing = [
            compressed(stored(b"")[:-4] * 200, fin=False),
            *[more(stored(b"") * 200, fin=False)] * 20,
        ]
        yield bytes([own | 2, 1]) + to(side, *nothing)
        # Longer than the parts in which compressed data is taken in.
        frame = compressed(stored(bytes(range(256)) * 80), opcode=BINARY)
        for how, limit in ((0, 2), (3, 2), (0, 0)):
            yield bytes([own | 2 | limit << 2, how]) + to(side, frame)


# -- handshakes

REQUEST: Final = (
    b"GET /chat?a=b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
OFFERS: Final = (
    b"Origin: https://a\r\nSec-WebSocket-Protocol: chat, x\r\n"
    b'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, foo; a="b"\r\n'
)
RESPONSE: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
CHOSEN: Final = (
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=10\r\n"
)


def server_handshake() -> Iterator[bytes]:
    conversation = to(Side.SERVER, text("Hello"), ping(b"1"), close(1000))
    whole = REQUEST + OFFERS + b"\r\n"
    requests = [
        whole,
        REQUEST + b"\r\n",
        whole + conversation,
        whole + b"\xff\xff",
        REQUEST.replace(b"GET", b"POST") + b"\r\n",
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
        REQUEST.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n",
        REQUEST.replace(b"Host: h", b"Host: h\r\nHost: i") + b"\r\n",
        REQUEST.replace(b"Host: h\r\n", b"") + b"\r\n",
        REQUEST.replace(b"dGhl", b"dGh") + b"\r\n",
        REQUEST.replace(b"dGhl", b"") + b"\r\n",
        REQUEST.replace(b"dGhl", b"\xe9Ghl") + b"\r\n",
        REQUEST.replace(b": 13", b": 8, 13") + b"\r\n",
        REQUEST + b"Sec-WebSocket-Version: 13\r\n\r\n",
        REQUEST + b"Content-Length: 5\r\n\r\nHello",
        REQUEST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        REQUEST + b"Origin: https://b\r\n\r\n",
        REQUEST + b"Sec-WebSocket-Protocol: ,,\r\n\r\n",
        REQUEST + b'Sec-WebSocket-Extensions: permessage-deflate; a="\r\n\r\n',
        REQUEST + b"Folded: a\r\n b\r\n\r\n",
        REQUEST + b": empty\r\n\r\n",
        REQUEST.replace(b"\r\n", b"\n") + b"\n",
        whole[:100],
        REQUEST + b"Long: " + b"x" * 2**14 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n",
    ]
    for number, request in enumerate(requests):
        for settings in range(4):
            yield bytes([settings, number & 31]) + request


def client_handshake() -> Iterator[bytes]:
    conversation = to(Side.CLIENT, text("Hello"), ping(b"1"), close(1000))
    responses = [
        RESPONSE + b"\r\n",
        RESPONSE + CHOSEN + b"\r\n",
        RESPONSE + CHOSEN + b"\r\n" + conversation,
        RESPONSE + b"\r\n\xff\xff",
        RESPONSE.replace(b"s3p", b"") + b"\r\n",
        RESPONSE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
        RESPONSE.replace(b"Upgrade: websocket\r\n", b"") + b"\r\n",
        RESPONSE.replace(b"Connection: Upgrade\r\n", b"") + b"\r\n",
        RESPONSE + b"Sec-WebSocket-Accept: x\r\n\r\n",
        RESPONSE + b"Sec-WebSocket-Protocol: other\r\n\r\n",
        RESPONSE + b"Sec-WebSocket-Protocol: chat, x\r\n\r\n",
        RESPONSE + b"Sec-WebSocket-Extensions: foo\r\n\r\n",
        RESPONSE + b"Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n\r\n",
        RESPONSE
        + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + RESPONSE + b"\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 200\r\n\r\nno",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 301 \xe9\r\nLocation: ws://h/\r\n\r\n",
        b"HTTP/1.1 101\r\n\r\n",
        RESPONSE[:50],
        RESPONSE + b"Long: " + b"x" * 2**14 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ]
    for number, response in enumerate(responses):
        for settings in range(4):
            yield bytes([settings, number & 31]) + response


# -- the others


def extension_header() -> Iterator[bytes]:
    yield from [
        b"",
        b",",
        b" \t, ,",
        b"foo",
        b"foo, bar; a; b=c",
        b'foo; a="b"; c = "d\\e" ,bar\nbaz',
        b'foo; a="',
        b'foo; a="\\',
        b'foo; a=""',
        b'foo; a="b c"',
        b"foo;",
        b"foo; =b",
        b"foo; a=",
        b"foo bar",
        b"foo=bar",
        b"\xe9",
        b"permessage-deflate",
        b"permessage-deflate; client_max_window_bits",
        b"permessage-deflate; client_max_window_bits=10; server_max_window_bits=8",
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=16; client_max_window_bits=08",
        b"permessage-deflate; client_max_window_bits; client_max_window_bits",
        b"permessage-deflate; unknown, permessage-deflate; client_max_window_bits=15",
    ]


def _records(*frames: tuple[bytes, bool]) -> bytes:
    return b"".join((len(data) | 0x8000 * fin).to_bytes(2, "big") + data for data, fin in frames)


def inflater() -> Iterator[bytes]:
    for bits, limit, single in itertools.product((9, 12, 15), range(4), (0, 8)):
        number = next(n for n in range(16) if 9 + n % 7 == bits and n & 8 == single)
        settings = bytes([number | limit << 4, limit + bits])
        hello = deflated(b"Hello", bits=bits)[0]
        yield settings + _records((hello, True), (hello, True))
        first, second = deflated(b"Hel", b"lo", bits=bits)
        yield settings + _records((first, False), (second, True), (hello, True))
        yield settings + _records(*[(deflated(b"end", bits=bits, last=True)[0], True)] * 2)
        yield settings + _records((deflated(bytes(2**16), bits=bits)[0], True))
        yield settings + _records((hello[:-2], True), (hello, True))
        yield settings + _records((b"\xff\xff", True))
        yield settings + _records((b"", True), (b"\x00", True), (b"", False), (b"\x00", True))
        yield settings + _records((b"\x03\x00" * 20, True))  # the end of a stream, again and again
    yield b"\x36\x00" + _records((stored(bytes(range(256)) * 80), True))


SEEDS: Final = {
    "frames": list(frames()),
    "server-handshake": list(server_handshake()),
    "client-handshake": list(client_handshake()),
    "extension-header": list(extension_header()),
    "inflater": list(inflater()),
}
