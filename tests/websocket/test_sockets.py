"""Servers and clients on sockets: where they listen and connect, and what they do without descriptors."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
import trio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from anyio_ws import (
    ConnectError,
    WebSocket,
    WebSocketServer,
    accept_websocket,
    accepting,
    open_server,
    open_websocket,
    serve_websocket,
)

from ..limits import no_descriptor_left
from .helpers import settle

PATIENCE = 10


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(ws: WebSocket) -> None:
    for message in ("hello", b"x" * 300_000):
        await ws.send(message)
        assert await ws.receive() == message


async def check_server(server: WebSocketServer, **options: Any) -> None:
    with anyio.fail_after(PATIENCE):
        async with open_websocket(server.url, **options) as ws:
            await check_echo(ws)


# -- Unix sockets


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_server_on_a_unix_socket_is_reached_by_its_path(kind: type, tmp_path: Path) -> None:
    path = kind(tmp_path / "socket")
    async with open_server(echo, unix_path=path) as server:
        assert server.addresses == [str(path)]
        assert server.url == f"ws+unix://{path}:"
        with pytest.raises(RuntimeError, match="no port"):
            _ = server.port
        async with open_websocket("ws://example.org/feed", unix_path=path) as ws:
            await check_echo(ws)
            assert ws.url == "ws://example.org/feed"
            assert ws.request.headers["Host"] == "example.org"
            assert ws.remote_address == str(path)
        await check_server(server)
        async with open_websocket(f"{server.url}/feed?since=5") as ws:
            assert ws.request.path == "/feed?since=5"
    assert os.listdir(tmp_path) == []


async def test_tls_works_over_a_unix_socket(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    async with open_server(echo, unix_path=path, ssl=server_ssl_context) as server:
        assert server.url == f"wss+unix://{path}:"
        for url, unix_path in (server.url, None), ("wss://localhost", path):
            async with open_websocket(url, unix_path=unix_path, ssl=client_ssl_context) as ws:
                await check_echo(ws)
                assert ws.extra(TLSAttribute.tls_version).startswith("TLS")


async def test_the_url_of_a_unix_socket_is_whole_and_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_server(echo, unix_path="a b:c?") as server:
        assert server.url == f"ws+unix://{tmp_path}/a%20b%3Ac%3F:"
        await check_server(server)


async def test_a_unix_socket_that_nobody_listens_at_is_a_connect_error_that_names_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    with pytest.raises(ConnectError, match=rf"{path}: No such file"):
        async with open_websocket("ws://localhost", unix_path=path):
            pass


@pytest.mark.usefixtures("virtual_time")
async def test_a_unix_socket_at_which_too_many_wait_takes_open_timeout(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)
        start = anyio.current_time()
        with pytest.raises(TimeoutError, match="open_timeout"):
            async with open_websocket("ws://localhost", unix_path=path, open_timeout=30):
                pass
        assert anyio.current_time() - start == pytest.approx(30)


async def test_a_url_may_be_that_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a socket:1"
    url = f"ws+unix://{tmp_path}/a%20socket%3A1"
    async with open_server(echo, unix_path=path):
        async with open_websocket(f"{url}:/feed?since=5") as ws:
            await check_echo(ws)
            assert ws.url == f"{url}:/feed?since=5"
            assert ws.request.path == "/feed?since=5"
            assert ws.request.headers["Host"] == "localhost"
            assert ws.remote_address == str(path)
        async with open_websocket(url) as ws:
            assert ws.request.path == "/"


async def test_a_url_may_be_that_of_a_unix_socket_with_tls(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    async with open_server(echo, unix_path=path, ssl=server_ssl_context):
        async with open_websocket(f"wss+unix://{path}:/", ssl=client_ssl_context) as ws:
            await check_echo(ws)
            assert ws.request.headers["Host"] == "localhost"


async def test_a_url_of_a_unix_socket_that_is_not_there_is_a_connect_error_that_names_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConnectError, match=rf"{tmp_path}/a b: No such file"):
        async with open_websocket(f"ws+unix://{tmp_path}/a%20b:/feed"):
            pass


def test_a_url_of_a_unix_socket_says_all_about_where_to_connect() -> None:
    with socket.socket() as sock:
        with pytest.raises(TypeError, match="excludes stream and unix_path"):
            open_websocket("ws+unix:///run/socket", stream=sock)
    with pytest.raises(TypeError, match="excludes stream and unix_path"):
        open_websocket("ws+unix:///run/socket", unix_path="/run/other")


# -- listeners


async def test_a_server_takes_sockets_that_listen_already(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    tcp = socket.create_server(("127.0.0.2", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    async with open_server(echo, listeners=[unix, tcp]) as server:
        assert server.addresses == [path, ("127.0.0.2", server.port)]
        assert server.url == f"ws://127.0.0.2:{server.port}"
        await check_server(server)
        await check_server(server, unix_path=path)
    assert os.listdir(tmp_path) == ["socket"]  # whoever made it may listen again
    assert (tcp.fileno(), unix.fileno()) == (-1, -1)


async def test_a_server_takes_listeners_of_anyio(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    (single,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    unix = await anyio.create_unix_listener(path, mode=0o600)
    assert isinstance(single, anyio.abc.SocketListener)
    single_port = single.extra(SocketAttribute.local_port)
    async with open_server(echo, listeners=[multi, single, unix]) as server:
        assert server.addresses[1:] == [("127.0.0.1", single_port), path]
        await check_server(server)
        await check_server(server, unix_path=path)
        async with open_websocket(f"ws://127.0.0.1:{single_port}") as ws:
            await check_echo(ws)


def test_a_server_takes_listeners_of_trio() -> None:
    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with open_server(echo, listeners=listeners) as server:
            assert server.addresses == [("127.0.0.1", port)]
            await check_server(server)

    trio.run(main)


async def test_a_server_on_the_wildcard_address_says_localhost() -> None:
    wildcard = socket.create_server(("0.0.0.0", 0))
    async with open_server(echo, listeners=[wildcard]) as server:
        assert server.url == f"ws://localhost:{server.port}"
        await check_server(server)
    async with open_server(echo, "", 0) as server:
        assert server.url == f"ws://localhost:{server.port}"
        await check_server(server)


async def test_a_listening_socket_that_breaks_ends_the_server_with_its_error() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    with anyio.fail_after(PATIENCE), pytest.raises(OSError, match="Invalid argument"):  # noqa: PT012  # a block
        async with open_server(echo, listeners=[sock]) as server:
            async with open_websocket(server.url):
                sock.shutdown(socket.SHUT_RD)
                await anyio.sleep_forever()


class ShutDownAtOnce:
    """A task status that breaks a listening socket once the server has started."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def started(self, value: object = None) -> None:
        self._socket.shutdown(socket.SHUT_RD)


async def test_the_error_of_a_listening_socket_that_breaks_is_in_no_group() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    with anyio.fail_after(PATIENCE), pytest.raises(OSError, match="Invalid argument"):
        await serve_websocket(echo, listeners=[sock], task_status=ShutDownAtOnce(sock))


@pytest.mark.parametrize("serve", [open_server, serve_websocket])
@pytest.mark.parametrize(
    "address",
    [
        {},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1", "unix_path": "x"},
        {"port": 0, "unix_path": "x"},
        {"port": 0, "listeners": []},
        {"host": "127.0.0.1", "listeners": []},
        {"unix_path": "x", "listeners": []},
        {"host": "127.0.0.1", "port": 0, "unix_path": "x", "listeners": []},
    ],
    ids=lambda address: "+".join(address) or "none",
)
async def test_a_server_needs_one_address_and_no_second(
    serve: Callable[..., Any], address: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=r"exactly one of port|without a port"):
        await serve(echo, **address)


async def test_a_client_needs_no_second_way_to_connect() -> None:
    with socket.socket() as sock:
        with pytest.raises(TypeError, match="stream and unix_path"):
            open_websocket("ws://localhost", stream=sock, unix_path="x")


@pytest.mark.parametrize("wrong", ["127.0.0.1", object, 8765])
async def test_what_is_no_listener_is_refused_on_entering(wrong: Any) -> None:
    with pytest.raises(TypeError, match="listen"):
        async with open_server(echo, listeners=[wrong]):
            pass
    with pytest.raises(ValueError, match="no listener"):
        async with open_server(echo, listeners=[]):
            pass


async def test_servers_share_a_port_that_they_reuse() -> None:
    async def name_it(name: str, ws: WebSocket) -> None:
        await ws.send(name)

    async with open_server(partial(name_it, "one"), "127.0.0.1", 0, reuse_port=True) as one:
        other = open_server(partial(name_it, "other"), "127.0.0.1", one.port, reuse_port=True)
        async with other:
            answers = set()
            for _ in range(40):  # the kernel chooses by the client's port
                async with open_websocket(one.url) as ws:
                    answers.add(await ws.receive())
            assert answers == {"one", "other"}
        async with open_websocket(one.url) as ws:
            assert await ws.receive() == "one"


# -- sockets that are connected already


async def test_both_ends_speak_over_sockets_that_are_connected_already() -> None:
    async def serve() -> None:
        async with accept_websocket(far) as ws:
            await echo(ws)

    near, far = socket.socketpair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with open_websocket("ws://localhost", stream=near) as ws:
            await check_echo(ws)
    assert (near.fileno(), far.fileno()) == (-1, -1)


async def test_tls_is_started_on_sockets_that_are_connected_already(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async def serve() -> None:
        async with accept_websocket(far, ssl=server_ssl_context) as ws:
            await echo(ws)

    near, far = socket.socketpair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        url = "wss://localhost"
        async with open_websocket(url, stream=near, ssl=client_ssl_context) as ws:
            await check_echo(ws)
            assert ws.extra(TLSAttribute.server_side) is False


async def test_a_socket_that_is_no_connection_is_refused() -> None:
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="connected socket"):
            async with open_websocket("ws://localhost", stream=sock):
                pass
        with pytest.raises(ValueError, match="connected socket"):
            async with accept_websocket(sock):
                pass
        assert sock.fileno() >= 0


# -- addresses


async def test_addresses_are_remembered_after_the_end() -> None:
    served: list[WebSocket] = []

    async def remember(ws: WebSocket) -> None:
        served.append(ws)

    async with open_server(remember, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
        address = ("127.0.0.1", server.port)
    assert ws.remote_address == address
    assert served[0].local_address == address
    assert served[0].remote_address == ws.local_address
    assert ws.extra(SocketAttribute.remote_port) == address[1]


async def test_a_client_connects_from_the_local_address_that_it_is_given() -> None:
    async def tell(ws: WebSocket) -> None:
        await ws.send(ws.remote_address[0])

    async with open_server(tell, "127.0.0.1", 0) as server:
        async with open_websocket(server.url, local_address=("127.0.0.2", 0)) as ws:
            assert await ws.receive() == "127.0.0.2"
            assert ws.local_address[0] == "127.0.0.2"
        with pytest.raises(ConnectError, match="another family"):
            async with open_websocket(server.url, local_address=("::1", 0)):
                pass
        with pytest.raises(
            ConnectError, match=r"local address 192\.0\.2\.1 port 0: .*ssign"
        ) as caught:
            async with open_websocket(server.url, local_address=("192.0.2.1", 0)):
                pass
        assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("127.0.0.1", 65536), ValueError),
        (("127.0.0.1", -1), ValueError),
        ("127.0.0.1", TypeError),
        (("127.0.0.1", "80"), TypeError),
        (("127.0.0.1",), TypeError),
        ((None, 80), TypeError),
    ],
)
async def test_a_local_address_that_is_none_is_refused_when_called(
    address: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="local_address"):
        open_websocket(ANY_URL, local_address=address)


def test_a_local_address_is_not_ignored_where_there_is_no_use_for_it() -> None:
    here = ("127.0.0.1", 0)
    with socket.socket() as sock:
        with pytest.raises(TypeError, match="exclude local_address"):
            open_websocket(ANY_URL, stream=sock, local_address=here)
    with pytest.raises(TypeError, match="exclude local_address"):
        open_websocket(ANY_URL, unix_path="/run/socket", local_address=here)
    with pytest.raises(TypeError, match="exclude local_address"):
        open_websocket("ws+unix:///run/socket", local_address=here)


# -- socket options

ANY_URL = "ws://localhost"
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


def option_of(ws: WebSocket, level: int, option: int) -> int:
    return ws.extra(SocketAttribute.raw_socket).getsockopt(level, option)


async def test_socket_options_are_set_on_the_socket(tmp_path: Path) -> None:
    keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    buffer = (socket.SOL_SOCKET, socket.SO_SNDBUF)
    options: list[tuple[int, int, int | bytes]] = [
        (*keep_alive, 1),
        (*buffer, (20_000).to_bytes(4, sys.byteorder)),
    ]
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            assert not option_of(ws, *keep_alive)
            assert option_of(ws, *NO_DELAY)
        async with open_websocket(server.url, socket_options=iter(options)) as ws:  # type: ignore[arg-type]  # as one may
            assert option_of(ws, *keep_alive)
            assert option_of(ws, *buffer) < 100_000
            await check_echo(ws)
    async with open_server(echo, unix_path=tmp_path / "socket"):
        url = f"ws+unix://{tmp_path}/socket"
        async with open_websocket(url, socket_options=options) as ws:
            assert option_of(ws, *buffer) < 100_000
            await check_echo(ws)


async def test_socket_options_are_set_before_the_socket_connects() -> None:
    # Only then can a server refuse what it doesn't know, or a time limit hold for connecting.
    async with open_server(echo, "127.0.0.1", 0) as server:
        segment = (socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        async with open_websocket(server.url, socket_options=[(*segment, 700)]) as ws:
            assert option_of(ws, *segment) <= 700
            await check_echo(ws)


async def test_a_socket_option_goes_before_a_setting_of_ours() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url, socket_options=[(*NO_DELAY, 0)]) as ws:
            assert not option_of(ws, *NO_DELAY)
            await check_echo(ws)


@pytest.mark.parametrize(
    ("option", "name", "number"),
    [
        (
            (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"none"),
            "IPPROTO_TCP, TCP_CONGESTION = b'none': No such file or directory",
            errno.ENOENT,
        ),
        (
            (socket.IPPROTO_TCP, 31_999, 1),
            "IPPROTO_TCP, 31999 = 1: Protocol not available",
            errno.ENOPROTOOPT,
        ),
        ((31_999, 5, 1), "31999, 5 = 1: Protocol not available", errno.ENOPROTOOPT),
    ],
)
async def test_a_socket_option_that_is_refused_is_a_connect_error_that_names_it(
    option: tuple[int, int, int | bytes], name: str, number: int
) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectError) as caught:
            async with open_websocket(server.url, socket_options=[option]):
                pass
    assert str(caught.value) == (
        f"can't connect to 127.0.0.1:{server.port}: the socket option {name}"
    )
    assert caught.value.errno == number


async def test_a_socket_option_that_a_unix_socket_has_not_is_a_connect_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConnectError, match=r"IPPROTO_TCP, TCP_NODELAY = 1: .*not supported"):
        async with open_websocket(f"ws+unix://{tmp_path}/socket", socket_options=[(*NO_DELAY, 1)]):
            pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([(1, 2)], TypeError),
        ([(1, 2, "x")], TypeError),
        ([("SOL_SOCKET", 2, 1)], TypeError),
        ([(1, None, 1)], TypeError),
        ((1, 2, 3), TypeError),
        ([(1, 2, 2**31)], ValueError),
        ([(1, 2**40, 1)], ValueError),
    ],
)
async def test_what_is_no_socket_option_is_refused_when_called(
    options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="socket_options"):
        open_websocket(ANY_URL, socket_options=options)


def test_socket_options_are_not_ignored_where_no_socket_is_made() -> None:
    with socket.socket() as sock:
        with pytest.raises(TypeError, match="stream excludes them"):
            open_websocket(ANY_URL, stream=sock, socket_options=[(*NO_DELAY, 1)])


@pytest.mark.usefixtures("virtual_time")
async def test_a_port_at_which_too_many_wait_takes_open_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy, socket.socket() as first:
        first.connect(busy.getsockname())
        start = anyio.current_time()
        with pytest.raises(TimeoutError, match="open_timeout"):
            async with open_websocket(f"ws://127.0.0.1:{busy.getsockname()[1]}", open_timeout=30):
                pass
        assert anyio.current_time() - start == pytest.approx(30)


# -- descriptors


async def test_a_server_without_descriptors_says_so_and_goes_on_when_there_are_some(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            late = socket.create_connection(("127.0.0.1", server.port))
            with no_descriptor_left():
                with anyio.fail_after(PATIENCE):
                    while not caplog.records:
                        await check_echo(ws)  # who is connected doesn't notice
                    await anyio.sleep(0.3)  # three more attempts, about which nothing is said
                assert len(server.connections) == 1
            async with open_websocket(server.url, stream=late) as other:
                await check_echo(other)
                await check_echo(ws)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("anyio_ws.server", logging.WARNING)
    assert "can't accept connections for now: [Errno 24]" in record.getMessage()


async def test_a_connection_that_is_not_even_begun_is_closed(
    server_ssl_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: ssl.SSLContext, **options: object) -> NoReturn:
        raise ssl.SSLError("out of memory")

    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        monkeypatch.setattr(accepting, "TLSEngine", fail)
        async with await anyio.connect_tcp("127.0.0.1", server.port) as client:
            with anyio.fail_after(PATIENCE), pytest.raises(anyio.EndOfStream):
                await client.receive()


@pytest.mark.parametrize("rounds", range(12))
async def test_a_server_that_ends_while_clients_arrive_closes_them_all(rounds: int) -> None:
    clients: list[socket.socket] = []
    async with open_server(echo, "127.0.0.1", 0, close_timeout=0.05) as server:
        clients += [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for _ in range(rounds):
            await anyio.lowlevel.checkpoint()
    await settle()
    for client in clients:
        with client:
            client.settimeout(PATIENCE)
            answer = b""
            try:
                while data := client.recv(1000):
                    answer += data
            except ConnectionResetError:
                pass  # it was never accepted
            assert not answer or answer.startswith(b"HTTP/1.1 503 ")
