"""Bytes that a header may not have, or that nobody expects in one (CVE-2026-42544: an uncaught error).

Every byte, in every header that the handshake reads, at either end and in the middle: the outcome is a
connection or a handshake that failed in order, with a well-formed answer. Never an exception.
"""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from anyio_ws import InvalidHandshake, accept_websocket, open_server, open_websocket
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Request,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.testing import ScriptedPeer, handshake_response

from ..sansio.helpers import read_http, state_of
from ..websocket.helpers import URL, closing
from ..websocket.helpers import connection as streams

BYTES = [bytes([number]) for number in range(256)]

ORIGIN = "https://example.org"

REQUEST = [
    ("Host", "example.org"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ("Origin", ORIGIN),
    ("Content-Length", "0"),
    ("Cookie", "a=b"),
]

RESPONSE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Accept", ""),  # of the request
    ("Sec-WebSocket-Protocol", "chat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=15"),
    ("Server", "x"),
]


def head(first_line: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = [first_line, *(name + b": " + value for name, value in fields)]
    return b"\r\n".join([*lines, b"", b""])


def spoiled(text: str, byte: bytes) -> list[bytes]:
    """*text* with *byte* before, behind and within it."""
    data = text.encode()
    middle = len(data) // 2
    return [byte + data, data + byte, data[:middle] + byte + data[middle:]]


def with_spoiled(
    first_line: bytes, fields: list[tuple[str, str]], number: int, byte: bytes, *, name: bool
) -> list[bytes]:
    """The heads in which *byte* spoils one field, its name or its value."""
    good = [(key.encode(), value.encode()) for key, value in fields]
    key, value = fields[number]
    heads = []
    for bad in spoiled(key if name else value, byte):
        bad_field = (bad, value.encode()) if name else (key.encode(), bad)
        heads.append(head(first_line, [*good[:number], bad_field, *good[number + 1 :]]))
    return heads


def answer(data: bytes) -> int:
    """The status that a server answers *data* with; 0 if it waits for more."""
    server = ServerProtocol(
        origins=[ORIGIN],
        subprotocols=["chat"],
        extensions=[ServerPerMessageDeflateFactory()],
        select_subprotocol=lambda _, offered: offered[0] if offered else None,
    )
    server.receive_data(data)
    for request in server.events_received():
        assert isinstance(request, Request)
        server.send_response(server.accept(request))
    written = b"".join(server.data_to_send())
    if not written:
        return 0
    answered = read_http(written)
    assert answered.first_line.isascii()
    status = int(answered.first_line.split(" ")[1])
    if status == 101:  # a line break may end the head early: what follows are frames then
        assert state_of(server) in (State.OPEN, State.CLOSING)
    else:
        assert len(answered.body) == int(answered.fields["content-length"][0])
        assert state_of(server) is State.CONNECTING
    assert (server.handshake_exc is None) is (status == 101)
    return status


def outcome(make: list[tuple[str, str]], number: int, byte: bytes, *, name: bool) -> list[bool]:
    """Whether a client takes each of the responses in which *byte* spoils one field."""
    taken = []
    for variant in range(3):
        client = ClientProtocol(
            "ws://h/", subprotocols=["chat"], extensions=[ClientPerMessageDeflateFactory()]
        )
        client.send_request(client.connect())
        good = handshake_response(client.data_to_send()[0])
        accept = read_http(good).fields["sec-websocket-accept"][0]
        fields = [(key, value or accept) for key, value in make]
        first_line = b"HTTP/1.1 101 Switching Protocols"
        client.receive_data(with_spoiled(first_line, fields, number, byte, name=name)[variant])
        client.receive_eof()
        taken.append(client.handshake_exc is None)
        assert taken[-1] or isinstance(client.handshake_exc, InvalidHandshake)
    return taken


def test_the_heads_that_are_spoiled_are_good_to_begin_with() -> None:
    good = [(name.encode(), value.encode()) for name, value in REQUEST]
    assert answer(head(b"GET / HTTP/1.1", good)) == 101
    assert outcome(RESPONSE, 0, b"", name=False) == [True] * 3


@pytest.mark.parametrize("number", range(len(REQUEST)), ids=lambda number: REQUEST[number][0])
def test_a_server_answers_any_byte_in_a_value(number: int) -> None:
    name = REQUEST[number][0]
    for byte in BYTES:
        heads = with_spoiled(b"GET / HTTP/1.1", REQUEST, number, byte, name=False)
        statuses = [answer(data) for data in heads]
        assert set(statuses) <= {0, 101, 400, 403, 405, 426}
        if byte in b"\0\v\f":
            assert statuses == [400] * 3
        if byte in b"\r\n":
            assert statuses[2] == 400
        if byte[0] >= 0x80 and name not in ("Cookie", "Host"):
            assert 101 not in statuses, "what isn't ASCII was taken for ASCII"


@pytest.mark.parametrize("number", range(len(REQUEST)), ids=lambda number: REQUEST[number][0])
def test_a_server_answers_any_byte_in_a_name(number: int) -> None:
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in BYTES:
        statuses = [
            answer(data)
            for data in with_spoiled(b"GET / HTTP/1.1", REQUEST, number, byte, name=True)
        ]
        assert set(statuses) <= {0, 101, 400, 403, 426}
        if byte not in token and byte not in b"\r\n: \t":
            assert statuses == [400] * 3


def test_a_server_answers_any_byte_in_the_request_line() -> None:
    good = [(name.encode(), value.encode()) for name, value in REQUEST]
    line = b"GET /a?b HTTP/1.1"
    for byte in BYTES:
        for position in range(len(line) + 1):
            status = answer(head(line[:position] + byte + line[position:], good))
            assert status in (0, 101, 400, 405, 505)
            if not 0x21 <= byte[0] <= 0x7E and byte not in b"\r\n ":
                assert status == 400


@pytest.mark.parametrize("number", range(len(RESPONSE)), ids=lambda number: RESPONSE[number][0])
@pytest.mark.parametrize("name", [False, True], ids=["value", "name"])
def test_a_client_judges_any_byte(number: int, name: bool) -> None:
    for byte in BYTES:
        taken = outcome(RESPONSE, number, byte, name=name)
        if byte in b"\0\v\f" or (byte[0] >= 0x80 and (name or number < 5)):
            assert taken == [False] * 3


def test_a_client_judges_any_byte_in_the_status_line() -> None:
    line = b"HTTP/1.1 101 OK"
    for byte in BYTES:
        for position in range(len(line) + 1):
            client = ClientProtocol("ws://h/")
            client.send_request(client.connect())
            good = handshake_response(client.data_to_send()[0])
            rest = good[good.index(b"\r\n") :]
            client.receive_data(line[:position] + byte + line[position:] + rest)
            client.receive_eof()
            assert client.handshake_exc is None or isinstance(
                client.handshake_exc, InvalidHandshake
            )


# -- connections

NASTY = {
    "Host": [b"[", b"[::1", b"h:x", b"h:99999999", b"h:" + b"9" * 5000, b"\xff", b"a@b", b"\x01"],
    "Origin": [
        b"[", b"http://[::1", b"http://[", b"http://\xe9", b"http://h:x", b"http://h:-1",
        b"http://h:" + b"9" * 5000, b"http://[v1.\xff]", b"//", b":", b"null", b"http://\x01\x7f",
    ],
    "Sec-WebSocket-Key": [b"\xe9" * 16, b"=" * 24, b"\x7f"],
    "Sec-WebSocket-Protocol": [b"\xe9", b"a\x00b"],
    "X": [b"\0", b"\xff" * 10_000, b"\x1b[31m"],
}  # fmt: skip


def nasty_request(name: str, value: bytes) -> bytes:
    fields = [(key.encode(), good.encode()) for key, good in REQUEST[:5] if key != name]
    return head(b"GET / HTTP/1.1", [*fields, (name.encode(), value)])


@pytest.mark.parametrize("name", NASTY)
async def test_accept_websocket_raises_invalid_handshake_or_nothing(name: str) -> None:
    for value in NASTY[name]:
        ours, theirs = await streams()
        async with closing(theirs):
            await theirs.send(nasty_request(name, value))
            with suppress(InvalidHandshake):
                async with accept_websocket(ours, close_timeout=0):
                    pass
            assert (await theirs.receive()).startswith(b"HTTP/1.1 ")


async def test_a_server_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: object) -> None:
        pass

    async with open_server(handler, "127.0.0.1", 0) as server:
        for name, values in NASTY.items():
            for value in values:
                async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                    await stream.send(nasty_request(name, value))
                    assert (await stream.receive()).startswith(b"HTTP/1.1 ")
        async with open_websocket(server.url):
            pass
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("spoil", [b"\0", b"\xe9", b"\x01"])
async def test_open_websocket_raises_invalid_handshake(spoil: bytes) -> None:
    ours, theirs = await streams()
    peer = ScriptedPeer(theirs, Side.SERVER)

    async def respond() -> None:
        good = handshake_response(await peer.receive_head())
        await peer.send(good.replace(b"websocket", b"web" + spoil + b"socket"))

    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(respond)
        with pytest.raises(InvalidHandshake) as caught:
            async with open_websocket(URL, stream=ours, close_timeout=0):
                raise AssertionError("a broken answer was taken")
        assert str(caught.value).isprintable()
