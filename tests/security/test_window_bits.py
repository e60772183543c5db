"""Parameters of permessage-deflate that can't be (CVE-2026-2229: an invalid ``server_max_window_bits``).

They end or shorten the negotiation in order, and nothing waits for the first compressed message to blow up.
"""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import NegotiationError, open_websocket
from anyio_ws.exceptions import InvalidHandshake
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    PerMessageDeflate,
    Request,
    Response,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.testing import ScriptedPeer, handshake_request, handshake_response

from ..sansio.helpers import SPLITS, Split, compressed, feed, received, state_of, to
from ..websocket.helpers import URL, closing
from ..websocket.helpers import connection as streams
from .helpers import connected, negotiated
from .test_inflate_bombs import squeezed

EXTENSIONS = "Sec-WebSocket-Extensions"

BITS = [
    *("0", "1", "7", "16", "17", "31", "32", "47", "63", "-1", "-15", "255", "256", "1000"),
    *("2147483647", "4294967311", "18446744073709551631", "9" * 5000),
    *("08", "015", "+15", "15.0", "1e1", "0xf", "1_5", "true", "NaN", "x", "8a"),
]

WRITTEN = [
    *[f"permessage-deflate; {name}={bits}" for bits in BITS for name in
      ("server_max_window_bits", "client_max_window_bits")],
    *[f'permessage-deflate; server_max_window_bits="{bits}"' for bits in ("7", "16", "015", "\\1\\6")],
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover=15",
    "permessage-deflate; unknown",
    "permessage-deflate; SERVER_MAX_WINDOW_BITS=15",
]  # fmt: skip

NO_GRAMMAR = [
    "permessage-deflate; server_max_window_bits=",
    'permessage-deflate; server_max_window_bits=""',
    'permessage-deflate; server_max_window_bits="15',
    'permessage-deflate; server_max_window_bits=" 15"',
    "permessage-deflate; server_max_window_bits==15",
    "permessage-deflate; server_max_window_bits=1 5",
    "permessage-deflate; =15",
    "permessage-deflate;",
    "permessage-deflate; server_max_window_bits=\xb9\xb5",  # superscripts, which are digits to str.isdigit
    "permessage-deflate; server_max_window_bits=1\x015",
]


def answered(answer: str, split: Split) -> ClientProtocol:
    client = ClientProtocol("ws://h/", extensions=[ClientPerMessageDeflateFactory()])
    client.send_request(client.connect())
    head = handshake_response(client.data_to_send()[0], (EXTENSIONS, answer))
    feed(client, head, split)
    return client


def offered(offer: str, split: Split) -> tuple[ServerProtocol, Response]:
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    feed(server, handshake_request("/", (EXTENSIONS, offer)), split)
    [request] = server.events_received()
    assert isinstance(request, Request)
    response = server.accept(request)
    server.send_response(response)
    return server, response


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("answer", WRITTEN + NO_GRAMMAR, ids=lambda value: value[20:60])
def test_a_client_fails_the_handshake(answer: str, split: Split) -> None:
    client = answered(answer, split)
    assert isinstance(client.handshake_exc, InvalidHandshake)
    assert client.extensions == ()
    assert state_of(client) is State.CONNECTING
    assert client.data_to_send() == [b""]
    client.receive_data(to(Side.CLIENT, compressed(squeezed(5))))  # nobody is there any more
    assert len(client.events_received()) <= 1  # the response


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("offer", WRITTEN, ids=lambda value: value[20:60])
def test_a_server_declines_the_offer_and_goes_on(offer: str, split: Split) -> None:
    server, response = offered(offer, split)
    assert response.status_code == 101
    assert EXTENSIONS not in response.headers
    assert server.extensions == ()
    server, response = offered(f"{offer}, permessage-deflate; server_max_window_bits=10", split)
    assert response.headers[EXTENSIONS] == "permessage-deflate; server_max_window_bits=10"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("offer", NO_GRAMMAR, ids=lambda value: value[20:60])
def test_a_server_answers_400_to_what_is_no_offer(offer: str, split: Split) -> None:
    server, response = offered(offer, split)
    assert response.status_code == 400
    assert state_of(server) is State.CONNECTING
    assert server.data_to_send()[-1] == b""


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
def test_every_window_that_may_be_agreed_works_from_the_first_message_on(
    side: Side, bits: int
) -> None:
    protocol = negotiated(side, bits=bits)
    [extension] = protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    assert extension.remote_max_window_bits == bits
    protocol.receive_data(to(side, compressed(squeezed(1000, bits))))
    assert [frame.data for frame in received(protocol)] == [bytes(1000)]
    protocol.send_text(b"x" * 1000)
    assert protocol.data_to_send()


@pytest.mark.parametrize("answer", WRITTEN[:4])
async def test_open_websocket_raises_negotiation_error(answer: str) -> None:
    ours, theirs = await streams()
    async with closing(theirs):
        peer = ScriptedPeer(theirs, Side.SERVER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.accept, (EXTENSIONS, answer))
            with pytest.raises(NegotiationError):
                async with open_websocket(URL, stream=ours, close_timeout=0):
                    raise AssertionError("an impossible window was agreed to")


@pytest.mark.parametrize("offer", WRITTEN[:4])
async def test_accept_websocket_goes_on_uncompressed(offer: str) -> None:
    async with connected(Side.SERVER, (EXTENSIONS, offer)) as (ws, peer):
        assert ws.extensions == ()
        await ws.send("x" * 1000)
        assert (await peer.receive()).rsv == 0
