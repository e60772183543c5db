"""P1. Your exception stays your exception: what a block raises comes out of it as that very object."""

# ruff: noqa: PT011, PT012  # blocks are the subject, and what they raise is compared by identity

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio
import pytest

from anyio_ws import (
    ConnectionClosed,
    State,
    WebSocket,
    WebSocketServer,
    accepting,
    mux,
    open_server,
    open_websocket,
    receiving,
    serve_websocket,
)
from anyio_ws.connection import Connection
from anyio_ws.contexts import exit_group
from anyio_ws.sansio import Side
from anyio_ws.transports.dial import Connectable

from ..websocket.helpers import settle
from .blocks import ERRORS, MANAGERS, sleep_forever
from .links import Link

every_manager = pytest.mark.parametrize("manager", MANAGERS)


@every_manager
class TestABlock:
    async def test_raises_what_its_body_raises_as_that_very_object(
        self, link: Link, manager: str
    ) -> None:
        for kind, make in ERRORS.items():
            error = make()
            async with MANAGERS[manager](link) as context:
                with pytest.raises(BaseException) as caught:
                    async with context:
                        raise error
            assert caught.value is error, kind
            assert error.__cause__ is None, kind
            assert error.__context__ is None, kind
            frames = [entry.frame.code.name for entry in caught.traceback]
            assert frames[0] == "test_raises_what_its_body_raises_as_that_very_object", kind
            assert "exit_group" not in frames, kind

    async def test_leaves_cause_and_context_as_they_were(self, link: Link, manager: str) -> None:
        cause, error = KeyError("cause"), ValueError("error")
        async with MANAGERS[manager](link) as context:
            with pytest.raises(ValueError) as caught:
                async with context:
                    try:
                        raise LookupError("context")
                    except LookupError:
                        raise error from cause
        assert caught.value is error
        assert error.__cause__ is cause
        assert isinstance(error.__context__, LookupError)

    async def test_is_left_in_order_when_a_scope_outside_is_cancelled(
        self, link: Link, manager: str
    ) -> None:
        async with MANAGERS[manager](link) as context:
            with anyio.CancelScope() as scope:
                async with context:
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            await settle()  # and nobody else is cancelled

    async def test_keeps_a_scope_of_its_body_inside(self, link: Link, manager: str) -> None:
        after = False
        async with MANAGERS[manager](link) as context:
            async with context:
                with anyio.move_on_after(0):
                    await anyio.sleep_forever()
                await settle()
                after = True
        assert after

    @pytest.mark.parametrize("kind", ["ValueError", "group"])
    async def test_raises_what_its_body_raises_while_being_cancelled(
        self, link: Link, manager: str, kind: str
    ) -> None:
        error = ERRORS[kind]()
        caught: list[BaseException] = []
        async with MANAGERS[manager](link) as context:
            with anyio.CancelScope() as scope:
                try:
                    async with context:
                        try:
                            scope.cancel()
                            await anyio.sleep_forever()
                        finally:
                            raise error
                except BaseException as exc:
                    caught.append(exc)
            assert len(caught) == 1
            assert caught[0] is error

    async def test_raises_the_group_of_a_task_group_inside(self, link: Link, manager: str) -> None:
        error = ValueError()

        async def fail() -> None:
            raise error

        group: list[Exception] = []
        async with MANAGERS[manager](link) as context:
            with pytest.raises(ExceptionGroup) as caught:
                async with context:
                    try:
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(fail)
                            await anyio.sleep_forever()
                    except ExceptionGroup as exc:
                        group.append(exc)
                        raise
        assert caught.value is group[0]
        assert caught.value.exceptions == (error,)

    async def test_ends_with_a_group_that_is_cancelled_from_outside(
        self, link: Link, manager: str
    ) -> None:
        ended: list[type[BaseException]] = []

        async def use(context: AbstractAsyncContextManager[object], inside: anyio.Event) -> None:
            try:
                async with context:
                    inside.set()
                    await anyio.sleep_forever()
            except BaseException as exc:
                ended.append(type(exc))
                raise

        async with MANAGERS[manager](link) as context:
            async with anyio.create_task_group() as tasks:
                inside = anyio.Event()
                tasks.start_soon(use, context, inside)
                await inside.wait()
                tasks.cancel_scope.cancel()
        assert ended == [anyio.get_cancelled_exc_class()]


async def test_nested_blocks_and_an_exit_stack_keep_the_exception(link: Link) -> None:
    error = ExceptionGroup("of the body", [ValueError()])
    async with AsyncExitStack() as outside:
        contexts = [
            await outside.enter_async_context(MANAGERS[name](link))
            for name in ("accept_websocket", "events", "open_server", "mux", "open_websocket")
        ]
        with pytest.raises(ExceptionGroup) as caught:
            async with AsyncExitStack() as stack:
                for context in contexts:
                    await stack.enter_async_context(context)
                raise error
    assert caught.value is error


@pytest.mark.usefixtures("virtual_time")
async def test_a_time_limit_around_everything_ends_everything_in_time(link: Link) -> None:
    with anyio.move_on_after(30) as scope:
        async with link.serving(sleep_forever) as server:
            async with link.connecting(server) as ws:
                async with mux(ws) as merged:
                    await merged.receive()
    assert scope.cancelled_caught
    assert anyio.current_time() == pytest.approx(30)


@pytest.mark.usefixtures("virtual_time")
async def test_a_time_limit_around_one_receive_harms_nothing(link: Link) -> None:
    async with link.connected() as (client, server):
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1):
                await client.receive()
        await server.send("still there")
        assert await client.receive() == "still there"


# -- the connection's own fate


async def test_a_connection_that_breaks_wakes_those_who_wait_and_does_not_cancel_the_body(
    link: Link,
) -> None:
    ended: list[str] = []

    async def wait(name: str, call: Callable[[], Any]) -> None:
        try:
            await call()
        except ConnectionClosed:
            pass
        ended.append(name)

    async with link.server_and_peer(small=True, write_limit=0) as (ws, peer):
        ws.send_nowait("x" * 2**19)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "receive", ws.receive)
            tasks.start_soon(wait, "send", lambda: ws.send("y"))
            tasks.start_soon(wait, "flush", ws.flush)
            tasks.start_soon(wait, "ping", ws.ping)
            tasks.start_soon(wait, "wait_closed", ws.wait_closed)
            await settle()
            assert not ended
            await anyio.aclose_forcefully(peer.stream)
        assert sorted(ended) == ["flush", "ping", "receive", "send", "wait_closed"]
        await settle()
        ended.append("and the body goes on")
    assert ended[-1] == "and the body goes on"
    assert ws.state is State.CLOSED


async def test_the_end_of_the_connection_goes_on_being_raised_if_the_body_says_so(
    link: Link,
) -> None:
    seen: list[ConnectionClosed] = []
    async with link.unopened_client() as context:
        with pytest.raises(ConnectionClosed) as caught:
            async with context as ws:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ws.aclose)
                try:
                    await ws.send("too late")
                except ConnectionClosed as exc:
                    seen.append(exc)
                    raise
    assert caught.value is seen[0]


# -- what handlers raise, with on_handler_error="raise"


class Failing:
    """A handler that raises the errors, one in each connection, when all of these are there."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self._together = anyio.Event()

    async def __call__(self, ws: WebSocket) -> None:
        error = self._errors.pop()
        if not self._errors:
            self._together.set()
        await self._together.wait()
        try:
            raise LookupError("context")
        except LookupError:
            raise error from CAUSE


CAUSE = KeyError("cause")


@pytest.mark.parametrize("kind", ["ValueError", "group", "TimeoutError", "unhashable"])
async def test_what_a_handler_raises_comes_out_of_open_server_as_that_very_object(
    link: Link, kind: str
) -> None:
    error = ERRORS[kind]()
    assert isinstance(error, Exception)
    with pytest.raises(type(error)) as caught:
        async with link.serving(Failing(error), on_handler_error="raise") as server:
            async with link.connecting(server):
                await anyio.sleep_forever()
    assert caught.value is error
    assert error.__cause__ is CAUSE
    assert isinstance(error.__context__, LookupError)


@pytest.mark.parametrize("body", ["waits", "raises"])
async def test_what_several_raise_comes_out_of_open_server_as_a_group_of_exactly_these(
    link: Link, body: str
) -> None:
    errors: list[Exception] = [ValueError("one"), ExceptionGroup("two", [KeyError()])]
    bodys_own = OSError("of the body")
    with pytest.raises(ExceptionGroup) as caught:
        async with link.serving(Failing(*errors), on_handler_error="raise") as server:
            async with link.connecting(server), link.connecting(server):
                try:
                    await anyio.sleep_forever()
                finally:
                    if body == "raises":
                        raise bodys_own
    found = caught.value.exceptions
    if body == "raises":
        assert found[0] is bodys_own
        assert len(found) == 2
        assert isinstance(found[1], ExceptionGroup)
        found = found[1].exceptions
    assert {id(error) for error in found} == {id(error) for error in errors}


async def test_no_cancellation_is_left_in_a_group_of_what_failed(link: Link) -> None:
    errors = [ValueError("of a handler"), OSError("of the body")]

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise errors[1]

    with pytest.raises(ExceptionGroup) as caught:
        async with link.serving(Failing(errors[0]), on_handler_error="raise") as server:
            async with link.connecting(server), anyio.create_task_group() as tasks:
                tasks.start_soon(fail_when_cancelled)
                tasks.start_soon(anyio.sleep_forever)
    bodys, handlers = caught.value.exceptions
    assert handlers is errors[0]
    assert isinstance(bodys, ExceptionGroup)
    assert bodys.exceptions == (errors[1],)


async def test_what_several_raise_comes_out_of_serve_websocket_as_a_group_of_exactly_these() -> (
    None
):
    errors: list[Exception] = [ValueError("one"), ExceptionGroup("two", [KeyError()])]
    raised: list[BaseException] = []

    async def serve(task_status: anyio.abc.TaskStatus[WebSocketServer]) -> None:
        try:
            await serve_websocket(
                Failing(*errors), "127.0.0.1", 0, on_handler_error="raise", task_status=task_status
            )
        except ExceptionGroup as exc:
            raised.append(exc)

    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve)
        async with open_websocket(server.url) as one, open_websocket(server.url) as two:
            await one.wait_closed()
            await two.wait_closed()
    (group,) = raised
    assert isinstance(group, ExceptionGroup)
    assert {id(error) for error in group.exceptions} == {id(error) for error in errors}


@pytest.mark.parametrize("grace", [None, 5])
async def test_a_cancelled_shutdown_is_no_cancellation_of_those_who_serve(
    grace: float | None,
) -> None:
    returned = anyio.Event()

    async def serve(task_status: anyio.abc.TaskStatus[WebSocketServer]) -> None:
        await serve_websocket(sleep_forever, "127.0.0.1", 0, task_status=task_status)
        returned.set()

    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await server.shutdown(grace=grace)
        assert scope.cancelled_caught
        await returned.wait()


# -- Ctrl-C while a task of ours runs

BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


async def receive_all(ws: WebSocket) -> None:
    async for _ in ws:
        pass


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch, callback: str) -> Iterator[list[bool]]:
    """Where something is put into the list, the next call of the sink's *callback* gets a Ctrl-C."""
    armed: list[bool] = []
    original = getattr(Connection, callback)

    def interrupted(self: Connection, *args: Any) -> None:
        if armed and self.protocol.side is Side.CLIENT:
            armed.clear()
            signal.raise_signal(signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(Connection, callback, interrupted)
    yield armed
    assert not armed, "it wasn't called"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("callback", ["data_received", "writable", "alarm"])
def test_ctrl_c_while_a_task_of_ours_runs_comes_out_in_the_main_task(
    link: Link, backend: str, interrupting: list[bool]
) -> None:
    ended: list[str] = []

    async def main() -> None:
        # It doesn't answer: where nobody receives, keepalive would stand still.
        async with link.serving(receive_all, max_size=None) as server:
            stream: Connectable | None = None
            if link.kind == "streams":  # a pair: no socket is found below
                tcp = await anyio.connect_tcp("127.0.0.1", server.port)
                stream = (tcp, tcp)
            async with link.connecting(server, stream, ping_interval=0.01) as ws:
                interrupting.append(True)
                try:
                    await ws.send(bytes(2**23), compress=False)
                    await anyio.sleep_forever()
                finally:
                    ended.append(ws.state.name)

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, **BACKENDS[backend])
    assert ended == ["OPEN"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("owner", "function"),
    [
        (WebSocketServer, "_accepted"),
        (accepting, "check_handshake"),
        (receiving, "_as_event"),
    ],
    ids=["accepting", "handshake", "events"],
)
def test_ctrl_c_in_other_tasks_of_ours_comes_out_in_the_main_task_too(
    backend: str, owner: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(owner, function)
    ended: list[str] = []

    def interrupted(*args: Any) -> object:
        signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(owner, function, interrupted)

    async def main() -> None:
        async with open_server(echo, "127.0.0.1", 0) as server:
            try:
                async with open_websocket(server.url) as ws, ws.events() as events:
                    await ws.send("hello")
                    await events.receive()
                    await anyio.sleep_forever()
            finally:
                ended.append("block")

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, **BACKENDS[backend])
    assert ended == ["block"]


def test_ctrl_c_in_an_endless_loop_of_a_handler_ends_it_on_trio() -> None:
    async def handler(ws: WebSocket) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the interrupt came later")

    async def main() -> None:
        async with open_server(handler, "127.0.0.1", 0) as server, open_websocket(server.url):
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="trio")


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_task_that_is_cancelled_in_the_last_step_of_a_block_is_cancelled(backend: str) -> None:
    """By asyncio's own ``Task.cancel``: a scope's cancellation comes again, this one would be lost."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await exit_group(None, ValueError("of the body"))
        task.uncancel()

    anyio.run(main, **BACKENDS[backend])
