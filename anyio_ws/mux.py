"""`mux`: several connections merged into one receive stream.

It has no buffer and no task of its own: it is a queue of the members that have something, in turns. A
member that gets something calls us (`WebSocket.attach_reader`), and is put at the end of the queue if
it isn't in it; when its turn comes, one message is taken out of its own inbox. So what waits is
bounded by the members' own limits, back-pressure reaches each peer, and the cost of a message doesn't
depend on the number of members.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Literal, TypeAlias, cast

import anyio
from anyio.abc import ObjectReceiveStream

from .exceptions import ConnectionClosed, ConnectionClosedOK
from .waiting import current_pace, new_signal
from .websocket import MessageReader, WebSocket

__all__ = ["Mux", "mux"]

OnDisconnect: TypeAlias = Literal["end", "cancel"]


def mux(
    *connections: WebSocket, on_disconnect: OnDisconnect = "end"
) -> AbstractAsyncContextManager[Mux]:
    """Merge *connections*: ``async with mux(bids, asks) as merged`` gives a stream of pairs.

    ``async for ws, message in merged`` goes through what arrives on any of them: in turns where several
    have something, in order within each. In the block it is *merged* that receives from them; sending
    on them is as before. Leaving the block gives them back, with every message that wasn't taken, and
    closes none.

    :param on_disconnect: what happens when a member's connection ends. ``"end"``: the messages that had
        arrived on all members are delivered, then `Mux.receive` raises the `ConnectionClosed` of the
        first to disconnect, and iteration ends quietly if that was a normal close. ``"cancel"``: the
        block is cancelled at once, by a scope of its own that ends with it; an abnormal close is
        then raised at the end of the block
    :raises TypeError: one is no connection; a list of them is to be given as ``mux(*connections)``
    :raises ValueError: there are no connections, or *on_disconnect* is something else
    :raises anyio.BusyResourceError: on entering: somebody receives from one of them already
    """
    return _MuxContext(connections, on_disconnect)


class Mux(ObjectReceiveStream[tuple[WebSocket, str | bytes]]):
    """The merged stream; see `mux`."""

    def __init__(
        self, connections: tuple[WebSocket, ...], on_disconnect: Callable[[], None]
    ) -> None:
        """Not for users: `mux` makes it. *on_disconnect* is called when the first member has ended."""
        self._on_disconnect = on_disconnect
        self._guard = anyio.ResourceGuard("receiving from")
        self._readers: dict[WebSocket, MessageReader] = {}
        self._ready: deque[WebSocket] = deque()
        self._queued: set[WebSocket] = set()  # the members of _ready
        self._arrived: dict[WebSocket, int] | None = (
            None  # what is left to deliver, once one has ended
        )
        self._changed = new_signal()
        self._pace = current_pace()
        self._first: MessageReader | None = None  # of the first to disconnect
        self.first_to_disconnect: WebSocket | None = None
        """The member whose connection ended first; None as long as none has."""

        try:
            for ws in connections:
                self._readers[ws] = ws.attach_reader(partial(self._notify, ws))
        except anyio.BusyResourceError:
            self._detach()
            raise
        for ws in connections:
            self._notify(ws)  # of what it has already

    async def receive(self) -> tuple[WebSocket, str | bytes]:
        """Wait for the next message of any member. Cancelling loses nothing.

        Like `WebSocket.receive` it yields to the scheduler at least every 32 messages, or every millisecond.

        :raises ConnectionClosed: the first member disconnected, and what had arrived was delivered
        :raises anyio.BusyResourceError: another task receives
        :raises anyio.ClosedResourceError: the block was left
        """
        with self._guard:
            if self._pace.due():
                await self._pace.rest()
            while (pair := self._take()) is None:
                await self._changed.wait()
                self._pace.rested()
            return pair

    def receive_nowait(self) -> tuple[WebSocket, str | bytes]:
        """Return a message that has arrived on any member.

        :raises anyio.WouldBlock: there is none
        :raises ConnectionClosed: as `receive`
        :raises anyio.ClosedResourceError: as `receive`
        """
        with self._guard:
            pair = self._take()
        if pair is None:
            raise anyio.WouldBlock
        return pair

    async def __anext__(self) -> tuple[WebSocket, str | bytes]:
        try:
            return await self.receive()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    @property
    def closed_exc(self) -> ConnectionClosed | None:
        """Why the first to disconnect did, as an exception; None as long as none has."""
        return None if self._first is None else self._first.closed_exc

    async def aclose(self) -> None:
        """Give the connections back, with every message that wasn't taken. Doesn't wait."""
        self._detach()

    def _detach(self) -> None:
        for reader in self._readers.values():
            reader.detach()
        self._readers.clear()
        self._ready.clear()
        self._queued.clear()
        self._changed.set()

    def _notify(self, ws: WebSocket) -> None:
        """There may be something to take from *ws*, or it has ended."""
        if ws.close_code is not None and self.first_to_disconnect is None:
            self.first_to_disconnect = ws
            self._first = self._readers[ws]
            # Others may go on for ever; what they have now is what had arrived.
            self._arrived = {one: reader.available for one, reader in self._readers.items()}
            self._on_disconnect()
        elif not self._readers[ws].ready:
            return
        self._enqueue(ws)
        self._changed.set()

    def _enqueue(self, ws: WebSocket) -> None:
        if ws not in self._queued:
            self._queued.add(ws)
            self._ready.append(ws)

    def _take(self) -> tuple[WebSocket, str | bytes] | None:
        if not self._readers:
            raise anyio.ClosedResourceError
        while self._ready:
            ws = self._ready.popleft()
            self._queued.discard(ws)
            if self._arrived is not None:
                if not self._arrived[ws]:
                    continue
                self._arrived[ws] -= 1
            try:
                message = self._readers[ws].receive_nowait()
            except (anyio.WouldBlock, ConnectionClosed):
                continue  # an end is noticed by _notify, which was called
            if self._readers[ws].ready:
                self._enqueue(ws)
            return ws, message
        end = self.closed_exc
        if end is not None:
            raise end
        return None


class _MuxContext:
    def __init__(self, connections: tuple[WebSocket, ...], on_disconnect: OnDisconnect) -> None:
        if not connections:
            raise ValueError("mux needs at least one connection")
        for one in cast("tuple[object, ...]", connections):
            if not isinstance(one, WebSocket):
                raise TypeError(f"mux takes connections, each an argument, not {one!r}")
        if on_disconnect not in ("end", "cancel"):
            raise ValueError(f'on_disconnect must be "end" or "cancel", not {on_disconnect!r}')
        self._connections = tuple(dict.fromkeys(connections))
        self._cancels = on_disconnect == "cancel"
        self._mux: Mux | None = None

    async def __aenter__(self) -> Mux:
        if self._mux is not None:
            raise RuntimeError("mux's context manager can be entered only once")
        self._scope = anyio.CancelScope()
        self._mux = Mux(self._connections, self._disconnected)
        self._scope.__enter__()
        return self._mux

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._mux is not None
        end = self._mux.closed_exc if self._cancels else None
        await self._mux.aclose()
        if exc is not None and not _with_cancellation(exc):
            # trio's scopes rebuild every group that passes them.
            self._scope.__exit__(None, None, None)
            return False
        caught = bool(self._scope.__exit__(exc_type, exc, traceback))
        if (caught or exc is None) and end is not None and not isinstance(end, ConnectionClosedOK):
            raise end from end.__cause__  # and not from the cancellation
        return caught

    def _disconnected(self) -> None:
        if self._cancels:
            self._scope.cancel()


def _with_cancellation(exc: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(cancelled) is not None
    return isinstance(exc, cancelled)
