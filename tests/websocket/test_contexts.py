"""Leaving a block: how the connection is closed, and asyncio's own ways to cancel.

What comes out of a block: ``tests/promises/test_p1_your_exception.py``.
"""

# ruff: noqa: PT012  # blocks are the subject, and what they raise is compared by identity

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from anyio_ws import (
    ConnectionClosed,
    State,
    WebSocket,
    accept_websocket,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, memory_stream_pair

from ..sansio.helpers import CLOSE, close, text
from .helpers import (
    URL,
    client_and_peer,
    server_and_peer,
    settle,
)

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


@pytest.mark.parametrize(
    "error",
    [ValueError("secret"), ExceptionGroup("secret", [ValueError()]), TimeoutError("secret")],
    ids=lambda error: type(error).__name__,
)
async def test_leaving_by_an_exception_closes_with_1011_and_does_not_tell_why(
    error: Exception,
) -> None:
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


async def test_leaving_a_block_whose_connection_is_gone_is_quiet() -> None:
    async with server_and_peer(close_timeout=None, resettable=True) as (ws, peer):
        await peer.reset()
    assert ws.state is State.CLOSED
    async with server_and_peer(close_timeout=None) as (ws, peer):
        await peer.send(text("x")._replace(rsv=0x70))
        await peer.aclose()
    assert ws.close_code == 1006


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
