"""Chromium's own WebSocket, in pages that our server serves: what a page and the server see of each other."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from anyio_ws import (
    Request,
    Response,
    ServerConfig,
    WebSocket,
    WebSocketServer,
    open_server,
)

from .browser import Browser
from .programs import PATIENCE
from .proxies import AT_ONCE, PROXIES, Way, echo, proxy

# What pages have to work with: a connection with a queue of what happens to it.
LIBRARY = """
const connect = (url, protocols = []) => {
  const ws = new WebSocket(url, protocols);
  ws.binaryType = "arraybuffer";
  const queue = [], waiting = [];
  const put = (what) => waiting.length ? waiting.shift()(what) : queue.push(what);
  ws.next = () => new Promise((tell) => queue.length ? tell(queue.shift()) : waiting.push(tell));
  ws.onopen = () => put("open");
  ws.onmessage = (event) => put(event.data);
  ws.onerror = () => put("error");
  ws.onclose = (event) => put({ code: event.code, reason: event.reason, clean: event.wasClean });
  return ws;
};
const here = location.origin.replace("http", "ws");
"""


async def page(request: Request) -> Response:
    html = f"<!doctype html><title>page</title><script>{LIBRARY}</script>"
    return Response.text(200, html, {"Content-Type": "text/html; charset=utf-8"})


# A browser likes to have a spare connection, on which a server that shuts down waits for it to hang up.
PAGE = ServerConfig(handle_http=page, close_timeout=1)


def http(server: WebSocketServer) -> str:
    return server.url.replace("ws", "http", 1)


async def test_a_page_sends_and_receives_text_and_binary(chromium: Browser) -> None:
    async with open_server(echo, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            seen = await opened.run("""
                const ws = connect(here);
                const seen = [await ws.next()];
                for (const text of ["", "grüße 🎉", "x".repeat(2 ** 20)]) {
                    ws.send(text);
                    seen.push((await ws.next()) === text);
                }
                for (const size of [0, 1, 2 ** 20]) {
                    const bytes = new Uint8Array(size).map((_, at) => at % 251);
                    ws.send(bytes);
                    const back = new Uint8Array(await ws.next());
                    seen.push(back.length === size && back.every((byte, at) => byte === at % 251));
                }
                ws.send(new Blob(["from a blob"]));
                seen.push(new TextDecoder().decode(await ws.next()));
                ws.close();
                seen.push(await ws.next());
                return seen;
            """)
    end = {"code": 1005, "reason": "", "clean": True}
    assert seen == ["open", *[True] * 6, "from a blob", end]


async def test_many_messages_keep_their_order_both_ways(chromium: Browser) -> None:
    async with open_server(echo, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            assert await opened.run("""
                const ws = connect(here), count = 2000;
                await ws.next();
                for (let number = 0; number < count; number++) ws.send(`${number} ${"x".repeat(500)}`);
                for (let number = 0; number < count; number++)
                    if (parseInt(await ws.next()) !== number) return number;
                return "all";
            """) == "all"  # fmt: skip


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_compression_is_negotiated_as_the_server_wishes(
    chromium: Browser, compression: Any
) -> None:
    async def handle(ws: WebSocket) -> None:
        await ws.send(f"{[one.name for one in ws.extensions]}")
        await echo(ws)

    async with open_server(handle, "127.0.0.1", 0, compression=compression, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            seen = await opened.run("""
                const ws = connect(here);
                await ws.next();
                const theirs = await ws.next(), text = "compress me ".repeat(1000);
                ws.send(text);
                return [ws.extensions.split(";")[0], theirs, (await ws.next()) === text];
            """)
    names = ["permessage-deflate"] if compression else []
    assert seen == ["".join(names), str(names), True]


async def test_the_subprotocol_is_the_server_s_choice(chromium: Browser) -> None:
    async with open_server(echo, "127.0.0.1", 0, subprotocols=["feed.v2"], config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            seen = await opened.run("""
                const good = connect(here, ["feed.v1", "feed.v2"]), bad = connect(here, ["other"]);
                return [await good.next(), good.protocol, await bad.next()];
            """)
    assert seen == ["open", "feed.v2", "error"]


async def test_close_codes_and_reasons_go_both_ways(chromium: Browser) -> None:
    seen_here: list[object] = []

    async def handle(ws: WebSocket) -> None:
        match ws.url:
            case "/theirs":
                await ws.wait_closed()
                seen_here.extend([ws.close_code, ws.close_reason])
            case "/ours":
                await ws.aclose(4002, "genug")
            case "/policy":
                await ws.aclose(1008, "not you")
            case "/error":
                raise RuntimeError("for the log")
            case "/vanish":
                await anyio.aclose_forcefully(ws)

    async with open_server(handle, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            seen = await opened.run("""
                const seen = [];
                for (const path of ["/theirs", "/ours", "/policy", "/error", "/vanish", "/return"]) {
                    const ws = connect(here + path);
                    await ws.next();
                    if (path === "/theirs") ws.close(4001, "ça suffit");
                    let last;
                    do last = await ws.next(); while (last.code === undefined);
                    seen.push([last.code, last.reason, last.clean]);
                }
                return seen;
            """)
    assert seen == [
        [4001, "ça suffit", True],
        [4002, "genug", True],
        [1008, "not you", True],
        [1011, "", True],
        [1006, "", False],
        [1000, "", True],
    ]
    assert seen_here == [4001, "ça suffit"]


async def test_shutting_down_is_told_by_1001(chromium: Browser) -> None:
    async with open_server(echo, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            await opened.run("window.ws = connect(here); await ws.next();")
            await server.shutdown()
            assert (await opened.run("return await ws.next();"))["code"] == 1001


async def test_a_page_that_is_closed_says_so(chromium: Browser) -> None:
    codes: list[int | None] = []
    gone = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        await ws.wait_closed()
        codes.append(ws.close_code)
        gone.set()

    async with open_server(handle, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            await opened.run("window.ws = connect(here); await ws.next();")
        with anyio.fail_after(PATIENCE):
            await gone.wait()
    assert codes == [1001]


async def test_its_browser_answers_pings(chromium: Browser) -> None:
    async def handle(ws: WebSocket) -> None:
        await ws.send("answered" if await ws.ping() > 0 else "not")

    async with open_server(handle, "127.0.0.1", 0, config=PAGE) as server:
        async with chromium.page(http(server)) as opened:
            script = "const ws = connect(here); await ws.next(); return await ws.next();"
            assert await opened.run(script) == "answered"


REFUSED = """
    const ws = connect(URL), first = await ws.next();
    return first === "open" ? [first] : [first, (await ws.next()).code];
"""


async def test_a_page_of_another_origin_is_refused_unless_it_is_named(
    chromium: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anyio_ws.server")
    async with open_server(echo, "127.0.0.1", 0, config=PAGE) as other:
        async with chromium.page(http(other)) as opened:
            for origins, seen in (None, ["error", 1006]), ([http(other)], ["open"]):
                async with open_server(echo, "127.0.0.1", 0, origins=origins) as server:
                    script = REFUSED.replace("URL", f'"{server.url}"')
                    assert await opened.run(script) == seen
    refusals = [record for record in caplog.records if http(other) in record.getMessage()]
    assert [record.levelno for record in refusals] == [logging.INFO]


async def test_a_page_reaches_its_own_server_by_any_name_of_it(chromium: Browser) -> None:
    async with open_server(echo, "127.0.0.1", 0, config=PAGE) as server:
        for name in "127.0.0.1", "localhost":
            async with chromium.page(f"http://{name}:{server.port}") as opened:
                assert await opened.run("return await connect(here).next();") == "open"


async def test_a_page_is_served_over_tls(
    chromium: Browser, server_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context, config=PAGE) as server:
        async with chromium.page(f"https://localhost:{server.port}") as opened:
            assert await opened.run(HELLO) == "hello"


HELLO = 'const ws = connect(here); await ws.next(); ws.send("hello"); return await ws.next();'


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("name", PROXIES)
async def test_a_page_and_its_connection_come_through_a_proxy(
    chromium: Browser, tmp_path: Path, ca: trustme.CA, name: str, secure: bool
) -> None:
    with proxy(name, tmp_path, ca, AT_ONCE[name]) as running:
        async with Way(running, None).serve(config=PAGE):
            async with chromium.page(running.origin(secure=secure)) as opened:
                assert await opened.run(HELLO) == "hello"


async def test_haproxy_turns_a_websocket_of_http_2_into_an_upgrade(
    chromium: Browser, tmp_path: Path, ca: trustme.CA
) -> None:
    versions: list[str | None] = []

    async def handle(ws: WebSocket) -> None:
        versions.append(ws.request.headers.get("X-Version"))
        await echo(ws)

    tell = "    http-request set-header X-Version %[fc_http_major]\n    default_backend feed"
    changes = {**AT_ONCE["HAProxy"], "    default_backend feed": tell}
    with proxy("HAProxy", tmp_path, ca, changes) as running:
        async with Way(running, None).serve(handle, config=PAGE):
            async with chromium.page(running.origin(secure=True)) as opened:
                assert await opened.run(HELLO) == "hello"
    assert versions == ["2"]
