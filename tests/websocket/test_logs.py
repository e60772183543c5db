"""Every record about a connection says which one, and whose: as attributes of the record."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from anyio_ws import (
    ConnectError,
    ConnectionClosed,
    InvalidStatus,
    ServerObserver,
    WebSocket,
    accept_websocket,
    basic_auth,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import ServerProtocol
from anyio_ws.testing import handshake_request, memory_stream_pair

from .helpers import settle


def who(record: logging.LogRecord) -> tuple[object, object]:
    """The two attributes of *record*."""
    return vars(record)["connection_id"], vars(record)["remote_address"]


async def test_a_handlers_failure_says_whose_it_is(caplog: pytest.LogCaptureFixture) -> None:
    connections: list[WebSocket] = []

    async def fail(ws: WebSocket) -> None:
        connections.append(ws)
        raise RuntimeError("a bug")

    async def fail_again(ws: WebSocket, exc: Exception) -> None:
        raise RuntimeError("another bug")

    async with open_server(fail, "127.0.0.1", 0, on_handler_error=fail_again) as server:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
            address = ws.local_address
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert {who(record) for record in caplog.records} == {(str(connections[0].id), address)}


async def test_every_record_about_a_connection_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "anyio_ws.server")

    class Faulty(ServerObserver):
        def accepted(self, remote_address: object) -> None:
            raise LookupError

    async def echo(ws: WebSocket) -> None:
        while True:
            await ws.send(await ws.receive())

    async with open_server(echo, "127.0.0.1", 0, observer=Faulty()) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("x")
            await ws.receive()
            one = ws.local_address
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(b"rubbish\r\n\r\n")
            await tcp.receive()
        async with open_websocket(server.url) as ws:
            await anyio.aclose_forcefully(ws)
    said = "\n".join(record.getMessage() for record in caplog.records)
    for what in (
        "< GET /",
        "> HTTP/1.1 101",
        "< TEXT",
        "> CLOSE 1000",
        "handler ended",
        "observer",
    ):
        assert what in said
    assert "opening handshake failed" in said
    assert all(
        isinstance(identity, str) and address for identity, address in map(who, caplog.records)
    )
    assert len({who(record) for record in caplog.records}) == 3
    assert len({who(record)[0] for record in caplog.records if who(record)[1] == one}) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_the_keepalives_warning_does(caplog: pytest.LogCaptureFixture) -> None:
    identities: list[str] = []

    async def receive(ws: WebSocket) -> None:
        identities.append(str(ws.id))
        await ws.wait_closed()

    async with open_server(receive, "127.0.0.1", 0) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(handshake_request("/"))
            await anyio.sleep(60)
            address = tcp.extra(anyio.abc.SocketAttribute.local_address)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert who(record) == (identities[0], address)


async def test_a_clients_records_do_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "anyio_ws.client")

    async def end(ws: WebSocket) -> None: ...

    async with open_server(end, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            with pytest.raises(ConnectionClosed):
                await ws.receive()
        assert {who(record) for record in caplog.records} == {
            (str(ws.id), ("127.0.0.1", server.port))
        }


async def test_where_there_is_no_address_the_record_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = memory_stream_pair()
    await other.send(handshake_request("/"))
    async with accept_websocket(one, close_timeout=0) as ws:
        await settle()
    assert {who(record) for record in caplog.records} == {(str(ws.id), None)}
    await other.aclose()


class Prefixing(logging.LoggerAdapter[Any]):
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[mine] {msg}", kwargs


@pytest.mark.parametrize("nested", [False, True])
def test_an_adapter_of_yours_keeps_what_it_adds(
    nested: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    adapter = logging.LoggerAdapter(logging.getLogger("mine"), {"tenant": "blue"})
    logger: Any = Prefixing(adapter) if nested else adapter
    protocol = ServerProtocol(logger=logger)
    protocol.remote_address = ("127.0.0.1", 5)
    protocol.receive_data(handshake_request("/"))
    record = caplog.records[0]
    assert vars(record)["tenant"] == "blue"
    assert who(record) == (str(protocol.id), ("127.0.0.1", 5))
    assert record.getMessage().startswith("[mine] < GET" if nested else "< GET")


def test_an_adapters_own_attribute_of_that_name_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = logging.LoggerAdapter(
        logging.getLogger("mine"), {"remote_address": "a proxy's client"}
    )
    protocol = ServerProtocol(logger=logger)
    protocol.receive_data(handshake_request("/"))
    assert {who(record) for record in caplog.records} == {(str(protocol.id), "a proxy's client")}


# -- secrets


def said(records: list[logging.LogRecord]) -> str:
    """Everything that a record could show, in whatever way it is shown."""
    formatter = logging.Formatter()
    return "\n".join(f"{formatter.format(record)} {vars(record)!r}" for record in records)


async def test_no_record_of_a_session_has_its_credentials(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["opensesame", "b3BlbnNlc2FtZQ", "YWRhOm9wZW5zZXNhbWU", "cookiesecret", "wrongone"]
    basic = basic_auth("staff", ("ada", "opensesame"))

    async def fail(ws: WebSocket) -> None:
        await ws.receive()
        raise RuntimeError("a bug")

    headers = {"Set-Cookie": "id=cookiesecret"}
    async with open_server(
        fail, "127.0.0.1", 0, process_request=basic, additional_headers=headers
    ) as server:
        address = f"127.0.0.1:{server.port}"
        cookie = {"Cookie": "id=cookiesecret", "Proxy-Authorization": "Basic b3BlbnNlc2FtZQ=="}
        url = f"ws://ada:opensesame@{address}/"
        async with open_websocket(url, additional_headers=cookie) as ws:
            await ws.send("hello")
            await ws.wait_closed()
        with pytest.raises(InvalidStatus):
            async with open_websocket(f"ws://ada:wrongone@{address}/"):
                pass
    with pytest.raises(ConnectError):
        async with open_websocket(f"ws://ada:opensesame@{address}/"):
            pass
    everything = said(caplog.records)
    assert "Authorization: [redacted]" in everything
    assert "> TEXT 'hello' [5 bytes]" in everything
    assert "RuntimeError: a bug" in everything
    assert [secret for secret in secrets if secret in everything] == []
