"""What a connection on sockets still says when its block is cancelled: Close 1001, and what is shielded."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.abc
import pytest

from anyio_ws import (
    WebSocket,
    WebSocketServer,
    accept_websocket,
    open_server,
    open_websocket,
    serve_websocket,
)

PATIENCE = 10


@dataclass
class Witness:
    """A handler that listens to the end, and tells how it was."""

    messages: list[str | bytes] = field(default_factory=list)
    code: int | None = None
    reason: str | None = None
    done: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, ws: WebSocket) -> None:
        async for message in ws:
            self.messages.append(message)
        self.code, self.reason = ws.close_code, ws.close_reason
        self.done.set()

    async def wait(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.done.wait()


@dataclass(frozen=True)
class Setting:
    """What a test may listen and connect on."""

    path: Path
    server_ssl: ssl.SSLContext
    client_ssl: ssl.SSLContext


Way: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""The options of a server, and those of its client."""

WAYS: dict[str, Callable[[Setting], Way]] = {
    "tcp": lambda here: ({"host": "127.0.0.1", "port": 0}, {}),
    "unix": lambda here: ({"unix_path": here.path}, {}),
    "tls": lambda here: (
        {"host": "127.0.0.1", "port": 0, "ssl": here.server_ssl},
        {"ssl": here.client_ssl},
    ),
    "listener": lambda here: ({"listeners": [socket.create_server(("127.0.0.1", 0))]}, {}),
}


@pytest.fixture(params=WAYS)
def way(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> Way:
    setting = Setting(tmp_path / "socket", server_ssl_context, client_ssl_context)
    return WAYS[request.param](setting)


# -- Close 1001


async def test_a_server_learns_that_a_clients_block_was_cancelled(way: Way) -> None:
    witness = Witness()
    for_server, for_client = way
    async with open_server(witness, **for_server) as server:
        with anyio.CancelScope() as scope:
            async with open_websocket(server.url, **for_client) as ws:
                await ws.send("hello")
                scope.cancel()
                await anyio.sleep_forever()
        await witness.wait()
    assert witness.messages == ["hello"]
    assert witness.code == 1001


async def test_a_client_learns_that_the_server_was_cancelled(way: Way) -> None:
    async def greet(ws: WebSocket) -> None:
        await ws.send("hello")
        await anyio.sleep_forever()

    for_server, for_client = way
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def serve(*, task_status: anyio.abc.TaskStatus[WebSocketServer]) -> None:
            with scope:
                await serve_websocket(greet, task_status=task_status, **for_server)

        server = await tasks.start(serve)
        with anyio.fail_after(PATIENCE):
            async with open_websocket(server.url, **for_client) as ws:
                assert await ws.receive() == "hello"
                scope.cancel()
                assert [message async for message in ws] == []
                assert ws.close_code == 1001


def open_on(sock: socket.socket) -> AbstractAsyncContextManager[WebSocket]:
    return open_websocket("ws://localhost", stream=sock)


Side: TypeAlias = Callable[[socket.socket], AbstractAsyncContextManager[WebSocket]]
"""`open_on` or `accept_websocket`."""

either_side = pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (open_on, accept_websocket),
        (accept_websocket, open_on),
    ],
    ids=["client", "server"],
)


@asynccontextmanager
async def witnessed(theirs: Side) -> AsyncIterator[tuple[socket.socket, Witness]]:
    """A connected socket, and who is at its other end."""
    witness = Witness()

    async def run() -> None:
        async with theirs(far) as ws:
            await witness(ws)

    near, far = socket.socketpair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield near, witness
        await witness.wait()


@either_side
async def test_the_other_end_learns_that_a_block_over_a_given_socket_was_cancelled(
    ours: Side, theirs: Side
) -> None:
    async with witnessed(theirs) as (near, witness):
        with anyio.CancelScope() as scope:
            async with ours(near):
                scope.cancel()
                await anyio.sleep_forever()
    assert witness.code == 1001


@either_side
async def test_the_other_end_learns_that_a_task_was_cancelled_with_its_group(
    ours: Side, theirs: Side
) -> None:
    async with witnessed(theirs) as (near, witness):
        ready = anyio.Event()

        async def hold() -> None:
            async with ours(near):
                ready.set()
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await ready.wait()
            tasks.cancel_scope.cancel()
    assert witness.code == 1001


@either_side
async def test_the_other_end_learns_of_a_keyboard_interrupt(ours: Side, theirs: Side) -> None:
    async with witnessed(theirs) as (near, witness):
        with pytest.raises(KeyboardInterrupt):
            async with ours(near):
                raise KeyboardInterrupt
    assert witness.code == 1001


# -- what is shielded

BIG = "x" * 900_000


async def send_one(ws: WebSocket) -> None:
    await ws.send("last words")


async def send_much(ws: WebSocket) -> None:
    await ws.send(BIG)
    await ws.send("last words")
    await ws.flush()


async def close_it(ws: WebSocket) -> None:
    await ws.aclose(reason="on my own terms")


async def ping_it(ws: WebSocket) -> None:
    assert await ws.ping() > 0
    await ws.send("last words")


@pytest.mark.parametrize(
    ("say", "messages", "end"),
    [
        (send_one, ["last words"], (1001, "")),
        (send_much, [BIG, "last words"], (1001, "")),
        (ping_it, ["last words"], (1001, "")),
        (close_it, [], (1000, "on my own terms")),
    ],
)
async def test_what_a_cancelled_block_shields_still_works(
    say: Callable[[WebSocket], Awaitable[None]],
    messages: list[str],
    end: tuple[int, str],
    way: Way,
) -> None:
    witness = Witness()
    for_server, for_client = way
    with anyio.fail_after(PATIENCE):
        async with open_server(witness, **for_server) as server:
            with anyio.CancelScope() as scope:
                async with open_websocket(server.url, **for_client) as ws:
                    scope.cancel()
                    try:
                        await anyio.sleep_forever()
                    finally:
                        with anyio.CancelScope(shield=True):
                            await say(ws)
            assert scope.cancelled_caught
            await witness.wait()
    assert witness.messages == messages
    assert (witness.code, witness.reason) == end


@pytest.mark.parametrize(
    ("say", "messages", "end"),
    [
        (send_one, ["last words"], (1001, "")),
        (send_much, [BIG, "last words"], (1001, "")),
        (close_it, [], (1000, "on my own terms")),
    ],
)
async def test_what_a_cancelled_handler_shields_still_works(
    say: Callable[[WebSocket], Awaitable[None]],
    messages: list[str],
    end: tuple[int, str],
    way: Way,
) -> None:
    async def handler(ws: WebSocket) -> None:
        try:
            await ws.send("ready")
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await say(ws)

    for_server, for_client = way
    witness = Witness()
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def serve(*, task_status: anyio.abc.TaskStatus[WebSocketServer]) -> None:
            with scope:
                await serve_websocket(handler, task_status=task_status, **for_server)

        server = await tasks.start(serve)
        with anyio.fail_after(PATIENCE):
            async with open_websocket(server.url, **for_client) as ws:
                assert await ws.receive() == "ready"
                scope.cancel()
                await witness(ws)
    assert witness.messages == messages
    assert (witness.code, witness.reason) == end
