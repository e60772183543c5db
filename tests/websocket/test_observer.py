"""The option ``observer``: who is told what happens to connections, when, and in which task."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from anyio_ws import (
    ConnectionClosed,
    InvalidStatus,
    Request,
    Response,
    ServerConfig,
    ServerObserver,
    WebSocket,
    open_server,
    open_websocket,
    serve_websocket,
)

from .helpers import REQUEST, settle

current: contextvars.ContextVar[str] = contextvars.ContextVar("current")


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


class Recorder(ServerObserver):
    """Writes down what it is told, and of whom."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.duration = -1.0
        self.causes: list[tuple[int | str, BaseException]] = []

    def accepted(self, remote_address: object) -> None:
        assert isinstance(remote_address, tuple)
        assert remote_address[0] == "127.0.0.1"
        self.told.append("accepted")

    def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
        assert isinstance(remote_address, tuple)
        self.told.append("refused")
        self.causes.append((cause, exc))

    def opened(self, ws: WebSocket) -> None:
        self.told.append(f"opened {ws.url}")

    def handler_failed(self, ws: WebSocket, exc: Exception) -> None:
        self.told.append(f"handler_failed {ws.url} {exc}")

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        self.told.append(f"closed {ws.url} {code}")
        self.duration = duration


async def told(recorder: Recorder, last: str) -> list[str]:
    """What it was told, in the end *last*."""
    with anyio.fail_after(10):
        while not recorder.told or not recorder.told[-1].startswith(last):
            await anyio.lowlevel.checkpoint()
    return recorder.told


async def test_it_is_told_of_a_connection_from_its_beginning_to_its_end() -> None:
    recorder = Recorder()
    async with open_server(echo, "127.0.0.1", 0, observer=recorder) as server:
        async with open_websocket(server.url + "/feed") as ws:
            await ws.aclose(4000)
        assert await told(recorder, "closed") == ["accepted", "opened /feed", "closed /feed 4000"]


@pytest.mark.usefixtures("virtual_time")
async def test_it_is_told_how_long_a_connection_was_open() -> None:
    recorder = Recorder()
    async with open_server(echo, "127.0.0.1", 0, observer=recorder) as server:
        async with open_websocket(server.url):
            await anyio.sleep(12.5)
        await settle()
        assert recorder.duration == pytest.approx(12.5)


async def test_it_is_told_why_a_connection_was_refused() -> None:
    async def refuse(ws: WebSocket, request: Request) -> Response:
        return Response.text(403, "no\n")

    recorder = Recorder()
    async with open_server(
        echo, "127.0.0.1", 0, observer=recorder, process_request=refuse
    ) as server:
        with pytest.raises(InvalidStatus):
            async with open_websocket(server.url):
                pass
        assert await told(recorder, "refused") == ["accepted", "refused"]
        ((cause, exc),) = recorder.causes
        assert cause == 403
        assert isinstance(exc, Exception)


async def test_it_is_told_of_a_handler_that_failed_before_the_end() -> None:
    async def fail(ws: WebSocket) -> None:
        raise RuntimeError("a bug")

    recorder = Recorder()
    async with open_server(fail, "127.0.0.1", 0, observer=recorder) as server:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
        assert await told(recorder, "closed") == [
            "accepted",
            "opened /",
            "handler_failed / a bug",
            "closed / 1011",
        ]


async def test_it_is_told_of_a_handler_whose_exception_ends_the_server() -> None:
    async def fail(ws: WebSocket) -> None:
        raise RuntimeError("a bug")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="a bug"):  # noqa: PT012  # it ends the block
        async with open_server(
            fail, "127.0.0.1", 0, observer=recorder, on_handler_error="raise"
        ) as server:
            async with open_websocket(server.url):
                await anyio.sleep_forever()
    assert [what.split()[0] for what in recorder.told] == [
        *("accepted", "opened", "handler_failed", "closed")
    ]


async def test_it_is_told_of_the_end_by_cancellation() -> None:
    recorder = Recorder()
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(
            partial(serve_websocket, echo, "127.0.0.1", 0, observer=recorder)
        )
        async with await anyio.connect_tcp("127.0.0.1", server.port) as opening:
            await opening.send(REQUEST[:5])
            async with await anyio.connect_tcp("127.0.0.1", server.port) as opened:
                await opened.send(REQUEST)
                while server.statistics().bytes_received < len(REQUEST) + 5:
                    await anyio.lowlevel.checkpoint()
                with anyio.CancelScope(shield=True):  # they stay until it is over
                    tasks.cancel_scope.cancel()
                    await server.wait_closed()
    assert sorted(recorder.told) == [
        *("accepted", "accepted", "closed /feed 1006", "opened /feed", "refused")
    ]
    ((cause, exc),) = recorder.causes
    assert cause == 503
    assert not isinstance(exc, Exception)


async def test_what_it_sets_in_the_context_is_seen_by_hooks_handler_and_itself() -> None:
    seen: list[str] = []

    class Tracer(ServerObserver):
        def accepted(self, remote_address: object) -> None:
            current.set("accepted")

        def opened(self, ws: WebSocket) -> None:
            seen.append(f"opened in {current.get()}")
            current.set(f"span of {ws.url}")

        def closed(self, ws: WebSocket, code: int, duration: float) -> None:
            seen.append(f"closed in {current.get()}")

    async def hook(ws: WebSocket, request: Request) -> None:
        seen.append(f"hook in {current.get()}")

    async def handler(ws: WebSocket) -> None:
        seen.append(f"handler in {current.get()}")

    async with open_server(
        handler, "127.0.0.1", 0, observer=Tracer(), process_request=hook
    ) as server:
        for path in ("/1", "/2"):
            async with open_websocket(server.url + path) as ws:
                await ws.wait_closed()
    for path in ("/1", "/2"):
        assert [one for one in seen if one.endswith(path)] == [
            f"handler in span of {path}",
            f"closed in span of {path}",
        ]
    assert seen.count("hook in accepted") == seen.count("opened in accepted") == 2
    assert current.get("nothing") == "nothing"


class Faulty(ServerObserver):
    """All of its methods raise."""

    def accepted(self, remote_address: object) -> None:
        raise LookupError("accepted")

    def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
        raise LookupError("refused")

    def opened(self, ws: WebSocket) -> None:
        raise LookupError("opened")

    def handler_failed(self, ws: WebSocket, exc: Exception) -> None:
        raise LookupError("handler_failed")

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        raise LookupError("closed")


async def test_what_it_raises_is_logged_once_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        assert await ws.receive() == "fail"
        raise RuntimeError("a bug")

    failures: list[Exception] = []

    async def react(ws: WebSocket, exc: Exception) -> None:
        failures.append(exc)

    async with open_server(
        handler, "127.0.0.1", 0, observer=Faulty(), on_handler_error=react
    ) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("fail")
            with pytest.raises(ConnectionClosed):
                await ws.receive()
            assert ws.close_code == 1011
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(b"rubbish\r\n\r\n")
            await tcp.receive()
        with anyio.fail_after(10):
            while server.statistics().refused != {400: 1}:
                await anyio.lowlevel.checkpoint()
    assert [str(exc) for exc in failures] == ["a bug"]
    assert failures[0].__context__ is failures[0].__cause__ is None
    said = [
        (str(record.exc_info[1]), record.getMessage().split()[-1])
        for record in caplog.records
        if record.levelno == logging.ERROR and record.exc_info and "observer" in record.getMessage()
    ]
    names = ["accepted", "accepted", "closed", "handler_failed", "opened", "refused"]
    assert sorted(said) == [(name, name) for name in names]


def observer_with(name: str, method: Callable[..., object]) -> ServerObserver:
    observer = ServerObserver()
    setattr(observer, name, method)
    return observer


@pytest.mark.parametrize("name", ["accepted", "refused", "opened", "handler_failed", "closed"])
def test_a_method_that_would_have_to_be_awaited_is_refused(name: str) -> None:
    async def method(*arguments: object) -> None: ...

    with pytest.raises(TypeError, match=f"observer's {name} must be a plain function"):
        ServerConfig(observer=observer_with(name, method))


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="observer must be None or a ServerObserver"):
        ServerConfig(observer=Recorder)  # type: ignore[arg-type]  # the class itself


def test_one_that_overrides_nothing_is_taken() -> None:
    assert ServerConfig(observer=ServerObserver()).observer is not None
