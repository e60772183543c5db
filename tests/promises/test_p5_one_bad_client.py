"""P5. One bad client or handler never takes the server down, and never disappears."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import (
    ConnectionClosedError,
    InvalidStatus,
    ProtocolError,
    WebSocket,
    WebSocketServer,
    open_server,
)
from anyio_ws.options import OnHandlerError, server_config
from anyio_ws.sansio import Opcode, State
from anyio_ws.testing import RawFrame, handshake_request

from .bad_clients import BAD_CLIENTS, BadClient
from .links import Link

# What serves listens on sockets.
pytestmark = pytest.mark.parametrize("link", ["sockets", "tls"], indirect=True)

virtual = pytest.mark.usefixtures("virtual_time")


class Log(logging.Handler):
    """What a server says, from INFO on."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    async def said(self, number: int = 1) -> logging.LogRecord:
        """Wait until so much was said, which the network decides; return the last."""
        with anyio.fail_after(10):
            while len(self.records) < number:
                await checkpoint()
        return self.records[-1]


@pytest.fixture
def log() -> Iterator[Log]:
    logger = logging.getLogger("anyio_ws.server")
    log, level = Log(), logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    yield log
    logger.removeHandler(log)
    logger.setLevel(level)


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(link: Link, server: WebSocketServer) -> None:
    async with link.connecting(server) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


# -- handlers

ERRORS: dict[str, Callable[[], Exception]] = {
    "ValueError": lambda: ValueError("secret"),
    "group": lambda: ExceptionGroup("secret", [ValueError("secret"), KeyError("secret")]),
    "TimeoutError": lambda: TimeoutError("secret"),
    "ProtocolError": lambda: ProtocolError("secret"),
    "BrokenResourceError": lambda: anyio.BrokenResourceError("secret"),
    "ConnectionClosed": lambda: ConnectionClosedError(None, None),  # of another connection
}


def raising(error: Exception) -> Callable[[WebSocket], Awaitable[None]]:
    """A handler that echoes once, or raises *error* where it is told "fail"."""

    async def handler(ws: WebSocket) -> None:
        message = await ws.receive()
        if message == "fail":
            raise error
        await ws.send(message)

    return handler


async def make_fail(link: Link, server: WebSocketServer) -> None:
    """Have a handler fail, as seen by its client."""
    async with link.connecting(server) as ws:
        await ws.send("fail")
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "")


class TestAHandlerThatRaises:
    @pytest.mark.parametrize("kind", ERRORS)
    async def test_closes_its_connection_with_1011_and_is_logged_once(
        self, link: Link, kind: str, log: Log
    ) -> None:
        error = ERRORS[kind]()
        async with link.serving(raising(error)) as server:
            async with link.connecting(server) as bystander:
                await make_fail(link, server)
                await bystander.send("hello")
                assert await bystander.receive() == "hello"
            await check_echo(link, server)
        (record,) = log.records
        assert record.levelno == logging.ERROR
        assert "connection handler failed, client ('127.0.0.1', " in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[1] is error

    async def test_is_given_to_the_hook_after_it_was_logged_and_closed(
        self, link: Link, log: Log
    ) -> None:
        error = ValueError()
        told: list[tuple[str, State, int, Exception]] = []

        async def tell(ws: WebSocket, exc: Exception) -> None:
            await checkpoint()
            told.append((ws.url, ws.state, len(log.records), exc))

        async with link.serving(raising(error), on_handler_error=tell) as server:
            await make_fail(link, server)
            await check_echo(link, server)
        assert told == [("/", State.CLOSED, 1, error)]
        assert len(log.records) == 1

    async def test_and_a_hook_that_raises_are_both_logged(self, link: Link, log: Log) -> None:
        errors = [ValueError("of the handler"), KeyError("of the hook")]

        async def fail(ws: WebSocket, exc: Exception) -> None:
            raise errors[1]

        async with link.serving(raising(errors[0]), on_handler_error=fail) as server:
            await make_fail(link, server)
            await check_echo(link, server)
        assert [record.exc_info and record.exc_info[1] for record in log.records] == errors
        assert "on_handler_error failed" in log.records[1].getMessage()

    async def test_ends_the_server_and_comes_out_where_that_is_wanted(
        self, link: Link, log: Log
    ) -> None:
        error = ValueError("of the handler")
        with pytest.raises(ValueError, match="of the handler") as caught:  # noqa: PT012  # a block
            async with link.serving(raising(error), on_handler_error="raise") as server:
                await make_fail(link, server)
                await anyio.sleep_forever()
        assert caught.value is error
        assert log.records == []

    @pytest.mark.parametrize("tasks_of", ["one", "several"])
    async def test_by_the_end_of_its_own_connection_is_no_error(
        self, link: Link, tasks_of: str, log: Log
    ) -> None:
        ended: list[Exception] = []

        async def receive_twice(ws: WebSocket) -> None:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ws.ping)
                    tasks.start_soon(ws.wait_closed)
                    await ws.receive()
                    await ws.receive()
            except Exception as exc:
                ended.append(exc)
                if tasks_of == "one":
                    await ws.receive()
                raise

        async with link.serving(receive_twice) as server:
            async with link.connecting(server) as ws:
                await ws.send("only one")
        assert len(ended) == 1
        assert log.records == []

    async def test_by_a_peer_that_vanishes_while_it_sends_is_one_quiet_line(
        self, link: Link, log: Log
    ) -> None:
        clients: list[BadClient] = []

        async def flood(ws: WebSocket) -> None:
            await ws.receive()
            clients[0].shut_down()
            while True:
                await ws.send("x")

        # So what the peer has sent isn't read to its end, which would tell, too.
        async with link.serving(flood, max_queue=1) as server:
            async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
                clients.append(BadClient(link, tcp))
                stream = await clients[0].opened()
                await stream.send(RawFrame(Opcode.TEXT, b"x").serialize(masked=True) * 10)
                record = await log.said()
        assert record.levelno == logging.INFO
        assert record.getMessage().startswith("connection broke, client ")
        assert len(log.records) == 1

    async def test_by_the_end_of_another_connection_has_failed(self, link: Link, log: Log) -> None:
        async with link.serving(echo) as other:

            async def forward(ws: WebSocket) -> None:
                async with link.connecting(other) as upstream:
                    await upstream.aclose()
                    await upstream.receive()

            async with link.serving(forward) as server:
                async with link.connecting(server) as ws:
                    with pytest.raises(ConnectionClosedError, match="1011"):
                        await ws.receive()
        (record,) = log.records
        assert "connection handler failed" in record.getMessage()


class TestWhatToDoAboutIt:
    async def test_is_an_async_function_or_a_type_error_before_anything_is_accepted(
        self, link: Link
    ) -> None:
        def plain(ws: WebSocket, exc: Exception) -> None:
            """What forgets to be async."""

        class Told:
            def method(self, ws: WebSocket, exc: Exception) -> None:
                """What forgets it, too."""

        for hook in (plain, Told().method, partial(plain)):
            with pytest.raises(TypeError, match="on_handler_error must be an async function"):
                open_server(echo, "127.0.0.1", 0, on_handler_error=hook)  # type: ignore[arg-type]  # the mistake

    @pytest.mark.parametrize("wrong", ["", "rise", "LOG", None, 5])
    async def test_or_one_of_two_words(self, link: Link, wrong: OnHandlerError) -> None:
        with pytest.raises(ValueError, match='on_handler_error must be "log", "raise" or an async'):
            open_server(echo, "127.0.0.1", 0, on_handler_error=wrong)
        assert server_config(None, {}).on_handler_error == "log"


# -- clients


class TestABadClient:
    @pytest.mark.parametrize("misbehave", BAD_CLIENTS, ids=lambda one: one.__name__)
    async def test_is_one_quiet_line_and_the_next_one_is_served(
        self, link: Link, misbehave: Callable[[BadClient], Awaitable[None]], log: Log
    ) -> None:
        async with link.serving(echo) as server:
            async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
                address = tcp.extra(anyio.abc.SocketAttribute.local_address)
                try:
                    await misbehave(BadClient(link, tcp))
                except anyio.BrokenResourceError:
                    pass  # refused before it had everything
            record = await log.said()
            await check_echo(link, server)
        assert log.records == [record]
        assert record.levelno == logging.INFO
        assert record.exc_info is None
        assert f"client {address}: " in record.getMessage()
        assert not record.getMessage().endswith(": ")

    async def test_of_another_origin_is_one_quiet_line(self, link: Link, log: Log) -> None:
        async with link.serving(echo) as server:
            with pytest.raises(InvalidStatus):
                async with link.connecting(server, origin="https://evil.example"):
                    pass
            record = await log.said()
            assert "evil.example" in record.getMessage()
            assert record.levelno == logging.INFO
            assert record.exc_info is None
            await check_echo(link, server)
        assert log.records == [record]

    @virtual
    @pytest.mark.parametrize("sent", [0, 50], ids=["nothing", "half"])
    async def test_that_stalls_is_dropped_after_open_timeout(
        self, link: Link, sent: int, log: Log
    ) -> None:
        """Within TLS, or in its request where there is no TLS."""
        async with link.serving(echo, open_timeout=7) as server:
            async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
                start = anyio.current_time()
                client = BadClient(link, tcp)
                data = client.hello() if link.kind == "tls" else handshake_request("/")
                if sent:
                    await tcp.send(data[:sent])
                if link.kind != "tls":  # before TLS is there, nothing can be said
                    assert (await tcp.receive()).startswith(b"HTTP/1.1 408 Request Timeout")
                with pytest.raises(anyio.EndOfStream):
                    await tcp.receive()
                assert anyio.current_time() - start == pytest.approx(7)
            record = await log.said()
            assert "open_timeout, 7 seconds" in record.getMessage()
            assert record.exc_info is None
            await check_echo(link, server)
        assert log.records == [record]

    @virtual
    async def test_that_comes_when_there_are_no_descriptors_is_served_later(
        self, link: Link, log: Log
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with link.serving(echo) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                next_descriptor = os.dup(sock.fileno())
                os.close(next_descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, (next_descriptor, hard))
                try:
                    await anyio.sleep(60)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                (record,) = log.records
                assert record.levelno == logging.WARNING
                assert record.exc_info is None
                assert os.strerror(errno.EMFILE) in record.getMessage()
                async with link.connecting(server, sock) as ws:
                    await ws.send("hello")
                    assert await ws.receive() == "hello"
            await check_echo(link, server)
        assert log.records == [record]


# -- shutting down from inside

WHAT_TO_DO = "let another task do it"


class TestShuttingDown:
    @pytest.mark.parametrize("nested", [False, True], ids=["handler", "task of it"])
    async def test_from_within_a_handler_is_refused(
        self, link: Link, nested: bool, log: Log
    ) -> None:
        refused: list[RuntimeError] = []

        async def shut_down() -> None:
            try:
                await server.shutdown()
            except RuntimeError as exc:
                refused.append(exc)

        async def handler(ws: WebSocket) -> None:
            if nested:
                async with anyio.create_task_group() as outer:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(shut_down)
                    outer.start_soon(shut_down)
            else:
                await shut_down()
            await echo(ws)

        async with link.serving(handler) as server:
            await check_echo(link, server)  # it serves on
        assert len(refused) == (2 if nested else 1)
        assert WHAT_TO_DO in str(refused[0])
        assert log.records == []

    async def test_from_within_the_hook_is_refused(self, link: Link, log: Log) -> None:
        async def stop(ws: WebSocket, exc: Exception) -> None:
            await server.shutdown()

        async with link.serving(raising(ValueError()), on_handler_error=stop) as server:
            await make_fail(link, server)
            await log.said(2)
            await check_echo(link, server)
        _, record = log.records
        assert record.exc_info is not None
        assert WHAT_TO_DO in str(record.exc_info[1])

    @pytest.mark.parametrize("how", ["start_soon", "start"])
    async def test_by_a_task_that_a_handler_started_outside_works(
        self, link: Link, how: str, log: Log
    ) -> None:
        async def stop(
            *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            task_status.started()
            await server.shutdown(reason="as you wish")
            stopped.append(True)

        async def handler(ws: WebSocket) -> None:
            async for _ in ws:
                if how == "start":
                    await outside.start(stop)
                else:
                    outside.start_soon(stop)

        stopped: list[bool] = []
        async with anyio.create_task_group() as outside:
            async with link.serving(handler) as server:
                async with link.connecting(server) as ws:
                    await ws.send("stop")
                    assert [message async for message in ws] == []
                    assert (ws.close_code, ws.close_reason) == (1001, "as you wish")
        assert stopped == [True]
        assert log.records == []
