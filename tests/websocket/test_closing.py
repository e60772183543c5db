"""The closing handshake: who starts it, and who sees what."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyio_ws import (
    Close,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ProtocolError,
    ProtocolViolation,
    State,
    WebSocket,
)

from ..sansio.helpers import CLOSE, Raw, close, text
from .helpers import client_and_peer, connected, server_and_peer, settle

CALLS: dict[str, Callable[[WebSocket], Awaitable[object]]] = {
    "receive": WebSocket.receive,
    "send": lambda ws: ws.send("x"),
    "send_fragments": lambda ws: ws.send(["x"]),
    "ping": WebSocket.ping,
    "send_ping": WebSocket.send_ping,
    "send_pong": WebSocket.send_pong,
}

every_call = pytest.mark.parametrize("call", CALLS)


async def closed_by(call: str, ws: WebSocket) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        await CALLS[call](ws)
    return caught.value


def stream_errors(exc: BaseException) -> list[str]:
    kinds = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)
    return [kind.__name__ for kind in kinds if isinstance(exc, kind)]


# -- who sees what


@pytest.mark.parametrize("closer", ["client", "server"])
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "moving"), (1011, "oops"), (3000, ""), (4999, "ö" * 61)]
)
async def test_both_ends_see_code_and_reason_whoever_closes(
    closer: str, code: int, reason: str
) -> None:
    async with connected() as ends:
        this, that = ends if closer == "client" else reversed(ends)
        assert (this.close_code, this.close_reason, this.state) == (None, None, State.OPEN)
        await this.aclose(code, reason)
        expected = ConnectionClosedOK if code < 1002 else ConnectionClosedError
        for ws, sent_first in ((this, True), (that, False)):
            assert (ws.close_code, ws.close_reason) == (code, reason)
            exc = await closed_by("receive", ws)
            assert type(exc).__mro__[1] is expected
            assert (exc.rcvd, exc.sent) == (Close(code, reason), Close(code, reason))
            assert exc.rcvd_then_sent is not sent_first
        await that.wait_closed()
        assert this.state is that.state is State.CLOSED


@every_call
async def test_after_the_peer_closed_normally_it_is_the_end_of_the_stream(call: str) -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(close(1000, "bye"))
        await settle()
        exc = await closed_by(call, ws)
        assert isinstance(exc, ConnectionClosedOK)
        expected = "EndOfStream" if call == "receive" else "BrokenResourceError"
        assert stream_errors(exc) == [expected]


@every_call
async def test_after_the_peer_closed_abnormally_the_stream_is_broken(call: str) -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(close(1011))
        await settle()
        exc = await closed_by(call, ws)
        assert isinstance(exc, ConnectionClosedError)
        assert stream_errors(exc) == ["BrokenResourceError"]


@every_call
@pytest.mark.parametrize("code", [1000, 4000])
async def test_after_this_side_closed_the_resource_is_closed(call: str, code: int) -> None:
    async with connected() as (client, _):
        await client.aclose(code)
        assert stream_errors(await closed_by(call, client)) == ["ClosedResourceError"]


@pytest.mark.parametrize("end", ["eof", "reset"])
@every_call
async def test_after_the_connection_broke_the_error_says_how(call: str, end: str) -> None:
    async with server_and_peer(resettable=True) as (ws, peer):
        if end == "eof":
            await peer.send_eof()
        else:
            await peer.reset()
        await settle()
        exc = await closed_by(call, ws)
        assert isinstance(exc, ConnectionClosedError)
        assert stream_errors(exc) == ["BrokenResourceError"]
        assert str(exc) == "no close frame received or sent"
        causes = (EOFError,) if end == "eof" else (ConnectionResetError, anyio.BrokenResourceError)
        assert isinstance(exc.__cause__, causes)
        assert (ws.close_code, ws.close_reason) == (1006, "")
        assert ws.state is State.CLOSED


@pytest.mark.parametrize("code", [1000, 1011])
@pytest.mark.parametrize("call", ["receive", "send"])
async def test_what_is_raised_prints_and_pickles_as_the_public_class(call: str, code: int) -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(close(code, "bye"))
        await settle()
        exc = await closed_by(call, ws)
    public = ConnectionClosedOK if code == 1000 else ConnectionClosedError
    assert type(exc).__name__ == type(exc).__qualname__ == public.__name__
    assert type(exc).__module__ == public.__module__
    assert repr(exc).startswith(f"{public.__name__}(")
    assert str(exc) == str(public(exc.rcvd, exc.sent, exc.rcvd_then_sent))
    assert exc.connection_id is not None
    copy = pickle.loads(pickle.dumps(exc))
    assert copy.connection_id == exc.connection_id
    assert type(copy) is public
    assert (copy.rcvd, copy.sent, copy.rcvd_then_sent) == (exc.rcvd, exc.sent, True)


@pytest.mark.parametrize(
    ("frame", "code", "said"),
    [
        (text("x")._replace(rsv=0x10), 1002, "reserved bits"),
        (Raw(0x3), 1002, "reserved opcode 0x3"),
        (close(1005), 1002, "invalid close code 1005"),
        (text(b"\xc3("), 1007, "isn't UTF-8"),
        (text("x" * 101), 1009, "exceeds the limit of 100"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_violation_fails_the_connection_and_is_the_cause(
    frame: Raw, code: int, said: str
) -> None:
    async with server_and_peer(max_size=100) as (ws, peer):
        await peer.send(frame)
        exc = await closed_by("receive", ws)
        assert isinstance(exc, ConnectionClosedError)
        assert exc.sent is not None
        assert exc.sent.code == code
        assert isinstance(exc.__cause__, ProtocolViolation)
        assert said in str(exc.__cause__)
        sent = await peer.receive()
        assert (sent.opcode, sent.payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
        assert await peer.receive_rest() == b"", "a server ends the stream at once"


async def test_a_client_fails_the_connection_and_lets_the_server_end_the_stream() -> None:
    async with client_and_peer() as (ws, peer):
        await peer.send(Raw(0x3))
        with pytest.raises(ConnectionClosedError, match="1002"):
            await ws.receive()
        assert (await peer.receive()).opcode == CLOSE
        assert not ws._connection.lost
        await peer.send_eof()
        await ws.wait_closed()
        assert ws.state is State.CLOSED


# -- aclose


@pytest.mark.parametrize("code", [999, 1005, 1006, 5000])
@pytest.mark.parametrize("how", [WebSocket.aclose, WebSocket.send_eof])
async def test_a_code_that_cannot_be_sent_is_refused_and_nothing_happens(
    how: Callable[[WebSocket, int], Awaitable[None]], code: int
) -> None:
    async with connected() as (client, server):
        with pytest.raises(ProtocolError, match=str(code)):
            await how(client, code)
        await client.send("still open")
        assert await server.receive() == "still open"


async def test_a_reason_that_is_too_long_is_refused_and_a_message_in_fragments_goes_on() -> None:
    more = anyio.Event()

    class Fragments:
        """Two fragments, the second when `more` is set."""

        def __init__(self) -> None:
            self.left = ["a", "b"]

        def __aiter__(self) -> Fragments:
            return self

        async def __anext__(self) -> str:
            if len(self.left) == 1:
                await more.wait()
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    async with connected() as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, Fragments())
            await settle()
            with pytest.raises(ValueError, match="124 bytes"):
                await client.aclose(1000, "x" * 124)
            more.set()
        assert await server.receive() == "ab"


async def test_an_error_names_its_connection_and_a_connection_its_error() -> None:
    async with server_and_peer() as (ws, peer), server_and_peer() as (other, _):
        assert ws.closed_exc is None
        await peer.send(text("before"), close(4000, "why"))
        await settle()
        ended = ws.closed_exc
        assert isinstance(ended, ConnectionClosedError)
        assert ended.rcvd == Close(4000, "why")
        assert await ws.receive() == "before"
        for call in CALLS:
            assert (await closed_by(call, ws)).connection_id == ended.connection_id == ws.id
        assert other.closed_exc is None
        await other.aclose()
        assert (await closed_by("receive", other)).connection_id == other.id


async def test_closing_again_does_nothing() -> None:
    async with connected() as (client, server):
        await client.aclose(4000, "first")
        await client.aclose(4001, "second")
        assert client.close_code == 4000
        await server.aclose(4002)
        assert server.close_code == 4000


async def test_what_was_sent_before_goes_out_before_the_close_frame() -> None:
    async with server_and_peer(buffer=200) as (ws, peer):
        await ws.send("x" * 1000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send_eof)
            assert (await peer.receive()).payload == b"x" * 1000
            assert await peer.receive() == close(1000)


async def test_anyio_can_close_it_forcefully() -> None:
    async with server_and_peer(close_timeout=None) as (ws, peer):
        await anyio.aclose_forcefully(ws)
        await peer.receive_rest()
        await settle()
        assert ws.state is State.CLOSED


# -- send_eof


async def test_after_send_eof_receiving_goes_on_until_the_peer_closes_too() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send_eof(1001, "no more from here")
        assert await peer.receive() == close(1001, "no more from here")
        assert ws.state is State.CLOSING
        await peer.send(text("one"), text("two"))
        assert [await ws.receive(), await ws.receive()] == ["one", "two"]
        await closed_by("send", ws)
        await ws.send_eof()  # does nothing now
        await peer.send(close(1001))
        exc = await closed_by("receive", ws)
        assert isinstance(exc, anyio.EndOfStream)
        assert exc.rcvd_then_sent is False


@pytest.mark.parametrize("call", ["send", "ping", "send_fragments"])
async def test_send_eof_wakes_whoever_waits_to_send(call: str) -> None:
    async with server_and_peer(buffer=1000, write_limit=10) as (ws, _):
        ws.send_nowait("x" * 100_000)  # more than the transport takes
        if call == "ping":
            await ws.send_ping(b"the one that waits")
        ended: list[ConnectionClosed] = []

        async def wait() -> None:
            ended.append(await closed_by(call, ws))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settle()
            assert not ended
            await ws.send_eof()
        assert len(ended) == 1


# -- wait_closed


@pytest.mark.parametrize("closer", ["this", "that"])
async def test_wait_closed_waits_whoever_closes(closer: str) -> None:
    async with connected() as (this, that):
        waited = anyio.Event()

        async def wait() -> None:
            await this.wait_closed()
            waited.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settle()
            assert not waited.is_set()
            await (this if closer == "this" else that).aclose(4000)
        assert waited.is_set()
        assert this.state is State.CLOSED
        await this.wait_closed()


async def test_wait_closed_does_not_drop_what_arrived() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("one"), close(1000))
        await peer.send_eof()
        await ws.wait_closed()
        assert await ws.receive() == "one"


async def test_wait_closed_lets_a_violation_take_effect() -> None:
    async with server_and_peer(close_timeout=None) as (ws, peer):
        await peer.send(text("one"), Raw(0x3))
        assert await ws.receive() == "one"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.wait_closed)
            assert (await peer.receive()).opcode == CLOSE
            await peer.aclose()
        assert ws.close_code == 1006


@pytest.mark.usefixtures("virtual_time")
async def test_wait_closed_gives_the_peer_close_timeout_to_end_the_stream() -> None:
    async with client_and_peer(close_timeout=7) as (ws, peer):
        start = anyio.current_time()
        await peer.send(close(1000))
        await ws.wait_closed()
        assert anyio.current_time() - start == pytest.approx(7)
        assert ws.close_code == 1000
        assert ws.state is State.CLOSED


@pytest.mark.usefixtures("virtual_time")
async def test_with_no_time_to_close_in_nobody_is_waited_for() -> None:
    async with client_and_peer(close_timeout=0) as (ws, _):
        start = anyio.current_time()
        await ws.aclose(1000)  # which nobody answers
        assert anyio.current_time() == start
        assert ws.state is State.CLOSED


# -- flush


async def test_flush_waits_until_the_peer_has_taken_everything() -> None:
    async with server_and_peer(buffer=200) as (ws, peer):
        await ws.flush()  # nothing to wait for
        await ws.send("x" * 300)
        flushed = anyio.Event()

        async def flush() -> None:
            await ws.flush()
            flushed.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flush)
            await settle()
            assert not flushed.is_set()
            assert ws.buffered_amount > 0
            await peer.receive()
        assert flushed.is_set()
        assert ws.buffered_amount == 0


async def test_flush_says_when_the_connection_broke() -> None:
    async with server_and_peer(buffer=200) as (ws, peer):
        await ws.send("x" * 300)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(closed_while_flushing, ws)
            await settle()
            await peer.reset()


async def closed_while_flushing(ws: WebSocket) -> None:
    with pytest.raises(ConnectionClosedError):
        await ws.flush()


async def test_sending_after_our_own_end_is_a_closed_resource_and_receiving_ends_in_order() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await ws.send("too late")
        await peer.send(text("still here"), close(1000))
        assert await ws.receive() == "still here"
        with pytest.raises(anyio.EndOfStream):
            await ws.receive()
        with pytest.raises(anyio.ClosedResourceError):
            ws.send_nowait("too late")
