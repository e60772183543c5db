"""Servers without a network: `serve_in_memory`."""

# ruff: noqa: PT012  # blocks are the subject

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.streams.tls import TLSAttribute

from anyio_ws import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    Headers,
    InvalidStatus,
    InvalidURI,
    ReconnectPolicy,
    Request,
    Response,
    Router,
    ServerConfig,
    ServerObserver,
    WebSocket,
    WebSocketServer,
    mux,
    open_websocket,
    reconnecting_websocket,
    websocket_events,
)
from anyio_ws.events import Disconnected, Ready
from anyio_ws.sansio import Side
from anyio_ws.testing import (
    MemoryServer,
    RawFrame,
    ScriptedPeer,
    cancel_sweep,
    memory_stream_pair,
    serve_in_memory,
)

from .helpers import settle

virtual = pytest.mark.usefixtures("virtual_time")

NOBODY = "ws://127.0.0.1:1"
"""Where nobody listens: what isn't found in memory is dialled."""


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def tell_path(ws: WebSocket) -> None:
    await ws.send(ws.request.path)


async def check_echo(url: str, **options: Any) -> None:
    async with open_websocket(url, **options) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


class TestAServer:
    async def test_is_found_by_its_url(self) -> None:
        async with serve_in_memory(echo) as server:
            assert server.url == "ws://app.test"
            await check_echo(server.url)
            await check_echo(f"{server.url}/with/a/path?and=query")
            assert isinstance(server, WebSocketServer)
            assert server.statistics().opened == 2
            assert (server.addresses, server.listeners) == ([("app.test", 80)], ())

    async def test_takes_the_place_of_the_one_that_an_application_connects_to(self) -> None:
        async def application() -> str | bytes:
            async with open_websocket("wss://feed.example/prices?since=5") as ws:
                assert ws.url == "wss://feed.example/prices?since=5"
                assert ws.request.headers["Host"] == "feed.example"
                assert ws.extra(TLSAttribute.tls_version, None) is None
                assert ws.remote_address is None
                return await ws.receive()

        async with serve_in_memory(tell_path, "wss://feed.example") as server:
            assert server.url == "wss://feed.example"
            assert await application() == "/prices?since=5"

    @pytest.mark.parametrize(
        "url", ["ws://FEED.example", "ws://feed.example:80", "ws://feed.example/"]
    )
    async def test_is_found_however_its_address_is_written(self, url: str) -> None:
        async with serve_in_memory(echo, url) as server:
            assert server.url == "ws://feed.example"
            await check_echo("ws://feed.example:80/x")

    async def test_is_no_other_of_that_name(self) -> None:
        async with serve_in_memory(echo, "ws://127.0.0.1:2"):
            with pytest.raises(ConnectError):
                await check_echo(NOBODY)

    async def test_is_there_for_the_block_and_the_tasks_that_are_started_in_it(self) -> None:
        found: list[str] = []
        begun, entered, left = anyio.Event(), anyio.Event(), anyio.Event()

        async def look(who: str, when: anyio.Event) -> None:
            begun.set()
            await when.wait()
            try:
                await check_echo(NOBODY)
            except ConnectError:
                return
            found.append(who)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, "started before", entered)
            await begun.wait()
            async with serve_in_memory(echo, NOBODY):
                tasks.start_soon(look, "started in it", entered)
                tasks.start_soon(look, "started in it, and late", left)
                await look("itself", begun)
                entered.set()
                await settle()
            left.set()
            await look("itself, and late", begun)
        assert sorted(found) == ["itself", "started in it"]

    async def test_is_reached_from_threads_through_its_event_loop_and_by_no_other_loop(
        self,
    ) -> None:
        def ask() -> None:
            anyio.from_thread.run(check_echo, NOBODY)
            for backend in ("asyncio", "trio"):
                with pytest.raises(RuntimeError, match="served in memory"):
                    anyio.run(check_echo, NOBODY, backend=backend)

        async with serve_in_memory(echo, NOBODY) as server:
            await anyio.to_thread.run_sync(ask)
            assert server.statistics().accepted == 1

    async def test_goes_before_those_around_it(self) -> None:
        async with serve_in_memory(echo, NOBODY):
            async with serve_in_memory(tell_path, NOBODY), open_websocket(NOBODY) as ws:
                assert await ws.receive() == "/"
            await check_echo(NOBODY)

    async def test_is_reached_by_its_own_handlers_and_by_those_of_servers_within(self) -> None:
        async def ask(ws: WebSocket) -> None:
            for url in ("ws://outer.test/a", "ws://inner.test/b"):
                async with open_websocket(url) as other:
                    await ws.send(await other.receive())

        router = Router()
        router.add("/ask", ask)
        router.add("/{path...}", tell_path_of)
        async with serve_in_memory(tell_path, "ws://outer.test"):
            async with serve_in_memory(router, "ws://inner.test") as inner:
                async with open_websocket(f"{inner.url}/ask") as ws:
                    assert [message async for message in ws] == ["/a", "/b"]

    async def test_asks_its_hooks(self) -> None:
        async def admit(ws: WebSocket, request: Request) -> Response | None:
            assert ws.client_address is None
            return None if request.headers.get("Authorization") else Response.text(401, "who?\n")

        async with serve_in_memory(echo, process_request=admit, max_connections=1) as server:
            with pytest.raises(InvalidStatus) as caught:
                await check_echo(server.url)
            assert caught.value.response.status_code == 401
            async with open_websocket("ws://ada:lovelace@app.test"):
                with pytest.raises(InvalidStatus) as caught:
                    await check_echo("ws://ada:lovelace@app.test")
            assert caught.value.response.status_code == 503

    async def test_sends_no_faster_than_is_received(self) -> None:
        sent: list[int] = []

        async def flood(ws: WebSocket) -> None:
            while True:
                await ws.send(bytes(1000), compress=False)
                sent.append(1000)

        async with serve_in_memory(flood) as server, open_websocket(server.url):
            for _ in range(20):
                await settle()
            at_most = sum(sent)
            await settle()
            assert sum(sent) == at_most < 500_000

    async def test_has_connections_as_a_test_wants_them(self) -> None:
        async with serve_in_memory(echo, buffer=0, chunk=1) as server:
            await check_echo(server.url)

    async def test_speaks_tls_if_it_is_given_a_context(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        async with serve_in_memory(echo, "wss://localhost", ssl=server_ssl_context) as server:
            async with open_websocket(server.url, ssl=client_ssl_context) as ws:
                assert ws.extra(TLSAttribute.tls_version) == "TLSv1.3"
            with pytest.raises(ConnectError, match="certificate verify failed"):
                await check_echo(server.url)

    def test_by_default_is_at_an_address_that_fits_its_tls(
        self, server_ssl_context: ssl.SSLContext
    ) -> None:
        async def main() -> None:
            async with serve_in_memory(echo, ssl=server_ssl_context) as server:
                assert server.url == "wss://app.test"

        anyio.run(main)

    async def test_is_asked_in_place_of_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
        async with serve_in_memory(echo) as server:
            await check_echo(server.url)
            await check_echo(server.url, proxy="http://127.0.0.1:1")

    async def test_is_led_to_by_redirects(self) -> None:
        async def elsewhere(ws: WebSocket, request: Request) -> Response:
            return Response(302, "Found", Headers({"Location": "ws://new.test/there"}))

        async with (
            serve_in_memory(echo, "ws://old.test", process_request=elsewhere) as old,
            serve_in_memory(tell_path, "ws://new.test"),
            open_websocket(f"{old.url}/here") as ws,
        ):
            assert await ws.receive() == "/there"

    async def test_is_not_asked_by_who_brings_a_stream(self) -> None:
        ours, theirs = memory_stream_pair()
        async with serve_in_memory(echo) as server:
            async with anyio.create_task_group() as tasks:
                peer = ScriptedPeer(theirs, Side.SERVER)
                tasks.start_soon(peer.accept)
                async with open_websocket(server.url, stream=ours, close_timeout=0):
                    pass
            assert server.statistics().accepted == 0

    async def test_is_connected_to_by_hand(self) -> None:
        async with serve_in_memory(echo) as server:
            async with ScriptedPeer(server.connect(), Side.CLIENT) as peer:
                await peer.connect(host="app.test")
                await peer.send(RawFrame(0x3))
                assert (await peer.receive()).payload[:2] == (1002).to_bytes(2, "big")
            await check_echo(NOBODY, stream=server.connect())

    async def test_may_be_held_by_a_fixture(self, server: MemoryServer) -> None:
        await check_echo(server.url)
        with anyio.fail_after(5):
            await check_echo(server.url)


async def tell_path_of(ws: WebSocket, path: str) -> None:
    await tell_path(ws)


@pytest.fixture
async def server(anyio_backend: Any) -> AsyncIterator[MemoryServer]:
    async with serve_in_memory(echo) as server:
        yield server


class TestAnError:
    async def test_of_a_handler_comes_out_of_the_block_in_the_end(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = ValueError("mine")
        went_on = False

        async def fail(ws: WebSocket) -> None:
            raise error

        with pytest.raises(ValueError, match="mine") as caught:
            async with serve_in_memory(fail) as server:
                async with open_websocket(server.url) as ws:
                    await ws.wait_closed()
                    assert ws.close_code == 1011
                went_on = True
        assert caught.value is error
        assert went_on
        (record,) = caplog.records
        assert record.getMessage().startswith("connection handler failed")

    async def test_of_a_handler_comes_out_together_with_that_of_the_block(self) -> None:
        async def fail(ws: WebSocket) -> None:
            await ws.receive()
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as caught:
            async with serve_in_memory(fail) as server:
                await check_echo(server.url)
        closed, raised = caught.value.exceptions
        assert isinstance(closed, ConnectionClosedError)
        assert isinstance(raised, ValueError)

    async def test_of_each_handler_comes_out(self) -> None:
        errors = [ValueError("one"), KeyError("two")]
        left = list(errors)

        async def fail(ws: WebSocket) -> None:
            raise left.pop(0)

        with pytest.raises(ExceptionGroup) as caught:
            async with serve_in_memory(fail) as server:
                for _ in errors:
                    async with open_websocket(server.url) as ws:
                        await ws.wait_closed()
        assert list(caught.value.exceptions) == errors

    async def test_that_a_handler_raises_while_the_server_ends_comes_out(self) -> None:
        async def fail(ws: WebSocket) -> None:
            await ws.wait_closed()
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            async with serve_in_memory(fail) as server:
                async with open_websocket(server.url) as ws:
                    await server.shutdown()
                    assert ws.close_code == 1001

    async def test_is_none_if_the_handler_just_missed_its_client(self) -> None:
        async def send(ws: WebSocket) -> None:
            while True:
                await ws.send("hello")

        async with serve_in_memory(send) as server:
            async with open_websocket(server.url) as ws:
                await ws.receive()

    async def test_is_what_on_handler_error_says_if_that_is_given(self) -> None:
        async def fail(ws: WebSocket) -> None:
            raise ValueError("mine")

        async with serve_in_memory(fail, on_handler_error="log") as server:
            async with open_websocket(server.url) as ws:
                await ws.wait_closed()
        for config in (None, ServerConfig(on_handler_error="raise")):
            options: Any = {"on_handler_error": "raise"} if config is None else {"config": config}
            with pytest.raises(ValueError, match="mine"), anyio.fail_after(10):
                async with serve_in_memory(fail, **options) as server:
                    async with open_websocket(server.url) as ws:
                        await ws.wait_closed()
                    await anyio.sleep_forever()

    async def test_of_a_hook_comes_out_as_well(self) -> None:
        async def fail(ws: WebSocket, request: Request) -> Response | None:
            if request.path == "/answer":
                return Response.text(500, "on purpose\n")
            raise ConnectionError("no database")

        with pytest.raises(ConnectionError, match="no database"):
            async with serve_in_memory(echo, process_request=fail) as server:
                for path in ("/answer", "/"):
                    with pytest.raises(InvalidStatus, match="500"):
                        await check_echo(server.url + path)
        async with serve_in_memory(echo, process_request=fail, on_handler_error="log") as server:
            with pytest.raises(InvalidStatus, match="500"):
                await check_echo(server.url)

    async def test_is_told_to_whom_the_applications_config_names_as_well(self) -> None:
        told: list[object] = []

        class Observer(ServerObserver):
            def accepted(self, remote_address: object) -> None:
                told.append("accepted")

            def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
                told.append(cause)

            def opened(self, ws: WebSocket) -> None:
                told.append("opened")

            def handler_failed(self, ws: WebSocket, exc: Exception) -> None:
                told.append("handler_failed")

            def closed(self, ws: WebSocket, code: int, duration: float) -> None:
                told.append("closed")

        async def fail(ws: WebSocket) -> None:
            raise ValueError("mine")

        async def tell(ws: WebSocket, exc: Exception) -> None:
            told.append(exc)

        config = ServerConfig(on_handler_error=tell, observer=Observer(), hosts=["app.test"])
        with pytest.raises(ValueError, match="mine") as caught:
            async with serve_in_memory(fail, config=config) as server:
                async with open_websocket(server.url) as ws:
                    await ws.wait_closed()
                with pytest.raises(InvalidStatus):
                    await check_echo(server.url, additional_headers={"Host": "other.test"})
        first = ["accepted", "opened", "handler_failed", caught.value, "closed"]
        assert told == [*first, "accepted", 421]

    async def test_of_the_block_comes_out_as_it_is(self) -> None:
        error = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            async with serve_in_memory(echo) as server, open_websocket(server.url):
                raise error
        assert caught.value is error

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("http://app.test", InvalidURI),
            ("ws://app.test/path", ValueError),
            ("ws://app.test/?query", ValueError),
            ("ws://ada:lovelace@app.test", ValueError),
            ("ws+unix:///run/socket", ValueError),
        ],
    )
    def test_is_a_url_that_is_not_the_address_of_a_server(
        self, url: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error) as caught:
            serve_in_memory(echo, url)
        assert "lovelace" not in str(caught.value)

    def test_is_what_makes_no_sense(self, server_ssl_context: ssl.SSLContext) -> None:
        def plain(ws: WebSocket) -> None: ...

        with pytest.raises(ValueError, match="without TLS"):
            serve_in_memory(echo, "ws://app.test", ssl=server_ssl_context)
        with pytest.raises(ValueError, match="buffer"):
            serve_in_memory(echo, buffer=-1)
        with pytest.raises(TypeError, match="async function"):
            serve_in_memory(plain)  # type: ignore[arg-type]  # the mistake
        with pytest.raises(TypeError, match="max_size"):
            serve_in_memory(echo, max_sise=1)  # type: ignore[call-arg]  # the mistake

    async def test_is_entering_it_twice(self) -> None:
        context = serve_in_memory(echo, NOBODY)
        async with context:
            with pytest.raises(RuntimeError, match="only once"):
                await context.__aenter__()
            await check_echo(NOBODY)
        with pytest.raises(ConnectError):
            await check_echo(NOBODY)


class TestTheEnd:
    async def test_of_the_server_refuses_those_who_come_later(self) -> None:
        async with serve_in_memory(echo) as server:
            async with open_websocket(server.url) as ws:
                await server.shutdown()
                with pytest.raises(ConnectionClosed):
                    await ws.receive()
                assert ws.close_code == 1001
            with pytest.raises(ConnectError) as caught:
                await check_echo(server.url)
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    @virtual
    async def test_of_the_block_waits_for_handlers_as_long_as_they_may_take(self) -> None:
        async def stay(ws: WebSocket) -> None:
            await anyio.sleep_forever()

        async with serve_in_memory(stay, close_timeout=3) as server:
            async with open_websocket(server.url) as ws:
                await ws.aclose()
            begin = anyio.current_time()
        assert anyio.current_time() - begin == 3

    async def test_of_the_block_may_come_at_any_moment(self) -> None:
        async def scenario() -> None:
            async with serve_in_memory(echo, NOBODY):
                await check_echo(NOBODY)

        for attempt in cancel_sweep():
            await attempt.run(scenario())
            with pytest.raises(ConnectError):  # nothing is left where it was
                await check_echo(NOBODY)

    async def test_leaves_nobody_waiting_who_had_not_been_accepted(self) -> None:
        async with serve_in_memory(echo, max_handshakes=1, close_timeout=0) as server:
            first, second = server.connect(), server.connect()
            await settle()
            assert server.statistics().accepted == 1
        for stream in (first, second):
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await stream.receive()


class TestAnOutage:
    @virtual
    async def test_is_outlived_by_who_connects_again(self) -> None:
        async def greet(ws: WebSocket) -> None:
            await ws.send("welcome")
            await echo(ws)

        welcomes: list[float] = []

        async def follow(url: str) -> None:
            policy = ReconnectPolicy(random=lambda: 1.0, cap=8, healthy_after=0)
            async for attempt in reconnecting_websocket(url, policy=policy):
                async with attempt as ws:
                    async for _ in ws:
                        welcomes.append(anyio.current_time())

        async with serve_in_memory(greet) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(follow, server.url)
            await anyio.sleep(10)
            with server.unreachable():
                await anyio.sleep(10)
            await anyio.sleep(10)
            tasks.cancel_scope.cancel()
        assert welcomes == [0, 25]  # refused at 11, 13 and 17

    async def test_is_a_broken_connection_at_both_ends(self) -> None:
        ends: list[int | None] = []

        async def wait(ws: WebSocket) -> None:
            await ws.wait_closed()
            ends.append(ws.close_code)

        async with serve_in_memory(wait) as server, open_websocket(server.url) as ws:
            with server.unreachable():
                with pytest.raises(ConnectionClosedError):
                    await ws.receive()
                with server.unreachable():
                    pass
                with pytest.raises(ConnectError):
                    await check_echo(server.url)
                with pytest.raises(ConnectionRefusedError):
                    server.connect()
        assert ends == [1006]


async def test_connections_in_memory_are_merged_and_told_of_as_any_others() -> None:
    async with serve_in_memory(tell_path) as server:
        async with (
            open_websocket(f"{server.url}/a") as a,
            open_websocket(f"{server.url}/b") as b,
            mux(a, b, on_disconnect="drop") as merged,
        ):
            assert {str(message) async for _, message in merged} == {"/a", "/b"}
        async with websocket_events(server.url, poll=None) as events:
            kinds = [type(event) async for event in events]
    assert Ready in kinds
    assert kinds[-1] is Disconnected
