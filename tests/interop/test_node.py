"""node's ws, the WebSocket library of JavaScript servers, as our client and as our server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from anyio_ws import (
    ConnectionClosedError,
    InvalidStatus,
    State,
    WebSocket,
    open_server,
    open_websocket,
)
from anyio_ws.options import ServerOptions

from .programs import PATIENCE, lack, need, running
from .proxies import echo

SCRIPTS = Path(__file__).with_name("node")


@pytest.fixture(scope="session")
def ws_of_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ws is, installed for this run."""
    need("node")
    where = tmp_path_factory.mktemp("node")
    command = [need("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", "ws@8"]
    try:
        installed = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        lack("npm can't install ws in time")
    if installed.returncode != 0:
        lack(f"npm can't install ws: {installed.stderr.strip()}")
    return where / "node_modules" / "ws"


# -- as our client


async def client(ws_of_node: Path, url: str, what: str) -> dict[str, Any]:
    """What the client saw."""
    command = [need("node"), str(SCRIPTS / "client.mjs"), str(ws_of_node), url, what]
    ended = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


async def test_messages_of_every_kind_and_size_come_back_compressed(ws_of_node: Path) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url, "echo")
    assert "error" not in seen
    assert seen["messages"] == ["text", "text", "binary", "text", "binary"]
    assert seen["extensions"] == "permessage-deflate"
    assert seen["code"] == 1000


async def test_messages_come_back_uncompressed(ws_of_node: Path) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url, "uncompressed")
    assert "error" not in seen
    assert (seen["messages"], seen["extensions"]) == (["text", "binary"], "")


async def test_fragments_with_a_ping_between_are_one_message(ws_of_node: Path) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url, "fragments")
    assert (seen["text"], seen["pong"]) == ("in three parts", "between")


async def test_its_ping_is_answered_and_it_answers_ours(ws_of_node: Path) -> None:
    answered = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        assert await ws.ping(b"hello?") > 0
        answered.set()
        await ws.wait_closed()

    async with open_server(handle, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url, "ping")
        with anyio.fail_after(PATIENCE):
            await answered.wait()
    assert seen["pong"] == "are you there?"
    assert seen["ping"] == "hello?"


async def test_the_subprotocol_is_the_server_s_choice(ws_of_node: Path) -> None:
    async def handle(ws: WebSocket) -> None:
        assert ws.subprotocol == "feed.v2"

    options: ServerOptions = {"subprotocols": ["feed.v2", "feed.v1"], "on_handler_error": "raise"}
    async with open_server(handle, "127.0.0.1", 0, **options) as server:
        seen = await client(ws_of_node, server.url, "subprotocol")
    assert (seen["subprotocol"], seen["code"]) == ("feed.v2", 1000)


async def test_close_codes_and_reasons_go_both_ways(ws_of_node: Path) -> None:
    seen_here: list[object] = []

    async def handle(ws: WebSocket) -> None:
        if ws.url == "/ours":
            await ws.aclose(4002, "genug")
        else:
            await ws.wait_closed()
            seen_here.extend([ws.close_code, ws.close_reason])

    async with open_server(handle, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url + "/theirs", "close")
        assert (seen["code"], seen["reason"]) == (4001, "ça suffit")
        seen = await client(ws_of_node, server.url + "/ours", "listen")
        assert (seen["code"], seen["reason"]) == (4002, "genug")
        assert seen_here == [4001, "ça suffit"]


async def test_a_client_that_vanishes_is_told_by_1006(ws_of_node: Path) -> None:
    codes: list[int | None] = []
    gone = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        await ws.wait_closed()
        codes.append(ws.close_code)
        gone.set()

    async with open_server(handle, "127.0.0.1", 0) as server:
        await client(ws_of_node, server.url, "vanish")
        with anyio.fail_after(PATIENCE):
            await gone.wait()
    assert codes == [1006]


async def test_shutting_down_is_told_by_1001(ws_of_node: Path) -> None:
    opened = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        opened.set()
        await ws.wait_closed()

    seen: dict[str, Any] = {}

    async def connect(url: str) -> None:
        seen.update(await client(ws_of_node, url, "listen"))

    async with anyio.create_task_group() as tasks:
        async with open_server(handle, "127.0.0.1", 0) as server:
            tasks.start_soon(connect, server.url)
            with anyio.fail_after(PATIENCE):
                await opened.wait()
    assert seen["code"] == 1001


async def test_a_foreign_origin_is_refused(ws_of_node: Path) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        seen = await client(ws_of_node, server.url, "foreign")
    assert (seen["error"], seen["code"]) == ("Unexpected server response: 403", 1006)


# -- as our server


@pytest.fixture(scope="module")
def url(ws_of_node: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log"
    command = [need("node"), str(SCRIPTS / "server.mjs"), str(ws_of_node)]
    with running(command, log, lambda: log.read_text().endswith("\n")):
        yield f"ws://127.0.0.1:{int(log.read_text())}"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_server_of_node_s_sends_back_every_kind_and_size(
    url: str, compression: Any
) -> None:
    messages: list[str | bytes] = ["", "grüße 🎉", b"\x00\xff", "x" * 2**20, bytes(2**20)]
    with anyio.fail_after(PATIENCE):
        async with open_websocket(url, compression=compression) as ws:
            assert len(ws.extensions) == (compression is not None)
            for message in messages * 2:
                await ws.send(message)
                assert await ws.receive() == message
            await ws.send(["in ", "three ", "parts"])
            assert await ws.receive() == "in three parts"
            assert await ws.ping() > 0
        assert ws.close_code == 1000


async def test_fragments_of_a_server_of_node_s_are_one_message(url: str) -> None:
    async with open_websocket(url + "/fragments") as ws:
        assert await ws.receive() == "in three parts"


async def test_a_server_of_node_s_chooses_a_subprotocol(url: str) -> None:
    async with open_websocket(url, subprotocols=["feed.v2", "feed.v1"]) as ws:
        assert ws.subprotocol == "feed.v1"


@pytest.mark.parametrize(
    ("path", "code", "reason"), [("/close", 4001, "ça suffit"), ("/vanish", 1006, "")]
)
async def test_how_a_server_of_node_s_ends_a_connection_is_seen(
    url: str, path: str, code: int, reason: str
) -> None:
    with anyio.fail_after(PATIENCE):
        async with open_websocket(url + path) as ws:
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
    assert (ws.close_code, ws.close_reason, ws.state) == (code, reason, State.CLOSED)


async def test_a_server_of_node_s_may_refuse(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with open_websocket(url + "/refused"):
            pass
    assert caught.value.response.status_code == 401
