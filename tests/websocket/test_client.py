"""`open_websocket`: over which transports, with which options, and what a connection tells."""

from __future__ import annotations

import logging
import re
import ssl
import uuid
from functools import partial
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from anyio_ws import (
    ClientConfig,
    ConnectError,
    InvalidURI,
    State,
    WebSocket,
    accept_websocket,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, memory_stream_pair

from .helpers import URL, client_and_peer, connected, server_and_peer, settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def echo_on(stream: Any, **options: Any) -> None:
    async with accept_websocket(stream, **options) as ws:
        await echo(ws)


# -- over what


async def test_it_dials_a_ws_url() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            assert ws.remote_address[:2] == ("127.0.0.1", server.port)
            assert ws.local_address[:2] != ws.remote_address[:2]


async def test_it_dials_a_wss_url(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        assert server.url.startswith("wss://")
        async with open_websocket(server.url, ssl=client_ssl_context) as ws:
            for message in ("hello", b"x" * 300_000):
                await ws.send(message)
                assert await ws.receive() == message
            assert ws.extra(TLSAttribute.tls_version).startswith("TLS")
            assert ws.extra(SocketAttribute.remote_port) == server.port


async def test_it_speaks_over_a_socket_that_is_given() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        stream = await anyio.connect_tcp("127.0.0.1", server.port)
        async with open_websocket(server.url, stream=stream) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


@pytest.mark.parametrize("halves", [False, True], ids=["stream", "pair"])
async def test_both_ends_speak_over_streams_in_memory(halves: bool) -> None:
    one, other = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(echo_on, (other, other) if halves else other)
        async with open_websocket(URL, stream=(one, one) if halves else one) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            assert ws.remote_address is None
            assert ws.local_address is None
    for stream in (one, other):
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


async def test_a_pair_may_be_two_pipes_that_know_nothing_of_each_other() -> None:
    up_in, up_out = memory_stream_pair()
    down_in, down_out = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(echo_on, (up_out, down_in))
        async with open_websocket(URL, stream=(down_out, up_in)) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
    for stream in (up_in, up_out, down_in, down_out):
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


async def test_tls_is_started_on_a_stream_that_is_given_for_wss(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    one, other = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(echo_on, ssl=server_ssl_context), other)
        url = "wss://localhost/"
        async with open_websocket(url, stream=one, ssl=client_ssl_context) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            assert ws.extra(TLSAttribute.server_side) is False


async def test_server_hostname_is_what_the_certificate_is_checked_against(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        async with open_websocket(
            server.url, ssl=client_ssl_context, server_hostname="localhost"
        ) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        with pytest.raises(ConnectError, match=r"certificate .*example\.org"):
            async with open_websocket(
                server.url, ssl=client_ssl_context, server_hostname="example.org"
            ):
                pass


@pytest.mark.parametrize("halves", [False, True], ids=["stream", "pair"])
def test_both_ends_speak_over_trio_streams(halves: bool) -> None:
    async def main() -> None:
        one, other = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_on, (other, other) if halves else other)
            async with open_websocket(URL, stream=(one, one) if halves else one) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
        with pytest.raises(trio.ClosedResourceError):
            await one.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await other.receive_some()

    trio.run(main)


def test_it_speaks_over_a_trio_socket() -> None:
    async def main() -> None:
        async with open_server(echo, "127.0.0.1", 0) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            async with open_websocket(server.url, stream=stream) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
                assert ws.remote_address == ("127.0.0.1", server.port)

    trio.run(main)


def test_tls_is_started_on_a_trio_stream(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        one, other = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(echo_on, ssl=server_ssl_context), other)
            async with open_websocket("wss://localhost/", stream=one, ssl=client_ssl_context) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"

    trio.run(main)


@pytest.mark.parametrize(
    "stream", [object(), "x", (1, 2), (1,)], ids=["object", "str", "pair", "single"]
)
async def test_what_is_no_stream_is_refused(stream: object) -> None:
    with pytest.raises(TypeError, match="byte stream"):
        async with open_websocket(URL, stream=stream):  # type: ignore[arg-type]  # the point
            pass
    with pytest.raises(TypeError, match="byte stream"):
        async with accept_websocket(stream):  # type: ignore[arg-type]  # the point
            pass


# -- what is sent


async def request_of(**options: Any) -> bytes:
    """The request that `open_websocket` sends with these options."""
    ours, theirs = memory_stream_pair()
    peer = ScriptedPeer(theirs, Side.SERVER)
    requests: list[bytes] = []

    async def answer() -> None:
        requests.append(await peer.accept())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        async with open_websocket(URL, stream=ours, close_timeout=0, **options) as ws:
            assert ws.request.path == "/feed"
    return requests[0]


async def test_the_request_has_the_headers_that_the_options_ask_for() -> None:
    request = await request_of(
        origin="https://example.org",
        additional_headers=[("X-One", "1"), ("X-One", "2"), ("host", "other.example")],
        user_agent_header="me/1",
        subprotocols=["chat", "superchat"],
    )
    lines = request.decode().lower().split("\r\n")
    assert lines[0] == "get /feed http/1.1"
    for line in (
        *("origin: https://example.org", "x-one: 1", "x-one: 2", "host: other.example"),
        *("user-agent: me/1", "sec-websocket-protocol: chat, superchat"),
    ):
        assert lines.count(line) == 1
    assert "host: example.org" not in lines


async def test_by_default_there_is_no_origin_and_a_user_agent() -> None:
    request = (await request_of()).lower()
    assert b"\r\nuser-agent: anyio-ws" in request
    assert b"\r\norigin:" not in request
    assert b"user-agent" not in (await request_of(user_agent_header=None)).lower()


async def test_options_can_be_given_as_a_config_and_others_override_it() -> None:
    config = ClientConfig(user_agent_header="config", origin="https://config.example")
    request = await request_of(config=config, origin="https://option.example")
    assert b"User-Agent: config" in request
    assert b"Origin: https://option.example" in request


# -- what is refused before anything is dialled


@pytest.mark.parametrize(
    "url", ["http://example.org/", "example.org", "ws://", "ws://example.org/#fragment", "ws://h:x"]
)
async def test_what_is_no_websocket_uri_is_refused_when_called(url: str) -> None:
    with pytest.raises(InvalidURI, match=re.escape(repr(url))):
        open_websocket(url)


async def test_an_unknown_option_is_refused_when_called_and_the_nearest_is_named() -> None:
    with pytest.raises(TypeError, match=r"'open_timout'.*'open_timeout'"):
        open_websocket(URL, open_timout=1)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ValueError, match="close_timeout"):
        open_websocket(URL, close_timeout=-1)


async def test_a_context_manager_can_be_entered_only_once() -> None:
    ours, theirs = memory_stream_pair()
    context = open_websocket(URL, stream=ours, open_timeout=0)
    with pytest.raises(TimeoutError):
        await context.__aenter__()
    with pytest.raises(RuntimeError, match="once"):
        await context.__aenter__()
    await theirs.aclose()


# -- how long it takes


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("open_timeout", [0.5, 10, 1000])
@pytest.mark.parametrize("half", [False, True], ids=["silent", "half a response"])
async def test_opening_takes_open_timeout_when_the_server_does_not_answer(
    open_timeout: float, half: bool
) -> None:
    ours, theirs = memory_stream_pair()
    if half:
        await theirs.send(b"HTTP/1.1 101 Switching")
    with pytest.raises(TimeoutError, match=f"open_timeout, {open_timeout} seconds"):
        async with open_websocket(URL, stream=ours, open_timeout=open_timeout):
            pass
    assert anyio.current_time() == pytest.approx(open_timeout)
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


@pytest.mark.usefixtures("virtual_time")
async def test_without_open_timeout_the_callers_own_limit_ends_opening() -> None:
    ours, _ = memory_stream_pair()
    start = anyio.current_time()
    with anyio.move_on_after(500) as scope:
        async with open_websocket(URL, stream=ours, open_timeout=None):
            pass
    assert scope.cancelled_caught
    assert anyio.current_time() - start == pytest.approx(500)
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


# -- what a connection tells


async def test_a_connection_tells_about_itself() -> None:
    async with connected(
        client={"subprotocols": ["chat"]}, server={"subprotocols": ["chat"]}
    ) as ends:
        for ws, url in zip(ends, (URL, "/feed"), strict=True):
            assert ws.url == url
            assert ws.subprotocol == "chat"
            assert [one.name for one in ws.extensions] == ["permessage-deflate"]
            assert ws.state is State.OPEN
            assert (ws.close_code, ws.close_reason) == (None, None)
            assert (ws.latency, ws.buffered_amount) == (0, 0)
            assert ws.request.headers["Host"] == "example.org"
            assert ws.response.status_code == 101
            assert isinstance(ws.id, uuid.UUID)
            assert repr(ws) == f"<WebSocket {url} OPEN id={ws.id}>"
        assert ends[0].id != ends[1].id


async def test_a_connection_knows_its_logger() -> None:
    mine = logging.getLogger("mine")
    async with connected(client={"logger": mine}) as (client, server):
        assert client.logger is mine
        assert server.logger is logging.getLogger("anyio_ws.server")


async def test_a_connection_has_a_place_for_the_users_own_data() -> None:
    async with connected() as (client, server):
        client.user_data.name = "alice"
        assert client.user_data.name == "alice"
        assert not hasattr(server.user_data, "name")


async def test_typed_attributes_answer_for_what_is_below() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            assert ws.extra(SocketAttribute.remote_port) == server.port
            assert ws.extra(SocketAttribute.raw_socket).getpeername()[1] == server.port
            assert ws.extra(TLSAttribute.tls_version, None) is None
            with pytest.raises(anyio.TypedAttributeLookupError):
                ws.extra(TLSAttribute.tls_version)


async def test_a_connection_is_a_stream_of_anyio_that_closes_itself() -> None:
    async with server_and_peer(close_timeout=0) as (ws, _):
        async with ws:
            pass
        await settle()
        assert ws.state is State.CLOSED
    async with client_and_peer() as (ws, _):
        assert isinstance(ws, anyio.abc.ObjectStream)


async def test_additional_headers_may_come_from_an_iterator() -> None:
    headers = (pair for pair in [("X-One", "1"), ("X-One", "2")])
    async with client_and_peer(additional_headers=headers) as (ws, _):
        assert ws.request.headers.get_all("X-One") == ["1", "2"]


def test_a_context_for_tls_is_not_ignored_where_there_is_no_tls() -> None:
    with pytest.raises(ValueError, match="wss://"):
        open_websocket("ws://example/", ssl=ssl.create_default_context())


def test_a_connection_can_be_described_before_an_event_loop_runs() -> None:
    open_websocket("ws://example/")
