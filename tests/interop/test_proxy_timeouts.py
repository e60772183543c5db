"""What nginx and HAProxy do to connections on which nothing moves, and what keeps these open."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import anyio
import pytest
import trustme

from anyio_ws import WebSocket

from .programs import PATIENCE
from .proxies import PROXIES, Proxy, Way, echo, proxy

TIMEOUT = 1.0
"""Seconds of the proxy's."""

LONG = 2.5 * TIMEOUT

SHORT = {
    "nginx": {"proxy_read_timeout 60s;": "proxy_read_timeout 1s;"},
    "HAProxy": {"timeout tunnel 60s": "timeout tunnel 1s", " check inter 2s": ""},
}


@pytest.fixture(scope="module", params=PROXIES)
def impatient(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA
) -> Iterator[Proxy]:
    name: str = request.param
    with proxy(name, tmp_path_factory.mktemp(name), ca, SHORT[name]) as running:
        yield running


@pytest.fixture
def way(impatient: Proxy) -> Way:
    return Way(impatient, None)


@pytest.mark.parametrize("pinging", ["server", "client"])
async def test_pings_of_either_end_keep_a_silent_connection_open(way: Way, pinging: str) -> None:
    server, client = (0.2 if pinging == end else None for end in ("server", "client"))
    with anyio.fail_after(PATIENCE):
        async with way.serve(ping_interval=server), way.connect(ping_interval=client) as ws:
            await anyio.sleep(LONG)
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def test_without_pings_the_proxy_ends_it_and_nothing_louder_than_a_line_is_said(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anyio_ws")
    codes: list[int | None] = []
    done = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        try:
            await echo(ws)
        finally:
            codes.append(ws.close_code)
            done.set()

    with anyio.fail_after(PATIENCE):
        async with way.serve(handle, ping_interval=None), way.connect(ping_interval=None) as ws:
            begin = anyio.current_time()
            await ws.wait_closed()
            assert anyio.current_time() - begin > TIMEOUT / 2
            codes.append(ws.close_code)
            await done.wait()
    assert codes == [1006, 1006]
    (record,) = (record for record in caplog.records if record.name == "anyio_ws.server")
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert record.getMessage().startswith("connection broke, client ")


@pytest.mark.parametrize("who_sends", ["server", "client"])
async def test_a_stream_of_one_direction_is_life_enough(way: Way, who_sends: str) -> None:
    received: list[str | bytes] = []

    async def send(ws: WebSocket) -> None:
        for number in range(round(LONG / 0.1)):
            await ws.send(f"tick {number}")
            await anyio.sleep(0.1)

    async def receive(ws: WebSocket) -> None:
        async for message in ws:
            received.append(message)

    ours, theirs = (send, receive) if who_sends == "server" else (receive, send)
    with anyio.fail_after(PATIENCE):
        async with way.serve(ours, ping_interval=None) as server:
            async with way.connect(ping_interval=None) as ws:
                await theirs(ws)
            await server.shutdown(grace=PATIENCE)
    assert len(received) == round(LONG / 0.1)


async def test_a_reload_of_nginx_leaves_connections_open(impatient: Proxy, way: Way) -> None:
    if impatient.name != "nginx":
        return
    with anyio.fail_after(PATIENCE):
        async with way.serve(ping_interval=0.2), way.connect() as old:
            os.kill(impatient.pid, signal.SIGHUP)
            await anyio.sleep(LONG)
            async with way.connect() as new:
                for ws in old, new:
                    await ws.send("hello")
                    assert await ws.receive() == "hello"
