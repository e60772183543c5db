"""What the tests of attacks share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from anyio_ws import WebSocket, accept_websocket, open_websocket
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Close,
    Protocol,
    Request,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.testing import ScriptedPeer, handshake_request, handshake_response

from ..sansio.helpers import SIDES, Split, state_of, whole, written
from ..websocket.helpers import URL, closing
from ..websocket.helpers import connection as streams

KIB = 2**10
MIB = 2**20

MAX_HEAD = 2**14
"""Bytes that a head may have, by default."""

both_sides = pytest.mark.parametrize("side", SIDES)


def in_kibibytes(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), KIB):
        yield data[start : start + KIB]


ARRIVALS: list[Split] = [whole, in_kibibytes]
arriving = pytest.mark.parametrize("split", ARRIVALS)


def negotiated(
    side: Side, *, bits: int = 15, alone: bool = False, max_size: int | None = MIB
) -> Protocol:
    """An open connection whose peer compresses with these windows: agreed by a real handshake.

    :param alone: the peer compresses each message by itself
    """
    name = "Sec-WebSocket-Extensions"
    if side is Side.SERVER:
        offer = "permessage-deflate; client_max_window_bits"
        server = ServerProtocol(
            max_size=max_size,
            extensions=[
                ServerPerMessageDeflateFactory(
                    client_max_window_bits=bits, client_no_context_takeover=alone
                )
            ],
        )
        server.receive_data(handshake_request("/", (name, offer)))
        [request] = server.events_received()
        assert isinstance(request, Request)
        server.send_response(server.accept(request))
        server.data_to_send()
        assert state_of(server) is State.OPEN
        return server
    answer = f"permessage-deflate; server_max_window_bits={bits}"
    client = ClientProtocol(
        "ws://h/",
        max_size=max_size,
        extensions=[ClientPerMessageDeflateFactory(server_no_context_takeover=alone)],
    )
    client.send_request(client.connect())
    answer += "; server_no_context_takeover" if alone else ""
    client.receive_data(handshake_response(client.data_to_send()[0], (name, answer)))
    client.events_received()
    assert state_of(client) is State.OPEN
    return client


def assert_failed(protocol: Protocol, code: int, *, reason: str = "") -> None:
    """This side has failed the connection with *code*, and is deaf from now on."""
    frames, eof = written(protocol)
    close = Close.parse(frames[-1].payload)
    assert close.code == code
    assert reason in close.reason
    assert state_of(protocol) is State.CLOSING
    assert eof is (protocol.side is Side.SERVER)
    assert protocol.input_over


@asynccontextmanager
async def connected(
    side: Side, *headers: tuple[str, str], **options: Any
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A connection of ours in that role, and the peer made by hand, whose handshake has *headers*, too.

    Leaving doesn't wait for the peer, unless `close_timeout` is given.
    """
    ours, theirs = await streams()
    options.setdefault("close_timeout", 0)
    opening: AbstractAsyncContextManager[WebSocket]
    if side is Side.SERVER:
        peer = ScriptedPeer(theirs, Side.CLIENT)
        opening = accept_websocket(ours, **options)
    else:
        peer = ScriptedPeer(theirs, Side.SERVER)
        opening = open_websocket(URL, stream=ours, **options)
    shaken = anyio.Event()

    async def shake_hands() -> None:
        await (peer.connect("/feed", *headers) if side is Side.SERVER else peer.accept(*headers))
        shaken.set()

    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(shake_hands)
        async with opening as ws:
            await shaken.wait()
            yield ws, peer
