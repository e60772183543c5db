"""P9. Closing never waits for the application, and never longer than ``close_timeout``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeAlias

import anyio
import pytest

from anyio_ws import ConnectionClosedOK, State, WebSocket, accept_websocket, open_websocket
from anyio_ws.testing import ScriptedPeer, cancel_sweep

from ..sansio.helpers import CLOSE, close, text
from ..websocket.helpers import settle
from .helpers import both_ways, collect, fill, time_limit, virtual
from .links import Link

Ends: TypeAlias = AbstractAsyncContextManager[tuple[WebSocket, ScriptedPeer]]
Block: TypeAlias = AbstractAsyncContextManager[WebSocket]

either_side = pytest.mark.parametrize("side", ["client", "server"])


def one_and_peer(
    link: Link, side: str, close_timeout: float | None = 0, *, small: bool = False
) -> Ends:
    """A connection of ours and the other end made by hand."""
    one = link.client_and_peer if side == "client" else link.server_and_peer
    return one(small=small, close_timeout=close_timeout)


async def read_to_close(peer: ScriptedPeer) -> int | None:
    """Read up to the Close frame, and return its code; None if the stream ends before."""
    try:
        while (frame := await peer.receive()).opcode != CLOSE:
            pass
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    return int.from_bytes(frame.payload[:2], "big")


class TestTwoEndsThatStreamAtEachOther:
    """Large messages in both directions, and a task at either end that receives."""

    async def test_never_deadlock(self, link: Link) -> None:
        """64 MiB in each direction through small buffers; fewer where each chunk takes longer."""
        message = bytes(2**20)
        number = 64 if link.kind == "sockets" else 8

        async def stream(ws: WebSocket) -> None:
            for _ in range(number):
                await ws.send(message)

        async def receive(ws: WebSocket) -> None:
            for _ in range(number):
                assert len(await ws.receive()) == len(message)

        async with link.connected(small=True) as ends:
            async with anyio.create_task_group() as tasks:
                for ws in ends:
                    tasks.start_soon(stream, ws)
                    tasks.start_soon(receive, ws)

    async def test_never_deadlock_with_hardly_any_buffers(self, link: Link) -> None:
        async def stream(ws: WebSocket) -> None:
            for _ in range(10):
                await ws.send(bytes(200_000))

        async def receive(ws: WebSocket) -> None:
            for _ in range(10):
                assert len(await ws.receive()) == 200_000

        async with link.connected(
            small=True,
            client={"write_limit": 0, "read_limit": 1},
            server={"write_limit": 0, "read_limit": 1},
        ) as ends:
            async with anyio.create_task_group() as tasks:
                for ws in ends:
                    tasks.start_soon(stream, ws)
                    tasks.start_soon(receive, ws)

    async def test_close_without_a_deadlock_in_the_middle_of_it(self, link: Link) -> None:
        async def stream(ws: WebSocket) -> None:
            with suppress(ConnectionClosedOK):
                while True:
                    await ws.send(bytes(200_000))

        async with link.connected(client={"close_timeout": None}) as (client, server):
            async with anyio.create_task_group() as tasks:
                for ws in (client, server):
                    tasks.start_soon(stream, ws)
                    tasks.start_soon(collect, ws, [])
                await settle()
                await client.aclose()
            assert server.close_code == client.close_code == 1000

    async def test_close_at_once_and_without_a_deadlock_when_nobody_receives(
        self, link: Link
    ) -> None:
        async with link.connected(
            small=True, client={"close_timeout": None}, server={"close_timeout": None}
        ) as ends:
            for ws in ends:
                await ws.send(bytes(100_000))
            async with anyio.create_task_group() as tasks:
                for ws in ends:
                    tasks.start_soon(ws.aclose)
            assert [ws.close_code for ws in ends] == [1000, 1000]


@virtual
@either_side
class TestClosing:
    """``aclose`` takes ``close_timeout`` at most, to the moment."""

    @pytest.mark.parametrize("close_timeout", [0, 0.5, 10, 100])
    async def test_takes_close_timeout_when_the_peer_never_answers(
        self, link: Link, side: str, close_timeout: float
    ) -> None:
        async with one_and_peer(link, side, close_timeout) as (ws, peer):
            begin = anyio.current_time()
            await ws.aclose(4000)
            assert anyio.current_time() - begin == pytest.approx(close_timeout)
            assert ws.close_code == 1006
            assert ws.state is State.CLOSED
            if close_timeout:
                assert await read_to_close(peer) == 4000

    async def test_takes_close_timeout_when_the_peer_does_not_end_the_stream(
        self, link: Link, side: str
    ) -> None:
        async with one_and_peer(link, side, 3) as (ws, peer):
            await peer.send(close(1000))
            begin = anyio.current_time()
            await ws.aclose()
            assert anyio.current_time() - begin == pytest.approx(3)
            assert ws.close_code == 1000

    async def test_takes_close_timeout_when_the_peer_has_stopped_reading(
        self, link: Link, side: str
    ) -> None:
        async with one_and_peer(link, side, 3, small=True) as (ws, _):
            await fill(ws, bytes(50_000))
            begin = anyio.current_time()
            await ws.aclose()
            assert anyio.current_time() - begin == pytest.approx(3)
            assert ws.state is State.CLOSED

    async def test_takes_close_timeout_when_the_peer_goes_on_talking(
        self, link: Link, side: str
    ) -> None:
        async def talk(peer: ScriptedPeer) -> None:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await peer.send(text("and another thing"))
                    await anyio.sleep(0.1)

        async with one_and_peer(link, side, 3) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(talk, peer)
                begin = anyio.current_time()
                await ws.aclose()
                assert anyio.current_time() - begin == pytest.approx(3)
                tasks.cancel_scope.cancel()
            with pytest.raises(anyio.ClosedResourceError):
                await ws.receive()

    async def test_takes_close_timeout_when_the_other_application_does_not_receive(
        self, link: Link, side: str
    ) -> None:
        async with link.connected(
            client={"max_queue": 1, "close_timeout": 3}, server={"max_queue": 1, "close_timeout": 3}
        ) as ends:
            this, that = ends if side == "client" else reversed(ends)
            for number in range(3):
                await this.send(str(number))
            begin = anyio.current_time()
            await this.aclose()
            assert anyio.current_time() - begin == pytest.approx(3)
            assert [await that.receive() for _ in range(3)] == ["0", "1", "2"], "all was sent"

    async def test_takes_no_time_with_a_thousand_unread_messages(
        self, link: Link, side: str
    ) -> None:
        async with link.connected(client={"max_queue": 10}, server={"max_queue": 10}) as ends:
            this, that = ends if side == "client" else reversed(ends)
            for number in range(1000):
                await that.send(str(number))
            await settle()
            begin = anyio.current_time()
            await this.aclose()
            assert anyio.current_time() - begin == pytest.approx(0)
            assert this.close_code == 1000
            with pytest.raises(ConnectionClosedOK):
                await that.receive()

    async def test_takes_as_long_as_the_peer_without_close_timeout(
        self, link: Link, side: str
    ) -> None:
        async def answer_late(peer: ScriptedPeer) -> None:
            await anyio.sleep(5000)
            await peer.send(close(1000))
            await peer.aclose()

        async with one_and_peer(link, side, None) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer_late, peer)
                await ws.aclose()
            assert anyio.current_time() >= 5000
            assert ws.close_code == 1000

    async def test_that_is_cancelled_still_closes_and_at_once(self, link: Link, side: str) -> None:
        for attempt in cancel_sweep():
            async with one_and_peer(link, side, 50, small=True) as (ws, peer):
                await fill(ws, bytes(1000))
                begin = anyio.current_time()
                await attempt.run(ws.aclose())
                await settle()
                assert ws.state is State.CLOSED, attempt
                took = anyio.current_time() - begin  # it may be cancelled when the time was up, too
                assert took in (pytest.approx(0), pytest.approx(50)), attempt
                assert await read_to_close(peer) is None, attempt

    @both_ways
    async def test_under_a_time_limit_takes_no_longer_than_that(
        self, link: Link, side: str, native: bool
    ) -> None:
        async with one_and_peer(link, side, 50) as (ws, peer):
            begin = anyio.current_time()
            async with time_limit(2, native=native):
                await ws.aclose()
            await settle()
            assert ws.state is State.CLOSED
            assert anyio.current_time() - begin == pytest.approx(2)
            assert await read_to_close(peer) == 1000


CALLS: dict[str, Callable[[WebSocket], Awaitable[object]]] = {
    "send": lambda ws: ws.send("x"),
    "send in fragments": lambda ws: ws.send(["x", "y"]),
    "send_ping": WebSocket.send_ping,
    "flush": WebSocket.flush,
    "ping": WebSocket.ping,
    "receive": WebSocket.receive,
    "wait_closed": WebSocket.wait_closed,
}


@virtual
@either_side
@pytest.mark.parametrize("call", CALLS)
async def test_aclose_wakes_whoever_waits(link: Link, side: str, call: str) -> None:
    begin = 0.0
    ended: list[float] = []

    async def wait(ws: WebSocket) -> None:
        try:
            await CALLS[call](ws)
        except anyio.ClosedResourceError:
            pass
        else:
            assert call == "wait_closed"
        ended.append(anyio.current_time())

    begin = 0.0
    async with one_and_peer(link, side, 5, small=True) as (ws, _):
        await fill(ws, bytes(50_000))
        await ws.send_ping(b"the one that waits to leave")
        async with anyio.create_task_group() as tasks:
            for _ in range(1 if call == "receive" else 3):
                tasks.start_soon(wait, ws)
            await settle()
            assert not ended
            begin = anyio.current_time()
            await ws.aclose()
        at_once = call in ("send", "send in fragments", "send_ping", "ping")
        assert ended
        for end in ended:  # the others wait for what the peer still has to say
            assert end - begin == pytest.approx(0 if at_once else 5)


class NoException(BaseException):
    """Neither an `Exception` nor a cancellation."""


async def be_cancelled(block: Block, ready: anyio.Event) -> None:
    with anyio.CancelScope() as scope:
        async with block:
            await ready.wait()
            scope.cancel()
            await anyio.sleep_forever()


async def raise_something_else(block: Block, ready: anyio.Event) -> None:
    with pytest.raises(NoException):  # noqa: PT012  # the block is the subject
        async with block:
            await ready.wait()
            raise NoException


LEAVE = {"cancelled": be_cancelled, "something else": raise_something_else}


async def leave(link: Link, side: str, how: str, *, unread: int = 0) -> int | None:
    """Leave one block in a task, with messages unread; return the close code that the other end sees."""
    one, other = link.pair()
    client: Block = open_websocket(link.url, stream=one, **link._client({"max_queue": 1}))
    server: Block = accept_websocket(other, **link._server({"max_queue": 1}))
    leaving, staying = (client, server) if side == "client" else (server, client)
    ready = anyio.Event()
    code: int | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(LEAVE[how], leaving, ready)
        async with staying as ws:
            for _ in range(unread):
                await ws.send("unread")
            ready.set()
            await ws.wait_closed()
            code = ws.close_code
    return code


@virtual
@either_side
class TestLeavingTheBlock:
    """Normally, 1000; by an `Exception`, 1011; by anything else, 1001 and no waiting."""

    @pytest.mark.parametrize("how", ["normally", "by an exception"])
    async def test_waits_for_the_peer_for_close_timeout_at_most(
        self, link: Link, side: str, how: str
    ) -> None:
        begin = 0.0
        codes: list[int | None] = []

        async def look(peer: ScriptedPeer) -> None:
            codes.append(await read_to_close(peer))

        async with anyio.create_task_group() as tasks:
            try:
                async with one_and_peer(link, side, 7) as (_, peer):
                    tasks.start_soon(look, peer)
                    begin = anyio.current_time()
                    if how != "normally":
                        raise LookupError
            except* LookupError:  # from within the task group of the helper
                pass
        assert anyio.current_time() - begin == pytest.approx(7)
        assert codes == [1000 if how == "normally" else 1011]

    @pytest.mark.parametrize("how", LEAVE)
    async def test_by_anything_else_does_not_wait(self, link: Link, side: str, how: str) -> None:
        begin = anyio.current_time()
        seen = await leave(link, side, how)
        assert anyio.current_time() == begin
        assert seen in (1001, 1006), "a stream that can't be written to at once loses the Close"

    @pytest.mark.parametrize("link", ["sockets", "tls"], indirect=True)
    @pytest.mark.parametrize("unread", [0, 1000])
    @pytest.mark.parametrize("how", LEAVE)
    async def test_by_anything_else_tells_the_peer_over_a_socket(
        self, link: Link, side: str, how: str, unread: int
    ) -> None:
        assert await leave(link, side, how, unread=unread) == 1001


async def test_a_block_that_ends_normally_in_a_cancelled_scope_says_goodbye(link: Link) -> None:
    """Nothing in it waited, so nothing in it was cancelled."""
    one, other = link.pair()
    code: int | None = None

    async def stay() -> None:
        nonlocal code
        async with accept_websocket(other, **link._server({})) as ws:
            await ws.wait_closed()
            code = ws.close_code

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stay)
        with anyio.CancelScope() as scope:
            async with open_websocket(link.url, stream=one, **link._client({})):
                scope.cancel()
    # Over a stream it can't be written without waiting.
    assert code in ((1000,) if link.kind != "streams" else (1000, 1006))
