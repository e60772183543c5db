"""What is served behind nginx and HAProxy, and what the server learns of the client."""

from __future__ import annotations

import ssl
from pathlib import Path

import anyio
import pytest
import trustme

from anyio_ws import (
    ConnectionClosedError,
    InvalidStatus,
    Request,
    Response,
    WebSocket,
)

from .programs import PATIENCE, WANTED
from .proxies import Proxy, Way, proxy


@pytest.fixture(params=["plain", "TLS"] if WANTED else ["TLS"])
def way(
    request: pytest.FixtureRequest, running_proxy: Proxy, client_ssl_context: ssl.SSLContext
) -> Way:
    return Way(running_proxy, client_ssl_context if request.param == "TLS" else None)


async def test_messages_of_every_kind_and_size_pass_both_ways(way: Way) -> None:
    messages: list[str | bytes] = [
        "",
        "grüße 🎉",
        b"",
        bytes(range(256)),
        "x" * 2**20,
        b"\xff" * 2**20,
    ]
    with anyio.fail_after(PATIENCE):
        for compression in (None, "deflate"):
            async with way.serve(compression=compression), way.connect() as ws:
                for message in messages:
                    await ws.send(message)
                    assert await ws.receive() == message


async def test_subprotocol_and_compression_are_negotiated_through_it(way: Way) -> None:
    async def tell(ws: WebSocket) -> None:
        await ws.send(f"{ws.subprotocol} {[one.name for one in ws.extensions]}")

    async with way.serve(tell, subprotocols=["feed.v2", "feed.v1"]):
        async with way.connect(subprotocols=["feed.v1"]) as ws:
            assert ws.subprotocol == "feed.v1"
            assert [one.name for one in ws.extensions] == ["permessage-deflate"]
            assert await ws.receive() == "feed.v1 ['permessage-deflate']"


async def test_pings_are_answered_from_end_to_end(way: Way) -> None:
    async def measure(ws: WebSocket) -> None:
        await ws.send("latency" if await ws.ping() > 0 else "none")
        await ws.wait_closed()

    with anyio.fail_after(PATIENCE):
        async with way.serve(measure), way.connect() as ws:
            assert await ws.ping() > 0
            assert await ws.receive() == "latency"


async def test_close_codes_and_reasons_pass_both_ways(way: Way) -> None:
    seen: list[tuple[int | None, str | None]] = []
    done = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        if ws.url == "/server":
            await ws.aclose(4001, "enough")
        else:
            await ws.wait_closed()
            seen.append((ws.close_code, ws.close_reason))
            done.set()

    with anyio.fail_after(PATIENCE):
        async with way.serve(handle):
            async with way.connect("/server") as ws:
                with pytest.raises(ConnectionClosedError):
                    await ws.receive()
                assert (ws.close_code, ws.close_reason) == (4001, "enough")
            async with way.connect("/client") as ws:
                await ws.aclose(4002, "also enough")
            await done.wait()
    assert seen == [(4002, "also enough")]


async def test_a_client_that_vanishes_is_gone_for_the_server_too(way: Way) -> None:
    gone = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        await ws.wait_closed()
        assert ws.close_code == 1006
        gone.set()

    with anyio.fail_after(PATIENCE):
        async with way.serve(handle):
            async with way.connect() as ws:
                await anyio.aclose_forcefully(ws)
            await gone.wait()


async def test_the_server_is_told_what_the_client_asked_for_and_who_it_is(way: Way) -> None:
    async def tell(ws: WebSocket) -> None:
        headers = ws.request.headers
        for name in "Host", "X-Forwarded-For", "X-Forwarded-Proto":
            await ws.send(", ".join(headers.get_all(name)))

    async with way.serve(tell):
        async with way.connect(additional_headers={"X-Forwarded-For": "192.0.2.1"}) as ws:
            assert way.origin.endswith(f"//{await ws.receive()!s}")
            # What the client claims comes first; what the proxy has seen comes last.
            assert await ws.receive() == "192.0.2.1, 127.0.0.1"
            assert await ws.receive() == ("https" if way.context else "http")


async def test_a_page_of_the_same_site_may_connect_and_one_of_another_may_not(way: Way) -> None:
    async with way.serve():
        async with way.connect(origin=way.origin) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        for other in "https://example.com", way.origin + "1":
            with pytest.raises(InvalidStatus) as caught:
                async with way.connect(origin=other):
                    pass
            assert caught.value.response.status_code == 403
            assert other.encode() in caught.value.response.body


async def test_what_the_server_answers_instead_passes_as_it_is(way: Way) -> None:
    async def check(ws: WebSocket, request: Request) -> Response | None:
        return Response.text(401, "who?\n", {"WWW-Authenticate": "Bearer"})

    async with way.serve(process_request=check):
        with pytest.raises(InvalidStatus) as caught:
            async with way.connect():
                pass
    response = caught.value.response
    assert (response.status_code, response.body) == (401, b"who?\n")
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_server_that_is_full_says_when_to_come_again(way: Way) -> None:
    async with way.serve(max_connections=1), way.connect() as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
        with pytest.raises(InvalidStatus) as caught:
            async with way.connect():
                pass
    assert caught.value.response.status_code == 503
    assert "Retry-After" in caught.value.response.headers


async def test_a_stream_larger_than_every_buffer_arrives_whole_at_a_reader_that_pauses(
    way: Way,
) -> None:
    count, message = 4000, "0123456789abcdef" * 256  # 16 MiB

    async def stream(ws: WebSocket) -> None:
        for number in range(count):
            await ws.send(f"{number} {message}")

    received = 0
    with anyio.fail_after(PATIENCE):
        async with way.serve(stream, compression=None), way.connect() as ws:
            await anyio.sleep(0.1)
            async for text in ws:
                assert text == f"{received} {message}"
                received += 1
                if received % 1000 == 0:
                    await anyio.sleep(0.05)
    assert received == count


async def test_a_server_may_restart_behind_it(way: Way) -> None:
    with anyio.fail_after(PATIENCE):
        for _ in range(2):
            async with way.serve() as server:
                async with way.connect() as ws:
                    await ws.send("hello")
                    assert await ws.receive() == "hello"
                    await server.shutdown()
                    await ws.wait_closed()
                    assert ws.close_code == 1001
            with pytest.raises(InvalidStatus) as caught:
                async with way.connect():
                    pass
            assert caught.value.response.status_code in (502, 503)


# -- what the lines of the configuration are for


async def test_nginx_that_does_not_pass_the_host_takes_origins(
    tmp_path: Path, ca: trustme.CA
) -> None:
    changes = {"proxy_set_header Host $http_host;": ""}
    with proxy("nginx", tmp_path, ca, changes) as running:
        way = Way(running, None)
        async with way.serve():
            with pytest.raises(InvalidStatus) as caught:
                async with way.connect(origin=way.origin):
                    pass
            assert caught.value.response.status_code == 403
            async with way.connect():  # no page, no Origin
                pass
        async with way.serve(origins=[way.origin]):
            async with way.connect(origin=way.origin):
                pass


@pytest.mark.parametrize(
    "changes",
    [
        {"proxy_http_version 1.1;": "proxy_http_version 1.0;"},
        {"proxy_set_header Upgrade $http_upgrade;": ""},
    ],
    ids=["version", "Upgrade"],
)
async def test_nginx_needs_the_lines_that_let_the_upgrade_pass(
    changes: dict[str, str], tmp_path: Path, ca: trustme.CA
) -> None:
    with proxy("nginx", tmp_path, ca, changes) as running:
        way = Way(running, None)
        async with way.serve():
            with pytest.raises(InvalidStatus) as caught:
                async with way.connect():
                    pass
    assert caught.value.response.status_code in (426, 505)


async def health(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(200, "fine\n") if request.path == "/health" else None


async def test_haproxy_asks_about_health_and_finds_out(tmp_path: Path, ca: trustme.CA) -> None:
    changes = {"timeout connect 5s": "timeout connect 50ms", "inter 2s": "inter 50ms"}
    with anyio.fail_after(PATIENCE), proxy("HAProxy", tmp_path, ca, changes) as running:
        way = Way(running, None)
        for _ in range(2):
            async with way.serve(process_request=health):
                await until(way, {101})
            await until(way, {503})
        assert " is UP" in (tmp_path / "log").read_text()


async def until(way: Way, wanted: set[int]) -> None:
    """Connect again and again until the answer is one of those *wanted*."""
    while True:
        try:
            async with way.connect() as ws:
                status = ws.response.status_code
        except InvalidStatus as exc:
            status = exc.response.status_code
        if status in wanted:
            return
        await anyio.sleep(0.02)
