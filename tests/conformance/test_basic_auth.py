"""HTTP Basic authentication with other people: clients that have credentials in their URL, and a server."""

from __future__ import annotations

import asyncio
import concurrent.futures

import anyio
import pytest
import websockets.asyncio.server

from anyio_ws import InvalidStatus, WebSocket, basic_auth, open_server, open_websocket

from .peers import (
    LIMIT,
    Aiohttp,
    Library,
    Link,
    Peer,
    Rejected,
    Setup,
    Websockets,
    in_thread,
    outcome,
)

# aiohttp sends ISO-8859-1, websockets UTF-8.
CREDENTIALS = [
    ("ada", "secret", "ada:secret"),
    ("jürgen", "geheim: ß/@", "j%C3%BCrgen:geheim%3A%20%C3%9F%2F%40"),
]


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.username}")


async def receive(peer: Peer) -> object:
    return await peer.receive()


@pytest.mark.parametrize(("username", "password", "quoted"), CREDENTIALS)
@pytest.mark.parametrize("library", [Websockets(), Aiohttp()], ids=lambda library: library.name)
async def test_a_peer_is_admitted_with_its_password_only(
    library: Library, username: str, password: str, quoted: str
) -> None:
    link = Link(library=library, we_are_client=False)
    auth = basic_auth("staff", [("bob", "other"), (username, password)])
    with anyio.fail_after(LIMIT):
        async with open_server(greet, "127.0.0.1", 0, process_request=auth) as server:
            where = f"127.0.0.1:{server.port}/"
            assert (
                await link.connect(f"ws://{quoted}@{where}", receive, Setup())
                == f"hello {username}"
            )
            for wrong in f"ws://{quoted}x@{where}", f"ws://{where}":
                with pytest.raises(Rejected) as raised:
                    await link.connect(wrong, receive, Setup())
                assert raised.value.status == 401


@pytest.mark.parametrize(("username", "password", "quoted"), CREDENTIALS)
async def test_a_peers_server_admits_us_with_our_password_only(
    username: str, password: str, quoted: str
) -> None:
    bound: concurrent.futures.Future[int] = concurrent.futures.Future()

    async def handle(ws: websockets.asyncio.server.ServerConnection) -> None:
        await ws.send(f"hello {ws.username}")

    async def program() -> None:
        auth = websockets.asyncio.server.basic_auth("staff", credentials=(username, password))
        async with websockets.asyncio.server.serve(
            handle, "127.0.0.1", 0, process_request=auth
        ) as server:
            bound.set_result(next(iter(server.sockets)).getsockname()[1])
            await asyncio.Event().wait()

    with anyio.fail_after(LIMIT):
        async with in_thread(program) as result:
            result.add_done_callback(lambda result: bound.cancel())
            port = await outcome(bound)
            where = f"127.0.0.1:{port}/"
            async with open_websocket(f"ws://{quoted}@{where}") as ws:
                assert await ws.receive() == f"hello {username}"
            with pytest.raises(InvalidStatus) as caught:
                async with open_websocket(f"ws://{quoted}x@{where}"):
                    pass
    assert caught.value.response.status_code == 401
