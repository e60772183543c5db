"""The hosts that a server answers for, and whom it believes who the client is."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws import (
    Headers,
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
from anyio_ws.sansio.headers import parse_address
from anyio_ws.testing import ScriptedPeer, handshake_request, memory_stream_pair
from anyio_ws.trust import client_address, is_known_host

from .helpers import connected
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


# -- the client's address

PROXIES = ["127.0.0.0/8", "::1", "10.1.0.0/16", IPv4Network("10.2.0.0/16"), IPv6Address("fd00::1")]


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "address"),
    [
        # Nobody is trusted.
        ([], ("192.0.2.1", 1), [], "192.0.2.1"),
        ([], ("192.0.2.1", 1), ["198.51.100.1"], "192.0.2.1"),
        ([], ("127.0.0.1", 1), ["198.51.100.1"], "127.0.0.1"),
        ([], ("::1", 1), [], "::1"),
        ([], ("fe80::1%2", 1), [], "fe80::1%2"),
        ([], ("::ffff:192.0.2.1", 1), [], "192.0.2.1"),
        ([], "/run/x.sock", ["198.51.100.1"], None),
        ([], "", ["198.51.100.1"], None),
        ([], None, ["198.51.100.1"], None),
        ([], ("testclient", 1), ["198.51.100.1"], None),
        ([], (), [], None),
        # Somebody is, and somebody else has connected.
        (PROXIES, ("192.0.2.1", 1), ["198.51.100.1"], "192.0.2.1"),
        (PROXIES, ("10.3.0.1", 1), ["198.51.100.1"], "10.3.0.1"),
        (PROXIES, ("fd00::2", 1), ["198.51.100.1"], "fd00::2"),
        (PROXIES, "", ["198.51.100.1"], None),
        (PROXIES, None, ["198.51.100.1"], None),
        (["unix"], ("127.0.0.1", 1), ["198.51.100.1"], "127.0.0.1"),
        # A proxy that is trusted.
        (PROXIES, ("127.0.0.1", 1), [], "127.0.0.1"),
        (PROXIES, ("127.0.0.1", 1), ["198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["2001:db8::1"], "2001:db8::1"),
        (PROXIES, ("10.1.2.3", 1), ["198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("10.2.3.4", 1), ["198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("fd00::1", 1), ["198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("::1", 1), ["198.51.100.1:5000"], "198.51.100.1"),
        (PROXIES, ("::ffff:127.0.0.1", 1), ["198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["::ffff:198.51.100.1"], "198.51.100.1"),
        (["unix"], "", ["198.51.100.1"], "198.51.100.1"),
        (["unix"], "", [], None),
        (["unix"], "", ["unknown"], None),
        (["::/0", "0.0.0.0/0"], ("192.0.2.1", 1), ["198.51.100.1, ::2"], "198.51.100.1"),
        # What the client wrote itself stands to the left of what the proxy has added.
        (PROXIES, ("127.0.0.1", 1), ["127.0.0.1, 203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["garbage,,198.51.100.1"], "198.51.100.1"),
        # Through several.
        (PROXIES, ("127.0.0.1", 1), ["198.51.100.1, 10.1.0.1, 10.2.0.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["203.0.113.9, 198.51.100.1", "10.1.0.1"], "198.51.100.1"),
        (PROXIES, ("127.0.0.1", 1), ["10.1.0.2, 10.1.0.1"], "10.1.0.2"),
        # The last good one counts.
        (PROXIES, ("127.0.0.1", 1), ["garbage"], "127.0.0.1"),
        (PROXIES, ("127.0.0.1", 1), [""], "127.0.0.1"),
        (PROXIES, ("127.0.0.1", 1), ["198.51.100.1,"], "127.0.0.1"),
        (PROXIES, ("127.0.0.1", 1), ["198.51.100.1, unknown, 10.1.0.1"], "10.1.0.1"),
        (PROXIES, ("127.0.0.1", 1), ["198.51.100.1, 10.1.0.999, 10.1.0.1"], "10.1.0.1"),
        (PROXIES, ("127.0.0.1", 1), [", ".join(["198.51.100.1"] + ["10.1.0.1"] * 99)], "10.1.0.1"),
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(
    trusted: Any, remote: object, forwarded: list[str], address: str | None
) -> None:
    config = ServerConfig(trusted_proxies=trusted)
    headers = Headers([("X-Forwarded-For", value) for value in forwarded])
    assert client_address(remote, headers, config.trusted_proxies) == address
    assert server_config(config, {"max_size": 1}).trusted_proxies == config.trusted_proxies


anything = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"))
addresses = st.ip_addresses().map(str)


@settings(max_examples=200)
@given(st.lists(anything | addresses | st.lists(addresses | anything).map(", ".join)), addresses)
def test_nothing_that_a_client_sends_changes_what_a_proxy_says_of_it(
    sent: list[str], told: str
) -> None:
    trusted = ServerConfig(trusted_proxies=["127.0.0.1"]).trusted_proxies
    headers = Headers([("X-Forwarded-For", value) for value in [*sent, told]])
    address = client_address(("127.0.0.1", 1), headers, trusted)
    assert address is not None
    if parse_address(told) != parse_address("127.0.0.1"):
        assert address == str(parse_address(told))


async def test_a_handler_and_its_hooks_know_the_clients_address() -> None:
    seen: list[str | None] = []

    async def look(ws: WebSocket, request: Request) -> None:
        seen.append(ws.client_address)

    async def handle(ws: WebSocket) -> None:
        seen.append(ws.client_address)
        await ws.send("hello")
        await ws.wait_closed()
        seen.append(ws.client_address)

    for trusted, address in ((), "127.0.0.1"), (["127.0.0.1"], "198.51.100.1"):
        async with open_server(
            handle, "127.0.0.1", 0, process_request=look, trusted_proxies=trusted
        ) as server:
            forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}
            async with open_websocket(server.url, additional_headers=forwarded) as ws:
                assert await ws.receive() == "hello"
                assert ws.client_address is None  # a client's own business
        assert seen == [address] * 3
        seen.clear()


@pytest.mark.parametrize(("trusted", "address"), [([], None), (["unix"], "198.51.100.1")])
async def test_a_proxy_may_connect_to_a_unix_socket(
    trusted: list[str], address: str | None, tmp_path: Path
) -> None:
    async def handle(ws: WebSocket) -> None:
        await ws.send(repr(ws.client_address))

    path = tmp_path / "s"
    async with open_server(handle, unix_path=path, trusted_proxies=trusted):
        forwarded = {"X-Forwarded-For": "198.51.100.1"}
        async with open_websocket(
            "ws://localhost/", unix_path=path, additional_headers=forwarded
        ) as ws:
            assert await ws.receive() == repr(address)


async def test_of_streams_in_memory_nobody_knows_an_address() -> None:
    async with connected(server={"trusted_proxies": ["unix", "0.0.0.0/0"]}, buffer=2**16) as (
        _,
        server,
    ):
        assert server.client_address is None


@pytest.mark.parametrize(
    ("proxies", "error", "message"),
    [
        ("127.0.0.1", TypeError, "trusted_proxies must be a sequence"),
        (None, TypeError, "trusted_proxies must be a sequence"),
        (["proxy.example"], ValueError, "can't have 'proxy.example'"),
        (["10.0.0.1/8"], ValueError, "host bits"),
        (["127.0.0.1:80"], ValueError, "can't have"),
        ([""], ValueError, "can't have ''"),
        ([7], TypeError, "addresses and networks"),
        ([None], TypeError, "addresses and networks"),
        ([b"\x7f\0\0\1"], TypeError, "addresses and networks"),
    ],
)
def test_proxies_that_make_no_sense_are_refused_at_once(
    proxies: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        server_config(None, {"trusted_proxies": proxies})
