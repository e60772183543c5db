"""How often calls that don't have to wait let others run, and what is sent in one pass leaves together."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import WebSocket, accept_websocket
from anyio_ws.transports.base import Transport

from ..sansio.helpers import text
from .helpers import REQUEST, server_and_peer, settle

CALLS = 32
CHECK = 16


async def turns_during(work: Callable[[], Awaitable[None]]) -> int:
    """How often another task has its turn while *work* is done."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await settle()
        turns = 0
        await work()
        tasks.cancel_scope.cancel()
    return turns


async def test_receiving_what_is_here_lets_others_run_now_and_then() -> None:
    async with server_and_peer(max_queue=1000) as (ws, peer):
        await peer.send(*(text(str(number)) for number in range(1000)))
        await settle()

        async def work() -> None:
            for number in range(1000):
                assert await ws.receive() == str(number)

        assert await turns_during(work) >= 1000 // CALLS - 1


async def test_sending_what_there_is_room_for_lets_others_run_now_and_then() -> None:
    async with server_and_peer() as (ws, peer):

        async def work() -> None:
            for _ in range(1000):
                await ws.send("x")

        assert await turns_during(work) >= 1000 // CALLS - 1
        for _ in range(1000):
            assert (await peer.receive()).payload == b"x"


async def test_a_call_that_follows_a_millisecond_of_work_lets_others_run() -> None:
    async with server_and_peer() as (ws, _):

        async def work() -> None:
            for _ in range(5):
                time.sleep(0.002)  # noqa: ASYNC251  # work that takes its time
                await ws.send("x")

        assert await turns_during(work) >= 4


@pytest.mark.parametrize("call", ["receive", "send"])
async def test_what_a_task_itself_cancels_is_noticed_soon_and_nothing_is_lost(call: str) -> None:
    done = 0
    async with server_and_peer(max_queue=1000) as (ws, peer):
        await peer.send(*(text(str(number)) for number in range(100)))
        await settle()
        with anyio.CancelScope() as scope:
            scope.cancel()
            while True:
                await (ws.receive() if call == "receive" else ws.send(str(done)))
                done += 1
        assert done < CHECK
        if call == "receive":
            assert await ws.receive() == str(done)
        else:
            await ws.send("end")
            sent = [(await peer.receive()).payload for _ in range(done + 1)]
            assert sent == [str(number).encode() for number in range(done)] + [b"end"]


# -- what leaves together


@asynccontextmanager
async def server_over_a_socket() -> AsyncIterator[tuple[WebSocket, socket.socket]]:
    """A server's connection, and the socket at the other end, which tells what has left."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(REQUEST)
        async with accept_websocket(ours, close_timeout=0) as ws:
            theirs.setblocking(False)
            assert theirs.recv(1000).startswith(b"HTTP/1.1 101 ")
            yield ws, theirs


def left(sock: socket.socket) -> bytes:
    try:
        return sock.recv(2**20)
    except BlockingIOError:
        return b""


async def test_one_message_leaves_before_send_returns() -> None:
    async with server_over_a_socket() as (ws, peer):
        await ws.send("x")
        assert left(peer) == b"\x81\x01x"


async def test_so_does_an_answer() -> None:
    async with server_over_a_socket() as (ws, peer):
        for _ in range(3):
            peer.send(text("x").serialize(masked=True))
            await ws.send(await ws.receive())
            assert left(peer) == b"\x81\x01x"


async def test_messages_that_follow_each_other_leave_when_the_task_waits_and_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with server_over_a_socket() as (ws, peer):
        transport = type(ws._connection.transport)
        writes: list[int] = []
        write = transport.write

        def counting(self: Transport, data: bytes, more: bytes = b"") -> None:
            writes.append(len(data))
            write(self, data, more)

        monkeypatch.setattr(transport, "write", counting)
        for _ in range(CHECK - 1):
            await ws.send("x")
        await checkpoint()
        await checkpoint()
        assert left(peer) == b"\x81\x01x" * (CHECK - 1)
        assert len(writes) < CHECK / 2


async def test_or_when_there_are_many_of_them() -> None:
    async with server_over_a_socket() as (ws, peer):
        for _ in range(10):
            ws.send_nowait(bytes(3000))
        assert len(left(peer)) > 6 * 3000


async def test_or_when_the_task_receives() -> None:
    async with server_over_a_socket() as (ws, peer):
        ws.send_nowait("x")
        ws.send_nowait("y")
        with anyio.move_on_after(0):
            await ws.receive()
        assert left(peer) == b"\x81\x01x\x81\x01y"


async def test_or_when_it_takes_its_time_in_between() -> None:
    async with server_over_a_socket() as (ws, peer):
        ws.send_nowait("x")
        ws.send_nowait("y")
        time.sleep(0.002)  # noqa: ASYNC251  # work that takes its time
        ws.send_nowait("z")
        assert left(peer) == b"\x81\x01x\x81\x01y\x81\x01z"


async def test_flush_does_not_wait_for_that() -> None:
    async with server_over_a_socket() as (ws, peer):
        ws.send_nowait("x")
        ws.send_nowait("y")
        await ws.flush()
        assert left(peer) == b"\x81\x01x\x81\x01y"
        assert ws.buffered_amount == 0


async def test_closing_takes_along_what_waits_for_the_end_of_the_pass() -> None:
    async with server_over_a_socket() as (ws, peer):
        ws.send_nowait("x")
        ws.send_nowait("y")
        await ws.send_eof()
        assert left(peer).startswith(b"\x81\x01x\x81\x01y\x88")
