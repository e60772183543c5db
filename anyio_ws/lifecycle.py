"""`websocket_events`: a connection's life, and that of its successors, as one stream of events.

One task dials, follows the connection to its end, and does so again if it is to; it hands over each event
before it goes on. So a consumer that is slow holds up reading, and nothing piles up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Unpack

import anyio
from anyio.abc import ObjectReceiveStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from .client import open_websocket
from .contexts import exit_group
from .events import (
    BackOff,
    Closed,
    Closing,
    Connected,
    ConnectFail,
    Connecting,
    Disconnected,
    LifecycleEvent,
    Poll,
    Ready,
    Rejected,
)
from .exceptions import InvalidHandshake, InvalidStatus, ProtocolError, ProxyError, WebSocketError
from .options import ClientConfig, ClientOptions, client_config
from .retrying import DecideRetry, Retries
from .sansio.uri import without_credentials
from .websocket import WebSocket

__all__ = ["WebSocketEvents", "websocket_events"]


def websocket_events(
    url: str,
    *,
    poll: float | None = 5.0,
    reconnect: DecideRetry | None = None,
    fragments: bool = False,
    unix_path: str | os.PathLike[str] | None = None,
    config: ClientConfig | None = None,
    **options: Unpack[ClientOptions],
) -> AbstractAsyncContextManager[WebSocketEvents]:
    """Connect to *url* and tell everything: ``async with websocket_events(url) as events``.

    Iterating over *events* gives what is in `anyio_ws.events`: ``Connecting``, then ``ConnectFail``, or
    ``Connected`` and ``Rejected``, or ``Connected`` and ``Ready``; what arrives; ``Closing`` if the server
    closes first, ``Closed`` if a Close frame came, and ``Disconnected``. With *reconnect* a ``BackOff`` and
    the next ``Connecting`` follow, until the policy gives up. Then iteration ends. Errors of the connection
    are in these events, and nowhere else.

    Leaving the block ends everything; a connection that is open is closed as by `open_websocket`. What the
    block raises comes out as that very object.

    :param poll: seconds between `Poll` events while a connection is open; None or 0 for none
    :param reconnect: a `ReconnectPolicy`, or a function in its place; None: one attempt, one connection
    :param fragments: give messages in their fragments; see `WebSocket.events`
    :param unix_path: as for `open_websocket`
    :param config: as for `open_websocket`
    :param options: as for `open_websocket`
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises TypeError: there is no such option; *reconnect* is no policy
    :raises ValueError: an option's value makes no sense
    """
    if poll is not None and not poll >= 0:
        raise ValueError(f"poll must be None or seconds, at least 0; got {poll!r}")
    merged = client_config(config, options)
    connect = partial(open_websocket, url, unix_path=unix_path, config=merged)
    connect()  # raises what is wrong, and opens nothing
    retries = None if reconnect is None else Retries(url, reconnect, merged.logger)
    shown = without_credentials(url)
    return _EventsContext(partial(_Follower, connect, shown, poll, retries, fragments))


class WebSocketEvents(ObjectReceiveStream[LifecycleEvent]):
    """The stream of events; see `websocket_events`. `receive` may be cancelled at any time."""

    def __init__(self, stream: MemoryObjectReceiveStream[LifecycleEvent]) -> None:
        """Not for users: `websocket_events` makes it."""
        self._stream = stream
        self._ws: WebSocket | None = None

    @property
    def websocket(self) -> WebSocket:
        """The connection, for sending and closing: the latest that there was.

        After it has ended, sending raises `ConnectionClosed` until the next one is there. Receiving is this
        stream's: its own `receive` raises ``anyio.BusyResourceError``.

        :raises ProtocolError: there was none until now
        """
        if self._ws is None:
            raise ProtocolError("there is no connection yet: the event Ready tells when")
        return self._ws

    def close(self) -> None:
        """As `aclose`, for who can't await."""
        self._stream.close()

    def set_websocket(self, ws: WebSocket) -> None:
        """Not for users: there is a new connection."""
        self._ws = ws

    async def receive(self) -> LifecycleEvent:
        """Wait for the next event.

        Cancelling it, by a cancel scope, loses nothing; asyncio's own ``Task.cancel`` may lose the event that
        comes at that moment.

        :raises anyio.EndOfStream: there is none to come
        :raises anyio.ClosedResourceError: the block was left
        """
        return await self._stream.receive()

    async def aclose(self) -> None:
        """Stop receiving: with the next event, or the end of the block, everything ends. Doesn't wait."""
        self.close()


class _Follower:
    """The task: what there is to do, and the connection that is open."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[WebSocket]],
        url: str,
        poll: float | None,
        retries: Retries | None,
        fragments: bool,
    ) -> None:
        self._connect = connect
        self._url = url
        self._poll = poll
        self._retries = retries
        self._fragments = fragments
        self._send, receive = anyio.create_memory_object_stream[LifecycleEvent]()
        self.events = WebSocketEvents(receive)
        self.open: WebSocket | None = None

    async def run(self, group: TaskGroup) -> None:
        try:
            while await self._live(group):
                pass
        except anyio.BrokenResourceError:
            pass  # the reader closed its end before the end of the block
        # Not when cancelled: a reader that is cancelled as well must not take that for the end.
        self._send.close()

    def close(self) -> None:
        self._send.close()
        self.events.close()

    async def _live(self, group: TaskGroup) -> bool:
        """Tell one life; whether there is to be another."""
        lasted = 0.0
        await self._send.send(Connecting(self._url))
        try:
            async with self._connect() as ws:
                opened = anyio.current_time()
                await self._follow(ws, group)
                lasted = anyio.current_time() - opened
        except (WebSocketError, OSError) as exc:  # only entering raises them
            error: Exception = exc
            await self._tell_failure(exc)
        else:
            closed = ws.closed_exc
            assert closed is not None
            error = closed
            graceful = closed.rcvd is not None and closed.sent is not None
            await self._send.send(Disconnected(graceful, closed))
        if self._retries is None or not self._retries.failed(error, lasted):
            return False
        await self._send.send(BackOff(self._retries.delay))
        await self._retries.wait()
        return True

    async def _tell_failure(self, error: Exception) -> None:
        if isinstance(error, ProxyError) or not isinstance(error, InvalidHandshake):
            await self._send.send(ConnectFail(error))
            return
        response = error.response if isinstance(error, InvalidStatus) else None
        await self._send.send(Connected(self._url))
        await self._send.send(Rejected(error, response))
        await self._send.send(Disconnected(False, error))

    async def _follow(self, ws: WebSocket, group: TaskGroup) -> None:
        """Tell what happens to *ws* until it has ended, or nobody wants to know."""
        polling = anyio.CancelScope()
        self.open = ws
        try:
            # Before anything else: pings are told from here on.
            async with ws.events(fragments=self._fragments) as arriving:
                self.events.set_websocket(ws)
                await self._send.send(Connected(self._url))
                await self._send.send(Ready(ws.response, ws.subprotocol, ws.extensions))
                if self._poll:
                    group.start_soon(self._tell_time, self._poll, polling)
                async for event in arriving:
                    if isinstance(event, Closed):
                        await self._tell_end(ws, event)
                    else:
                        await self._send.send(event)
        except anyio.BrokenResourceError:
            pass  # here, so that the connection is closed normally
        finally:
            self.open = None
            polling.cancel()

    async def _tell_end(self, ws: WebSocket, event: Closed) -> None:
        end = ws.closed_exc
        if end is None or end.rcvd is None:
            return  # no Close frame: there is nothing to tell but that it's over
        if end.rcvd_then_sent:
            await self._send.send(Closing(event.code, event.reason))
        await self._send.send(event)

    async def _tell_time(self, poll: float, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await anyio.sleep(poll)
                try:
                    await self._send.send(Poll())
                except anyio.BrokenResourceError:
                    return


class _EventsContext:
    def __init__(self, make: Callable[[], _Follower]) -> None:
        self._make = make
        self._follower: _Follower | None = None
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> WebSocketEvents:
        if self._follower is not None:
            raise RuntimeError("the context manager of events can be entered only once")
        self._follower = self._make()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._follower.run, self._group)
        return self._follower.events

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._follower is not None
        assert self._group is not None
        leaving: BaseException | None = None
        try:
            if self._follower.open is not None:
                await self._follower.open.__aexit__(exc_type, exc, traceback)
        except BaseException as raised:  # cancelled while closing; exit_group sorts it out
            leaving = raised
        self._group.cancel_scope.cancel()
        try:
            return await exit_group(self._group, exc, leaving)
        finally:
            self._follower.close()
