"""`reconnecting_websocket`: connect again and again.

An iterator that gave *open connections* would leak them: between the iterator's step and the block, a
``break`` or a cancellation can come, of which no object is told; and a connection may have a task group,
which has to be left in the task and in the order in which it was entered. A generator would even hold that
group while it is suspended (PEP 789). So the iterator gives attempts, which own nothing. Entering one waits
out the back-off, dials, and does so again until there is a connection: a block can't be skipped, so a failed
attempt doesn't get as far as the body. What entering has opened, leaving the same block closes: there is no
other place where anything is open.

The loop itself is two facts: what has failed in a row (`Retries`), and whether it is over.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Unpack

import anyio
from anyio.lowlevel import checkpoint

from .client import open_websocket
from .contexts import leaves, native_cancellations
from .exceptions import ConnectionClosed, ConnectionClosedOK, WebSocketError
from .options import ClientConfig, ClientOptions, client_config
from .retrying import DecideRetry, ReconnectPolicy, Retries
from .websocket import WebSocket

__all__ = ["ReconnectAttempt", "reconnecting_websocket"]


def reconnecting_websocket(
    url: str,
    *,
    policy: DecideRetry | None = None,
    unix_path: str | os.PathLike[str] | None = None,
    config: ClientConfig | None = None,
    **options: Unpack[ClientOptions],
) -> AsyncIterator[ReconnectAttempt]:
    """Connect to *url* again and again: ``async for attempt in reconnecting_websocket(url)``.

    Each attempt is a context manager that gives a connection, ``async with attempt as ws``: entering it
    waits as long as *policy* says, dials, and does both again until there is a connection, or the policy
    gives up. Then the last error comes out as it is. However the block was left, the connection is closed as
    by `open_websocket`, and the loop goes on unless you ``break``:

    - If the connection ended, the policy decides. What it tries again leaves the block quietly:
      `ConnectionClosed` of this connection, also a group of nothing else. What it doesn't comes out of the
      block as that very object; if the block was left without it, the loop raises it, or just ends if it
      is a `ConnectionClosedOK`. Then it's over, also for who catches the error.
    - If the connection was open, the next attempt connects at once, or after a first back-off if it
      wasn't open for long.
    - Anything else that the block raises comes out as that very object.

    Leaving the loop is safe from everywhere and in every way, for between blocks nothing is open. Each wait
    is logged at INFO.

    :param policy: a `ReconnectPolicy`, or a plain function in its place; None: the policy's defaults
    :param unix_path: as for `open_websocket`
    :param config: as for `open_websocket`
    :param options: as for `open_websocket`
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises TypeError: there is no such option; *policy* is none, or an async function
    :raises ValueError: an option's value makes no sense
    """
    merged = client_config(config, options)
    connect = partial(open_websocket, url, unix_path=unix_path, config=merged)
    connect()  # raises what is wrong, and opens nothing
    policy = ReconnectPolicy() if policy is None else policy
    return _Loop(connect, Retries(url, policy, merged.logger))


class _Loop(AsyncIterator["ReconnectAttempt"]):
    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[WebSocket]], retries: Retries
    ) -> None:
        self.connect = connect
        self.retries = retries
        self.over: bool = False
        self.ended: tuple[Exception | None, float] | None = None
        """How a block was left, and how long its connection was open, if the policy is still to be asked."""

    async def __anext__(self) -> ReconnectAttempt:
        await checkpoint()
        if self.ended is not None and not self.over:
            error, lasted = self.ended
            self.goes_on(error, lasted)
            if self.over and error is not None and not isinstance(error, ConnectionClosedOK):
                raise error
        if self.over:
            raise StopAsyncIteration
        return ReconnectAttempt(self)

    def goes_on(self, error: Exception | None, lasted: float = 0.0) -> bool:
        """Ask the policy; if it gives up, the loop is over."""
        self.ended = None
        self.over = True  # also if the policy raises
        self.over = not self.retries.failed(error, lasted)
        return not self.over


class ReconnectAttempt(AbstractAsyncContextManager[WebSocket]):
    """What `reconnecting_websocket` gives: ``async with attempt as ws`` is a connection.

    Entering it waits, dials, and tries again until there is a connection. Cancelling closes whatever was
    opened. An attempt that isn't entered costs nothing.
    """

    def __init__(self, loop: _Loop) -> None:
        """Not for users: `reconnecting_websocket` makes attempts."""
        self._loop = loop
        self._entered = False
        self._context: AbstractAsyncContextManager[WebSocket] | None = None
        self._ws: WebSocket | None = None
        self._opened = 0.0
        self._cancellations = 0

    @property
    def failures(self) -> int:
        """How many failures there were in a row, until now."""
        return self._loop.retries.failures

    @property
    def error(self) -> Exception | None:
        """The last failure's; None if there was none."""
        return self._loop.retries.error

    @property
    def delay(self) -> float:
        """Seconds that entering waits before it dials first; in the block, those that it waited last."""
        return self._loop.retries.delay

    async def __aenter__(self) -> WebSocket:
        """Wait, dial, and try again until there is a connection.

        :raises RuntimeError: it was entered before
        :raises WebSocketError: the policy has given up; it is the last error, of `open_websocket`
        :raises TimeoutError: the same
        """
        if self._entered:
            raise RuntimeError("an attempt can be entered only once")
        self._entered = True
        loop = self._loop
        while True:
            await loop.retries.wait()
            context = loop.connect()
            try:
                self._ws = await context.__aenter__()
            except (WebSocketError, OSError) as exc:
                if not loop.goes_on(exc):
                    _note(exc, loop.retries)
                    raise
            else:
                break
        self._context = context
        self._opened = anyio.current_time()
        self._cancellations = native_cancellations()
        return self._ws

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._context is not None
        assert self._ws is not None
        loop = self._loop
        lasted = anyio.current_time() - self._opened
        error = _end_of(self._ws, exc)
        loop.ended = error or self._ws.closed_exc, lasted
        before = native_cancellations()
        await self._context.__aexit__(exc_type, exc, traceback)
        if error is None or before > self._cancellations:
            # It may have been raised in place of a cancellation, which is not to be lost.
            return False
        if native_cancellations() > before:
            raise anyio.get_cancelled_exc_class()  # it came while we closed, and goes before the error
        return loop.goes_on(error, lasted)


def _end_of(ws: WebSocket, exc: BaseException | None) -> ConnectionClosed | None:
    """The end of *ws*, if *exc* is that and nothing else: a cancellation beside it isn't to be swallowed."""
    first: ConnectionClosed | None = None
    for leaf in leaves(exc):
        if not (isinstance(leaf, ConnectionClosed) and leaf.connection_id == ws.id):
            return None
        first = first or leaf
    return first


def _note(error: Exception, retries: Retries) -> None:
    if retries.failures > 1:
        error.add_note(f"given up after {retries.failures} failures in a row")
