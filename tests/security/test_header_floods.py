"""More headers than anybody needs, with Upgrade before and behind them (CVE-2024-37890).

The whole head has a limit, wherever the headers stand that a handshake can't do without, however it comes.
"""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import InvalidMessage, accept_websocket, open_server, open_websocket
from anyio_ws.sansio import ClientProtocol, Protocol, ServerProtocol, Side, State
from anyio_ws.testing import ScriptedPeer, handshake_request, handshake_response

from ..measure import peak_of
from ..sansio.helpers import SPLITS, Split, feed, read_http, state_of
from ..websocket.helpers import URL, closing
from ..websocket.helpers import connection as streams
from .helpers import KIB, MAX_HEAD, both_sides

FLOODS = {
    "short": b"a:\r\n",
    "named alike": b"Cookie: x\r\n",
    "repeated": b"Sec-WebSocket-Protocol: chat\r\n",
    "long": b"X: " + b"x" * 1000 + b"\r\n",
    "folded": b"X:\r\n x\r\n x\r\n",
    "without end": b"x" * 1000,
}

floods = pytest.mark.parametrize("field", FLOODS.values(), ids=FLOODS)
places = pytest.mark.parametrize("upgrade", ["first", "last"])


def flooded(head: bytes, field: bytes, size: int, *, upgrade: str) -> bytes:
    """*head* with *size* bytes of headers before or behind its own."""
    flood = field * (size // len(field))
    first_line, rest = head.split(b"\r\n", 1)
    if upgrade == "last":
        return first_line + b"\r\n" + flood + (b"" if flood.endswith(b"\r\n") else b"\r\n") + rest
    return head[:-2] + flood + b"\r\n\r\n"


def fresh(side: Side) -> tuple[Protocol, bytes]:
    """A protocol that waits for a head, and a good one."""
    if side is Side.SERVER:
        return ServerProtocol(), handshake_request("/")
    client = ClientProtocol("ws://h/")
    client.send_request(client.connect())
    return client, handshake_response(client.data_to_send()[0])


@both_sides
@floods
@places
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [MAX_HEAD + KIB, 4 * MAX_HEAD])
def test_a_flood_of_headers_is_refused(
    side: Side, field: bytes, upgrade: str, split: Split, size: int
) -> None:
    protocol, head = fresh(side)
    feed(protocol, flooded(head, field, size, upgrade=upgrade), split)
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert protocol.handshake_exc.status == 431
    assert state_of(protocol) is State.CONNECTING
    assert protocol.events_received() == []
    *written, end = protocol.data_to_send()
    assert end == b""
    if side is Side.SERVER:
        assert read_http(b"".join(written)).first_line.startswith("HTTP/1.1 431 ")


@both_sides
@floods
@places
def test_a_flood_without_end_is_dropped_after_the_limit(
    side: Side, field: bytes, upgrade: str
) -> None:
    protocol, head = fresh(side)
    chunk = field * (KIB // len(field) + 1)

    def endless() -> None:
        protocol.receive_data(head.split(b"\r\n", 1)[0] + b"\r\n")
        for _ in range(200):
            protocol.receive_data(chunk)

    assert peak_of(endless) <= 4 * MAX_HEAD
    assert protocol.handshake_exc is not None


# -- connections


@floods
@places
async def test_accept_websocket_answers_431(field: bytes, upgrade: str) -> None:
    ours, theirs = await streams()
    async with closing(theirs):
        peer = ScriptedPeer(theirs, Side.CLIENT)
        await peer.send(flooded(handshake_request("/"), field, 2 * MAX_HEAD, upgrade=upgrade))
        with pytest.raises(InvalidMessage):
            async with accept_websocket(ours, close_timeout=0):
                raise AssertionError("a flood was accepted")
        assert (await peer.receive_head()).startswith(b"HTTP/1.1 431 ")


@floods
@places
async def test_open_websocket_raises_invalid_message(field: bytes, upgrade: str) -> None:
    ours, theirs = await streams()
    peer = ScriptedPeer(theirs, Side.SERVER)

    async def respond() -> None:
        head = handshake_response(await peer.receive_head())
        await peer.send(flooded(head, field, 2 * MAX_HEAD, upgrade=upgrade))

    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(respond)
        with pytest.raises(InvalidMessage):
            async with open_websocket(URL, stream=ours, close_timeout=0):
                raise AssertionError("a flood was accepted")


@places
async def test_a_server_serves_others_meanwhile_and_afterwards(upgrade: str) -> None:
    async def handler(ws: object) -> None:
        pass

    async with open_server(handler, "127.0.0.1", 0) as server:
        flood = flooded(handshake_request("/"), b"a:\r\n", 2 * MAX_HEAD, upgrade=upgrade)
        async with await anyio.connect_tcp("127.0.0.1", server.port) as slow:
            await slow.send(flood[:MAX_HEAD])
            async with open_websocket(server.url):
                pass
            await slow.send(flood[MAX_HEAD:])
            assert (await slow.receive()).startswith(b"HTTP/1.1 431 ")
        async with open_websocket(server.url):
            pass
