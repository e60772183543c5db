"""More headers than a limit of bytes would stop (CVE-2024-37890), and request lines without end.

``max_header_count`` is 128, ``max_request_line`` 8192, ``max_header_size`` 16384 for the whole head. Upgrade
may stand first or last: what counts is how many there are.
"""

from __future__ import annotations

import pytest

from anyio_ws import InvalidMessage, accept_websocket
from anyio_ws.sansio import Protocol, ServerProtocol, Side, State
from anyio_ws.testing import ScriptedPeer, handshake_request

from ..sansio.helpers import SPLITS, Split, feed, read_http, state_of
from ..websocket.helpers import closing
from ..websocket.helpers import connection as streams
from .helpers import both_sides
from .test_header_floods import flooded, fresh, places

MAX_COUNT = 128
MAX_LINE = 8192


def own(head: bytes) -> int:
    """How many headers *head* has."""
    return head.count(b"\r\n") - 2


def refused(protocol: Protocol, status: int) -> None:
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert protocol.handshake_exc.status == status
    assert protocol.events_received() == []
    assert state_of(protocol) is State.CONNECTING
    *written, end = protocol.data_to_send()
    assert end == b""
    if protocol.side is Side.SERVER:
        assert read_http(b"".join(written)).first_line.startswith(f"HTTP/1.1 {status} ")


@both_sides
@places
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("field", [b"a:\r\n", b"Cookie: x\r\n", b"Upgrade: x\r\n"])
def test_one_header_too_many_is_refused(
    side: Side, upgrade: str, split: Split, field: bytes
) -> None:
    protocol, head = fresh(side)
    number = MAX_COUNT + 1 - own(head)
    feed(protocol, flooded(head, field, number * len(field), upgrade=upgrade), split)
    refused(protocol, 431)


@both_sides
@places
@pytest.mark.parametrize("split", SPLITS)
def test_as_many_as_the_limit_are_read(side: Side, upgrade: str, split: Split) -> None:
    protocol, head = fresh(side)
    field = b"Cookie: x\r\n"
    number = MAX_COUNT - own(head)
    feed(protocol, flooded(head, field, number * len(field), upgrade=upgrade), split)
    [event] = protocol.events_received()
    assert len(event.headers.get_all("Cookie")) == number  # type: ignore[union-attr]  # it has some
    assert protocol.handshake_exc is None


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("extra", [-1, 0, 1, 100])
def test_a_request_line_has_its_own_limit(split: Split, extra: int) -> None:
    size = MAX_LINE + extra
    server = ServerProtocol()
    target = "/" + "x" * (size - len("GET / HTTP/1.1\r\n"))
    feed(server, handshake_request(target), split)
    if extra > 0:
        refused(server, 414)
    else:
        assert len(server.events_received()) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_a_request_line_without_end_is_refused_at_the_limit(split: Split) -> None:
    server = ServerProtocol()
    feed(server, b"GET /" + b"x" * MAX_LINE, split)
    refused(server, 414)


@places
async def test_accept_websocket_answers_431(upgrade: str) -> None:
    ours, theirs = await streams()
    async with closing(theirs):
        peer = ScriptedPeer(theirs, Side.CLIENT)
        await peer.send(flooded(handshake_request("/"), b"a:\r\n", 4 * MAX_COUNT, upgrade=upgrade))
        with pytest.raises(InvalidMessage):
            async with accept_websocket(ours, close_timeout=0):
                raise AssertionError("a flood was accepted")
        assert (await peer.receive_head()).startswith(b"HTTP/1.1 431 ")
