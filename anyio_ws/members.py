"""What a `mux` reads its members by: one interface, `Reader`, that is served without waiting.

A connection has one of its own, `MessageReader`: no task, and what waits stays in the connection. What is
none needs a task, which waits in its stead, and it can't be given back what was received from it:

* `StreamReader`, for any object stream: one item at a time, and the next when that was taken.
* `SessionReader`, for a connection that comes back: it holds one connection after the other open, each until
  its last message was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias

import anyio
from anyio.abc import ObjectReceiveStream

from .exceptions import ConnectionClosed, WebSocketError
from .waiting import new_signal
from .websocket import MessageReader, WebSocket

__all__ = ["END", "Member", "Reader", "Session", "SessionReader", "StreamReader", "TaskReader"]

Session: TypeAlias = AsyncIterable[AbstractAsyncContextManager[WebSocket]]
"""Connections that come one after the other, each an asynchronous context manager."""

END: Final = (
    ConnectionClosed,
    anyio.EndOfStream,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
)
"""What a stream raises when it has ended, one way or the other. Anything else is an error."""


class Reader(Protocol):
    """`MessageReader`, and what does the same for other members."""

    def receive_nowait(self) -> Any:
        """Take what has arrived; raises WouldBlock, or of `END` at the end."""
        ...

    @property
    def available(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def closed_exc(self) -> Exception | None: ...
    def detach(self) -> None: ...


class Member:
    """One member, as the mux knows it."""

    __slots__ = ("given", "left", "queued", "reader", "stream", "taken")

    reader: Reader

    def __init__(self, given: Any) -> None:
        self.given: Final = given
        """What the user calls it."""
        self.stream: Any = given
        """What comes with each message: a session's present connection."""
        self.queued: bool = False
        """Whether it is among those that have something."""
        self.left: int = 0
        """Messages to deliver, once that is limited."""
        self.taken: int = 0
        """Messages that were delivered."""


class TaskReader:
    """A reader that needs a task, in which to `run`."""

    def __init__(self, member: Member, notify: Callable[[], None]) -> None:
        self.items: deque[Any] = deque()
        """What was received, can't be given back, and wasn't taken."""
        self.finished: Final = anyio.Event()
        """Set when it has left the member alone."""
        self.closed_exc: Exception | None = None
        """How it ended."""
        self._member = member
        self._notify = notify
        self._scope = anyio.CancelScope()
        self._progress = new_signal()  # something was taken

    def receive_nowait(self) -> Any:
        if self.items:
            self._progress.set()
            return self.items.popleft()
        if self.closed_exc is not None:
            raise anyio.EndOfStream
        raise anyio.WouldBlock

    @property
    def available(self) -> int:
        return len(self.items)

    @property
    def ready(self) -> bool:
        return bool(self.items) or self.closed_exc is not None

    @property
    def ended(self) -> bool:
        return self.closed_exc is not None

    def detach(self) -> None:
        self._scope.cancel()

    async def run(self, before: TaskReader | None) -> None:
        """Receive until the end, or until it is detached.

        :param before: another one, which was detached and may not have left the same member alone yet
        :raises Exception: what the member raises, unless it is its end
        """
        try:
            if before is not None:
                await before.finished.wait()
            with self._scope:
                end = await self._follow()
                if not self._scope.cancel_called:
                    self.closed_exc = end
                    self._notify()
        finally:
            self.finished.set()

    async def _follow(self) -> Exception:
        """Receive until the end, and return how that was."""
        raise NotImplementedError


class StreamReader(TaskReader):
    """Of any object stream."""

    def __init__(
        self,
        member: Member,
        notify: Callable[[], None],
        stream: ObjectReceiveStream[Any],
    ) -> None:
        super().__init__(member, notify)
        self._stream = stream

    async def _follow(self) -> Exception:
        while not self._scope.cancel_called:  # it may be one that isn't easily cancelled
            try:
                self.items.append(await self._stream.receive())
            except END as exc:
                return exc
            self._notify()
            while self.items:
                await self._progress.wait()
        return anyio.ClosedResourceError()


class SessionReader(TaskReader):
    """Of a connection that comes back."""

    def __init__(self, member: Member, notify: Callable[[], None], session: Session) -> None:
        super().__init__(member, notify)
        member.stream = None  # there is no connection yet
        self._session = session
        self._present: MessageReader | None = None  # of a connection that is open, or has messages

    def receive_nowait(self) -> Any:
        if self._present is not None:
            try:
                return self._present.receive_nowait()
            except ConnectionClosed:
                self._present = None
                self._progress.set()
        return super().receive_nowait()

    @property
    def available(self) -> int:
        return len(self.items) if self._present is None else self._present.available

    @property
    def ready(self) -> bool:
        return super().ready if self._present is None else self._present.ready

    def detach(self) -> None:
        present, self._present = self._present, None
        if present is not None:
            while present.available:
                self.items.append(present.receive_nowait())
        super().detach()

    async def _follow(self) -> Exception:
        try:
            async for attempt in self._session:
                async with attempt as ws:
                    reader = ws.attach_reader(self._notify)
                    try:
                        self._member.stream, self._present = ws, reader
                        self._notify()
                        while self._present is reader:
                            await self._progress.wait()
                    finally:
                        reader.detach()
        except (WebSocketError, OSError) as exc:
            return exc
        return anyio.EndOfStream()
