"""The demo's web page: what its server answers, and what those who view it are sent."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from anyio_ws import (
    Headers,
    InvalidStatus,
    WebSocket,
    WebSocketServer,
    open_websocket,
)
from anyio_ws.cli.web import FEED, HTML, POINTS, Page

from .helpers import BACKENDS, PATIENCE, PYTHON, ROOT, run, running

DEMO = [*PYTHON, "-m", "anyio_ws", "demo", "--interval", "0.1", "--plain", "--web"]


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Page, WebSocketServer]]:
    page = Page(feeds=2, interval=0.5, backend="this")
    with anyio.fail_after(PATIENCE):
        async with page.serve("127.0.0.1", 0) as server:
            yield page, server


async def asked(port: int, *lines: str, host: str = "127.0.0.1") -> tuple[int, Headers, str]:
    """What a request is answered: its status, headers and body."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send("\r\n".join([*lines, f"Host: {host}:{port}", "", ""]).encode())
        answer = b"".join([chunk async for chunk in stream]).decode()
    head, _, body = answer.partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    headers = Headers([(name, value.strip()) for name, _, value in map(split, fields)])
    return int(status.split()[1]), headers, body


def split(field: str) -> tuple[str, str, str]:
    return field.partition(":")


def reading(number: int, padding: int = 0) -> str:
    return json.dumps({"time": float(number), "percent": [number], "padding": padding * "x"})


async def next_reading(ws: WebSocket) -> dict[str, Any]:
    while "reading" not in (message := json.loads(await ws.receive())):
        pass
    found: dict[str, Any] = message
    return found


# -- over HTTP


async def test_the_page_is_served_with_headers_that_keep_it_to_itself() -> None:
    async with served() as (_, server):
        status, headers, body = await asked(server.port, "GET / HTTP/1.1")
        assert (status, body) == (200, HTML)
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"} < {*policy}
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert (await asked(server.port, "GET /?a=b HTTP/1.1"))[2] == HTML
        status, without_body, body = await asked(server.port, "HEAD / HTTP/1.1")
        assert (status, body) == (200, "")
        assert (
            without_body["Content-Length"] == headers["Content-Length"] == str(len(HTML.encode()))
        )


async def test_what_is_no_page_is_refused() -> None:
    async with served() as (_, server):
        for method in "POST", "PUT", "OPTIONS":
            status, headers, _ = await asked(server.port, f"{method} / HTTP/1.1")
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        assert (await asked(server.port, "GET /nothing HTTP/1.1"))[0] == 404
        assert (await asked(server.port, f"GET {FEED} HTTP/1.1"))[0] == 426
        with pytest.raises(InvalidStatus, match="404"):
            async with open_websocket(f"{server.url}/nothing"):
                pass


async def test_pages_of_others_are_refused_even_if_their_name_leads_here() -> None:
    async with served() as (_, server):
        with pytest.raises(InvalidStatus, match="403"):
            async with open_websocket(server.url + FEED, origin="http://evil.example"):
                pass
        assert (await asked(server.port, "GET / HTTP/1.1", host="evil.example"))[0] == 421
        for name in "localhost", "127.0.0.1":
            origin = f"http://{name}:{server.port}"
            async with open_websocket(origin.replace("http", "ws", 1) + FEED, origin=origin):
                pass


def test_the_page_needs_nothing_from_elsewhere() -> None:
    assert re.findall(r'(?:src|href)="(?!data:)', HTML) == []
    assert re.findall(r"@import|url\(|fetch\(|import\(", HTML) == []
    assert {HTML.count(f"<{element}>") for element in ("script", "style")} == {1}


def test_the_page_is_in_what_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "demo.html" in settings["package-data"]["anyio_ws.cli"]


# -- viewers


async def test_a_newcomer_gets_what_a_chart_shows_at_once_and_then_what_comes() -> None:
    async with served() as (page, server):
        total = 2 * POINTS
        for number in range(total + 5):
            await page.publish("ab"[number % 2], reading(number))
        async with open_websocket(server.url + FEED) as ws:
            hello = json.loads(await ws.receive())["hello"]
            assert {**hello, "time": 0} == {
                "backend": "this",
                "interval": 0.5,
                "points": POINTS,
                "time": 0,
            }
            seen = [await next_reading(ws) for _ in range(total)]
            assert [message["number"] for message in seen] == list(range(5, total + 5))
            assert {message["feed"] for message in seen} == {"a", "b"}
            await page.publish("b", reading(7))
            assert await next_reading(ws) == {
                "feed": "b",
                "number": total + 5,
                "reading": json.loads(reading(7)),
            }


async def test_viewers_are_told_how_many_they_are() -> None:
    async def told(ws: WebSocket) -> int:
        while "viewers" not in (message := json.loads(await ws.receive())):
            pass
        return int(message["viewers"])

    async with served() as (_, server):
        async with open_websocket(server.url + FEED) as one:
            assert await told(one) == 1
            async with open_websocket(server.url + FEED) as other:
                assert await told(one) == 2
                assert await told(other) == 2
            assert await told(one) == 1


async def test_a_viewer_that_stalls_costs_others_nothing_and_goes_on_with_what_is_new() -> None:
    count = 200
    async with served() as (page, server):
        opening = partial(open_websocket, server.url + FEED, max_size=None)
        async with opening() as good, opening(max_queue=1, read_limit=1) as stalled:
            assert "hello" in await stalled.receive(decode=True)
            await next_viewers(good, 2)
            for number in range(count):
                await page.publish("a", reading(number, 2**16))
                assert (await next_reading(good))["number"] == number
            seen = [(await next_reading(stalled))["number"]]
            while seen[-1] != count - 1:
                seen.append((await next_reading(stalled))["number"])
            assert seen == sorted(set(seen))
            assert len(seen) < count  # it missed some
            await page.publish("a", reading(count))
            assert (await next_reading(stalled))["number"] == count


async def next_viewers(ws: WebSocket, number: int) -> None:
    while json.loads(await ws.receive()) != {"viewers": number}:
        pass


# -- the command


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_demo_serves_its_page_until_it_ends(backend: str) -> None:
    async def view(process: subprocess.Popen[str], url: str) -> None:
        async with open_websocket(url + FEED) as ws:
            assert json.loads(await ws.receive())["hello"]["backend"] == backend
            missing = {"cpu", "memory", "network"}
            while missing:
                missing.discard((await next_reading(ws))["feed"])
            process.send_signal(signal.SIGTERM)
            async for _ in ws:
                pass
            assert ws.close_code == 1001

    command = [*DEMO, "--port", "0", "--backend", backend]
    with running(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.fullmatch(
            r"open http(://127.0.0.1:\d+) in a browser\n", process.stderr.readline()
        )
        assert found
        anyio.run(view, process, f"ws{found[1]}", backend=backend)
        lines = process.stdout.read().splitlines()
        assert {line.split()[0] for line in lines} == {"cpu", "memory", "network"}
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_port_that_is_taken_is_told_in_one_line(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(*DEMO, "--port", port, "--backend", backend)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"anyio-ws demo: can't listen on 127.0.0.1 port {port}: ")
    assert "in use; --port 0 takes any that is free" in ended.stderr
    assert ended.stderr.count("\n") == 1
