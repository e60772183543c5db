"""Every context manager of ours, and what a block may raise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

import anyio

from anyio_ws import ConnectionClosedError, WebSocket, mux

from .links import Link


class CustomBase(BaseException):
    """Neither an `Exception` nor a cancellation."""


class Unhashable(Exception):
    """Compares by value, as a dataclass would."""

    __hash__ = None  # type: ignore[assignment]  # that is the point

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("of the body"),
    "StopIteration": StopIteration,
    "TimeoutError": TimeoutError,
    "EndOfStream": anyio.EndOfStream,
    "ConnectionClosed": lambda: ConnectionClosedError(None, None),
    "unhashable": Unhashable,
    "group": lambda: ExceptionGroup("of the body", [ValueError(), KeyError()]),
    "group of one": lambda: ExceptionGroup("of the body", [ValueError()]),
    "nested group": lambda: ExceptionGroup("a", [ExceptionGroup("b", [ValueError()])]),
    "base group": lambda: BaseExceptionGroup("of the body", [CustomBase(), ValueError()]),
    "CustomBase": CustomBase,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


# A link needs a task group, which would wrap what comes out. So the manager under test is entered inside
# of that, around nothing but the body.


async def sleep_forever(ws: WebSocket) -> None:
    await anyio.sleep_forever()


@asynccontextmanager
async def server(link: Link) -> AsyncIterator[AbstractAsyncContextManager[object]]:
    yield link.serving(sleep_forever, close_timeout=0)


@asynccontextmanager
async def busy_server(link: Link) -> AsyncIterator[AbstractAsyncContextManager[object]]:
    class Busy(AsyncExitStack):
        async def __aenter__(self) -> Busy:
            server = await self.enter_async_context(link.serving(sleep_forever, close_timeout=0))
            await self.enter_async_context(link.connecting(server, close_timeout=0))
            return self

    yield Busy()


@asynccontextmanager
async def attempt(link: Link) -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with link.serving(sleep_forever, close_timeout=0) as server:
        yield await anext(link.reconnecting(server))


@asynccontextmanager
async def lifecycle(link: Link) -> AsyncIterator[AbstractAsyncContextManager[object]]:
    async with link.serving(sleep_forever, close_timeout=0) as server:
        yield link.telling(server)


def of_connection(
    make: Callable[[WebSocket], AbstractAsyncContextManager[object]],
) -> Callable[[Link], AbstractAsyncContextManager[AbstractAsyncContextManager[object]]]:
    @asynccontextmanager
    async def prepare(link: Link) -> AsyncIterator[AbstractAsyncContextManager[object]]:
        async with link.server_and_peer() as (ws, _):
            yield make(ws)

    return prepare


MANAGERS: dict[
    str, Callable[[Link], AbstractAsyncContextManager[AbstractAsyncContextManager[object]]]
] = {
    "open_websocket": Link.unopened_client,
    "accept_websocket": Link.unopened_server,
    "open_server": server,
    "busy server": busy_server,
    "mux": of_connection(mux),
    "mux cancel": of_connection(partial(mux, on_disconnect="cancel")),
    "events": of_connection(WebSocket.events),
    "receive_fragments": of_connection(WebSocket.receive_fragments),
    "discard_incoming": of_connection(WebSocket.discard_incoming),
    "the connection": of_connection(lambda ws: ws),
    "attempt": attempt,
    "websocket_events": lifecycle,
}
