"""Who may connect: the hosts that a server answers for."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from anyio_ws import (
    InvalidHeader,
    InvalidStatus,
    Request,
    Response,
    WebSocket,
    accept_websocket,
    open_server,
    open_websocket,
)
from anyio_ws.options import ServerConfig, server_config
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, handshake_request, memory_stream_pair
from anyio_ws.trust import is_known_host

from .test_hooks import ask, echo

Hosts = Sequence[str | re.Pattern[str]]

# -- hosts


@pytest.mark.parametrize(
    ("hosts", "host", "known"),
    [
        (["example.org"], "example.org", True),
        (["example.org"], "EXAMPLE.org", True),
        (["Example.Org"], "example.org", True),
        (["example.org"], "example.org:8765", True),
        (["example.org"], "example.org.", True),
        (["example.org."], "example.org", True),
        (["example.org"], "example.org.evil", False),
        (["example.org"], "evil.example.org", False),
        (["example.org"], "evilexample.org", False),
        (["example.org"], "example.org..", False),
        (["example.org"], "example.org:port", False),
        (["example.org"], "evil@example.org", False),
        (["example.org"], "example.org@evil", False),
        (["example.org"], "", False),
        (["example.org"], None, False),
        (["example.org:8765"], "example.org:8765", True),
        (["example.org:8765"], "example.org:8766", False),
        (["example.org:8765"], "example.org", False),
        (["example.org:443"], "example.org", True),
        (["example.org:80"], "example.org", True),
        (["example.org:80"], "example.org:443", False),
        (["127.0.0.1", "localhost"], "localhost:1", True),
        (["127.0.0.1", "localhost"], "127.0.0.1:1", True),
        (["127.0.0.1"], "127.0.0.10", False),
        (["127.0.0.1"], "127.1", False),
        (["::1"], "[::1]", True),
        (["::1"], "[::1]:8765", True),
        (["[::1]:8765"], "[::1]:8765", True),
        (["[::1]:8765"], "[::1]:8766", False),
        (["2001:DB8::1"], "[2001:db8:0::1]", True),
        (["::1"], "::1", False),
        (["::1"], "[::2]", False),
        (["höst.example"], "xn--hst-sna.example", True),
        (["*.example.org"], "a.example.org", True),
        (["*.example.org"], "a.b.example.org:8765", True),
        (["*.example.org"], "A.Example.Org.", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "aexample.org", False),
        (["*.example.org"], "a.example.org.evil", False),
        (["*.example.org:8765"], "a.example.org:8765", True),
        (["*.example.org:8765"], "a.example.org:8766", False),
        (["*.example.org:443"], "a.example.org", True),
        ([re.compile(r"[a-c]\.example\.org")], "B.example.org:8765", True),
        ([re.compile(r"[a-c]\.example\.org")], "d.example.org", False),
        ([re.compile(r"[a-c]\.example\.org")], "a.example.org.evil", False),
        ([re.compile(r".*")], None, False),
        ([re.compile(r".*")], "a b", False),
        ([], "example.org", False),
    ],
)
def test_a_host_is_known_or_not(hosts: Hosts, host: str | None, known: bool) -> None:
    made = ServerConfig(hosts=hosts).hosts
    assert made is not None
    assert is_known_host(host, made) is known
    assert ServerConfig(hosts=made).hosts == made


@pytest.mark.parametrize(
    ("hosts", "error", "message"),
    [
        ("example.org", TypeError, "must be a sequence"),
        (re.compile("example"), TypeError, "must be a sequence"),
        ([b"example.org"], TypeError, "strings and patterns"),
        ([re.compile(b"example")], TypeError, "strings and patterns"),
        ([None], TypeError, "strings and patterns"),
        ([""], ValueError, "hosts can't have ''"),
        (["http://example.org"], ValueError, "isn't a"),
        (["example.org/"], ValueError, "isn't a host"),
        (["example.org:http"], ValueError, "isn't a port"),
        (["*"], ValueError, "for subdomains write"),
        (["*."], ValueError, "isn't a host"),
        ([".example.org"], ValueError, "for subdomains write"),
        (["a.*.example.org"], ValueError, "for subdomains write"),
        (["1:2:3"], ValueError, "isn't a host"),
        (["é" * 64], ValueError, "hosts can't have"),
    ],
)
def test_hosts_that_make_no_sense_are_refused_at_once(
    hosts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        server_config(None, {"hosts": hosts})


async def test_a_request_for_another_host_is_misdirected() -> None:
    async with open_server(echo, "127.0.0.1", 0, hosts=["127.0.0.1"]) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(
                server.url, additional_headers={"Host": f"rebound.example:{server.port}"}
            ):
                pass
    response = caught.value.response
    assert (response.status_code, response.reason_phrase) == (421, "Misdirected Request")
    assert response.body == b"This server doesn't answer for that host.\n"
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: \r\n\r\n",
        b"HEAD / HTTP/1.0\r\nHost: rebound.example\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: 1\r\n\r\nx",
        handshake_request("/", host="rebound.example"),
    ],
)
async def test_no_hook_is_asked_about_a_request_for_another_host(request_head: bytes) -> None:
    asked: list[str] = []

    async def hook(ws: WebSocket, request: Request) -> Response | None:
        asked.append("process_request")
        return None

    async def page(request: Request) -> Response:
        asked.append("handle_http")
        return Response.text(200, "a secret\n")

    async with open_server(
        echo, "127.0.0.1", 0, hosts=["localhost"], process_request=hook, handle_http=page
    ) as server:
        status, _, body = await ask(server, request_head)
        assert status == b"HTTP/1.1 421 Misdirected Request"
        assert b"secret" not in body
        assert asked == []
        status, _, body = await ask(server, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert (status, body) == (b"HTTP/1.1 200 OK", b"a secret\n")
        assert asked == ["process_request", "handle_http"]


async def test_by_default_a_server_answers_for_any_host_and_for_none() -> None:
    async def page(request: Request) -> Response:
        return Response.text(200, "welcome\n")

    async with open_server(echo, "127.0.0.1", 0, handle_http=page) as server:
        for head in b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: any.example\r\n\r\n":
            assert (await ask(server, head))[2] == b"welcome\n"


async def test_the_host_that_was_asked_for_stands_in_the_error() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(handshake_request("/", host="rebound.example"))

    async def receive_head() -> None:
        await ScriptedPeer(theirs, Side.CLIENT).receive_head()
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive_head)
        with pytest.raises(InvalidHeader, match=r"Host.*'rebound\.example'.*isn't among hosts"):
            async with accept_websocket(ours, hosts=["localhost"]):
                pass


async def test_a_misdirected_request_is_one_quiet_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "anyio_ws.server")
    async with open_server(echo, "127.0.0.1", 0, hosts=["localhost"]) as server:
        await ask(server, b"GET / HTTP/1.0\r\n\r\n")
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert "missing Host header" in record.getMessage()
