"""What comes out of a block is what its body raised; what became of the connection is not raised."""

# ruff: noqa: PT011, PT012  # blocks are the subject, and what they raise is compared by identity

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from anyio_ws import (
    ConnectionClosed,
    ConnectionClosedError,
    State,
    WebSocket,
    accept_websocket,
    mux,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, memory_stream_pair

from ..sansio.helpers import CLOSE, close, text
from .helpers import (
    REQUEST,
    URL,
    client_and_peer,
    connected,
    server_and_peer,
    settle,
)


class CustomBase(BaseException):
    """Neither an `Exception` nor a cancellation."""


class Unhashable(Exception):
    """Compares by value, as a dataclass would."""

    __hash__ = None  # type: ignore[assignment]  # that is the point

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("of the body"),
    "StopIteration": StopIteration,
    "TimeoutError": TimeoutError,
    "EndOfStream": anyio.EndOfStream,
    "ConnectionClosed": lambda: ConnectionClosedError(None, None),
    "unhashable": Unhashable,
    "group": lambda: ExceptionGroup("of the body", [ValueError(), KeyError()]),
    "group of one": lambda: ExceptionGroup("of the body", [ValueError()]),
    "nested group": lambda: ExceptionGroup("a", [ExceptionGroup("b", [ValueError()])]),
    "base group": lambda: BaseExceptionGroup("of the body", [CustomBase(), ValueError()]),
    "CustomBase": CustomBase,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


# Every block runs in a task group of a test helper's making, which would wrap what comes out. So the
# manager under test is entered inside, around nothing but the body.


@asynccontextmanager
async def handmade_server() -> AsyncIterator[Any]:
    """The client's end of a stream whose other end answers one handshake."""
    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ScriptedPeer(theirs, Side.SERVER).accept)
        yield ours


@asynccontextmanager
async def client() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with handmade_server() as stream:
        yield open_websocket(URL, stream=stream, close_timeout=0)


@asynccontextmanager
async def server_end() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    ours, theirs = memory_stream_pair()
    await theirs.send(REQUEST)
    yield accept_websocket(ours, close_timeout=0)


async def sleep_forever(ws: WebSocket) -> None:
    await anyio.sleep_forever()


@asynccontextmanager
async def server() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    yield open_server(sleep_forever, "127.0.0.1", 0, close_timeout=0)


@asynccontextmanager
async def busy_server() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    class Busy(AsyncExitStack):
        async def __aenter__(self) -> Busy:
            server = await self.enter_async_context(
                open_server(sleep_forever, "127.0.0.1", 0, close_timeout=0)
            )
            await self.enter_async_context(open_websocket(server.url, close_timeout=0))
            return self

    yield Busy()


@asynccontextmanager
async def merged() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with server_and_peer() as (ws, _):
        yield mux(ws)


@asynccontextmanager
async def merged_cancel() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with server_and_peer() as (ws, _):
        yield mux(ws, on_disconnect="cancel")


@asynccontextmanager
async def events() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("waits"))
        yield ws.events()


@asynccontextmanager
async def fragments() -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with server_and_peer() as (ws, _):
        yield ws.receive_fragments()


Prepare = Callable[[], AbstractAsyncContextManager[AbstractAsyncContextManager[object]]]

MANAGERS: dict[str, Prepare] = {
    "open_websocket": client,
    "accept_websocket": server_end,
    "open_server": server,
    "busy server": busy_server,
    "mux": merged,
    "mux cancel": merged_cancel,
    "events": events,
    "receive_fragments": fragments,
}

every_manager = pytest.mark.parametrize("manager", MANAGERS)


@every_manager
@pytest.mark.parametrize("kind", ERRORS)
async def test_what_the_body_raises_comes_out_as_that_very_object(manager: str, kind: str) -> None:
    error = ERRORS[kind]()
    async with MANAGERS[manager]() as context:
        with pytest.raises(BaseException) as caught:
            async with context:
                raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = [entry.frame.code.name for entry in caught.traceback]
    assert frames[0] == "test_what_the_body_raises_comes_out_as_that_very_object"
    assert "exit_group" not in frames


@every_manager
async def test_cause_and_context_stay_what_they_were(manager: str) -> None:
    cause, error = KeyError("cause"), ValueError("error")
    async with MANAGERS[manager]() as context:
        with pytest.raises(ValueError) as caught:
            async with context:
                try:
                    raise LookupError("context")
                except LookupError:
                    raise error from cause
    assert caught.value is error
    assert error.__cause__ is cause
    assert isinstance(error.__context__, LookupError)


@every_manager
async def test_a_cancelled_scope_outside_is_left_in_order(manager: str) -> None:
    async with MANAGERS[manager]() as context:
        with anyio.CancelScope() as scope:
            async with context:
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        await settle()  # and nobody else is cancelled


@every_manager
async def test_a_scope_inside_the_block_stays_inside(manager: str) -> None:
    async with MANAGERS[manager]() as context:
        after = False
        async with context:
            with anyio.move_on_after(0):
                await anyio.sleep_forever()
            await settle()
            after = True
        assert after


@every_manager
async def test_what_is_raised_during_a_cancellation_comes_out(manager: str) -> None:
    error = ValueError("while being cancelled")
    async with MANAGERS[manager]() as context:
        with pytest.raises(ValueError) as caught:
            with anyio.CancelScope() as scope:
                async with context:
                    try:
                        scope.cancel()
                        await anyio.sleep_forever()
                    finally:
                        raise error
    assert caught.value is error


@every_manager
async def test_a_task_group_inside_raises_its_group_through_the_block(manager: str) -> None:
    error = ValueError()

    async def fail() -> None:
        raise error

    group: list[Exception] = []
    async with MANAGERS[manager]() as context:
        with pytest.raises(ExceptionGroup) as caught:
            async with context:
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(fail)
                        await anyio.sleep_forever()
                except ExceptionGroup as exc:
                    group.append(exc)
                    raise
    assert caught.value is group[0]
    assert caught.value.exceptions == (error,)


async def test_nested_blocks_and_an_exit_stack_keep_the_exception() -> None:
    error = ExceptionGroup("of the body", [ValueError()])
    async with AsyncExitStack() as outside:
        contexts = [
            await outside.enter_async_context(prepare()) for prepare in (server_end, events, server)
        ]
        with pytest.raises(ExceptionGroup) as caught:
            async with AsyncExitStack() as stack:
                for context in contexts:
                    await stack.enter_async_context(context)
                raise error
    assert caught.value is error


@pytest.mark.usefixtures("virtual_time")
async def test_a_time_limit_around_everything_ends_everything_in_time() -> None:
    with anyio.move_on_after(30) as scope:
        async with open_server(sleep_forever, "127.0.0.1", 0) as server:
            async with open_websocket(server.url) as ws:
                async with mux(ws) as merged:
                    await merged.receive()
    assert scope.cancelled_caught
    assert anyio.current_time() == pytest.approx(30)


@pytest.mark.usefixtures("virtual_time")
async def test_a_time_limit_around_one_receive_harms_nothing() -> None:
    async with connected() as (client, server):
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1):
                await client.receive()
        await server.send("still there")
        assert await client.receive() == "still there"


# -- asyncio's own ways to cancel


def test_asyncios_own_timeout_ends_a_block() -> None:
    async def main() -> None:
        async with open_server(WebSocket.wait_closed, "127.0.0.1", 0) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    async with open_websocket(server.url) as ws:
                        await ws.receive()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    asyncio.run(main())


@pytest.mark.parametrize("where", ["opening", "body", "closing"])
def test_a_task_that_is_cancelled_natively_ends_cancelled(where: str) -> None:
    async def use(stream: Any, reached: asyncio.Event) -> None:
        if where == "opening":
            reached.set()
        async with open_websocket(URL, stream=stream, close_timeout=None) as ws:
            reached.set()
            if where == "body":
                await ws.receive()

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        reached = asyncio.Event()
        task = asyncio.create_task(use(ours, reached))
        if where != "opening":
            await ScriptedPeer(theirs, Side.SERVER).accept()
        await reached.wait()
        await settle()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()

    asyncio.run(main())


# -- how the connection is closed


@pytest.mark.parametrize("ours", ["server", "client"])
async def test_leaving_normally_closes_with_1000(ours: str) -> None:
    context = server_and_peer if ours == "server" else client_and_peer
    async with anyio.create_task_group() as tasks:
        async with context(close_timeout=None) as (_, peer):
            tasks.start_soon(finish, peer, 1000)


@pytest.mark.parametrize("kind", ["ValueError", "group", "TimeoutError"])
async def test_leaving_by_an_exception_closes_with_1011_and_does_not_tell_why(kind: str) -> None:
    error = ERRORS[kind]()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(type(error)):
            async with server_and_peer(close_timeout=None) as (_, peer):
                tasks.start_soon(finish, peer, 1011)
                raise error


async def finish(peer: ScriptedPeer, code: int) -> None:
    """Do the peer's part of a closing handshake, and see that there is nothing else."""
    assert await peer.receive() == close(code)
    await peer.send(close(code))
    await peer.send_eof()
    assert await peer.receive_rest() == b""


async def test_leaving_by_cancellation_does_not_wait_for_the_peer() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(REQUEST)
    with anyio.CancelScope() as scope:
        async with accept_websocket(ours, close_timeout=None) as ws:
            await ws.flush()  # the response
            scope.cancel()
            await anyio.sleep_forever()
    peer = ScriptedPeer(theirs, Side.CLIENT)
    await peer.receive_head()
    # A stream that can't be written to without waiting loses the Close frame.
    assert await peer.receive_rest() in (b"", close(1001).serialize(masked=False))


async def test_leaving_a_block_whose_connection_is_gone_is_quiet() -> None:
    async with server_and_peer(close_timeout=None, resettable=True) as (ws, peer):
        await peer.reset()
    assert ws.state is State.CLOSED
    async with server_and_peer(close_timeout=None) as (ws, peer):
        await peer.send(text("x")._replace(rsv=0x70))
        await peer.aclose()
    assert ws.close_code == 1006


async def test_a_connection_that_breaks_wakes_those_who_wait_and_does_not_cancel_the_body() -> None:
    ended: list[str] = []

    async with server_and_peer(buffer=1000, write_limit=0) as (ws, peer):

        async def wait(name: str, call: Callable[[], Any]) -> None:
            try:
                await call()
            except ConnectionClosed:
                pass
            ended.append(name)

        ws.send_nowait("x" * 100_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "receive", ws.receive)
            tasks.start_soon(wait, "send", lambda: ws.send("y"))
            tasks.start_soon(wait, "flush", ws.flush)
            tasks.start_soon(wait, "ping", ws.ping)
            tasks.start_soon(wait, "wait_closed", ws.wait_closed)
            await settle()
            assert not ended
            await peer.reset()
        assert sorted(ended) == ["flush", "ping", "receive", "send", "wait_closed"]
        await settle()
        ended.append("and the body goes on")
    assert ended[-1] == "and the body goes on"


async def test_a_block_can_be_left_while_others_still_use_the_connection() -> None:
    async with anyio.create_task_group() as tasks:
        async with server_and_peer() as (ws, _):

            async def receive() -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.receive()
                assert isinstance(caught.value, anyio.ClosedResourceError)

            tasks.start_soon(receive)
            await settle()


async def test_opening_that_is_cancelled_closes_the_stream() -> None:
    for side in ("client", "server"):
        ours, _ = memory_stream_pair()
        context = open_websocket(URL, stream=ours) if side == "client" else accept_websocket(ours)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(enter, context)
                await settle()
                scope.cancel()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()


async def enter(context: AbstractAsyncContextManager[WebSocket]) -> None:
    async with context:
        raise AssertionError("the handshake can't have succeeded")


async def test_the_close_frame_is_the_last_thing_that_a_peer_gets() -> None:
    async with anyio.create_task_group() as tasks:
        async with server_and_peer(close_timeout=None) as (ws, peer):
            await ws.send("x" * 2**21)

            async def receive_all() -> None:
                frames = [await peer.receive()]
                while frames[-1].opcode != CLOSE:
                    frames.append(await peer.receive())
                assert [len(frame.payload) for frame in frames] == [2**20, 2**20, 2]
                await peer.aclose()

            tasks.start_soon(receive_all)


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_native_cancellation_while_closing_goes_before_what_the_block_raised(
    use_uvloop: bool,
) -> None:
    """A cancel scope cancels again at the next await; ``Task.cancel`` would be lost."""

    async def body(inside: anyio.Event) -> None:
        async with server_and_peer(close_timeout=None):
            inside.set()
            raise ValueError("the block's own")

    async def main() -> None:
        inside = anyio.Event()
        task = asyncio.get_running_loop().create_task(body(inside))
        await inside.wait()
        await settle()  # it waits for the peer's Close frame
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    anyio.run(main, backend_options={"use_uvloop": use_uvloop})
