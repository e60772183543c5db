"""`mux`: several connections merged into one receive stream, for as long as a block lasts.

The block has a task group, for members that need a task, and inside it a scope. That is what cancels the
block: a disconnection with ``on_disconnect="cancel"``, and what a task raises. The stream itself is in
`anyio_ws.merged`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, TypeVar, cast, overload

import anyio
from anyio.abc import ObjectReceiveStream

from .contexts import exit_group
from .exceptions import ConnectionClosedOK
from .members import Session
from .merged import Mergeable, Mux, OnDisconnect, check_member
from .websocket import WebSocket

__all__ = ["mux"]

_Item = TypeVar("_Item")


# A block that is cancelled by mux's own scope goes on behind it: the second parameter says so to checkers.
@overload
def mux(
    *connections: WebSocket | Session,
    source: AsyncIterable[WebSocket | Session] | None = None,
    on_disconnect: Literal["cancel"],
) -> AbstractAsyncContextManager[Mux[WebSocket, str | bytes], bool]: ...


@overload
def mux(
    *connections: ObjectReceiveStream[_Item],
    source: AsyncIterable[ObjectReceiveStream[_Item]] | None = None,
    on_disconnect: Literal["cancel"],
) -> AbstractAsyncContextManager[Mux[ObjectReceiveStream[_Item], _Item], bool]: ...


@overload
def mux(
    *connections: WebSocket,
    source: AsyncIterable[WebSocket] | None = None,
    on_disconnect: Literal["end", "drop"] = "end",
    on_drop: Callable[[WebSocket, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[WebSocket, str | bytes]]: ...


@overload
def mux(
    *connections: WebSocket | Session,
    source: AsyncIterable[WebSocket | Session] | None = None,
    on_disconnect: Literal["end", "drop"] = "end",
    on_drop: Callable[[WebSocket | Session, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[WebSocket, str | bytes]]: ...


@overload
def mux(
    *connections: ObjectReceiveStream[_Item],
    source: AsyncIterable[ObjectReceiveStream[_Item]] | None = None,
    on_disconnect: Literal["end", "drop"] = "end",
    on_drop: Callable[[ObjectReceiveStream[_Item], Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[ObjectReceiveStream[_Item], _Item]]: ...


def mux(
    *connections: object,
    source: AsyncIterable[object] | None = None,
    on_disconnect: OnDisconnect = "end",
    on_drop: Callable[[Any, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[Any, Any]]:
    """Merge *connections*: ``async with mux(bids, asks) as merged`` gives a stream of pairs.

    ``async for ws, message in merged`` goes through what arrives on any of them: in turns where several
    have something, in order within each. In the block it is *merged* that receives from them; sending
    on them is as before. Leaving the block gives them back, with every message that wasn't taken, and
    closes none. `Mux.add` and `Mux.discard` change who is a member.

    A member may also be any AnyIO object receive stream, which takes a task and a scheduling round per item;
    or an asynchronous iterable of connections in context managers, as ``reconnecting_websocket`` returns
    it. That is one member, whose messages come with the connection of the time; leaving the block closes
    that. Neither can be given back what was received and not taken: see `Mux.undelivered`.

    :param source: an asynchronous iterable of further members, which is gone through in a task of the block.
        With it there may be none to begin with. What it raises ends the block, and comes out of it
    :param on_disconnect: what happens when a member's connection ends. ``"end"``: the messages that had
        arrived on all members are delivered, then `Mux.receive` raises the `ConnectionClosed` of the
        first to disconnect, and iteration ends quietly if that was a normal close. ``"cancel"``: the
        block is cancelled at once, by a scope of its own that ends with it; an abnormal close is
        then raised at the end of the block. ``"drop"``: when its messages are delivered it is no member any
        more, and the others go on
    :param on_drop: with ``"drop"``, a plain function that is called with each member that has ended and with
        the exception that says why, after its last message: from within `Mux.receive`, out of which comes
        what it raises
    :raises TypeError: one is no connection; a list of them is to be given as ``mux(*connections)``
    :raises ValueError: there are neither connections nor a source, *on_disconnect* is something else, or
        *on_drop* would never be called
    :raises anyio.BusyResourceError: on entering: somebody receives from one of them already
    """
    given = cast("tuple[Mergeable, ...]", connections)  # which it looks at
    return _MuxContext(given, source, on_disconnect, on_drop)


class _MuxContext:
    def __init__(
        self,
        connections: Sequence[Mergeable],
        source: AsyncIterable[object] | None,
        on_disconnect: OnDisconnect,
        on_drop: Callable[[Any, Exception], object] | None,
    ) -> None:
        if not connections and source is None:
            raise ValueError("mux needs at least one connection, or a source of them")
        for one in connections:
            check_member(one)
        if source is not None and not isinstance(cast("object", source), AsyncIterable):
            raise TypeError(f"the source of a mux must be an asynchronous iterable, not {source!r}")
        if on_disconnect not in ("end", "cancel", "drop"):
            raise ValueError(
                f'on_disconnect must be "end", "cancel" or "drop", not {on_disconnect!r}'
            )
        if on_drop is not None:
            if on_disconnect != "drop":
                raise ValueError('on_drop is called only with on_disconnect="drop"')
            if inspect.iscoroutinefunction(on_drop):
                raise TypeError(f"on_drop must be a plain function, not {on_drop!r}")
        self._connections = connections
        self._source = source
        self._on_disconnect: OnDisconnect = on_disconnect
        self._on_drop = on_drop
        self._mux: Mux[Any, Any] | None = None

    async def __aenter__(self) -> Mux[Any, Any]:
        if self._mux is not None:
            raise RuntimeError("mux's context manager can be entered only once")
        self._group = anyio.create_task_group()
        self._scope = anyio.CancelScope()
        self._mux = Mux(self._group, self._scope.cancel, self._on_disconnect, self._on_drop)
        await self._group.__aenter__()
        try:
            self._mux.start(self._connections, self._source)
        except BaseException as exc:
            self._mux.close()
            await exit_group(self._group, exc, kept=self._mux.failures)
            raise
        self._scope.__enter__()
        return self._mux

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._mux is not None
        end = self._mux.closed_exc if self._on_disconnect == "cancel" else None
        self._mux.close()
        failures = self._mux.failures
        if exc is not None and not _with_cancellation(exc):
            # trio's scopes rebuild every group that passes them.
            self._scope.__exit__(None, None, None)
            return await exit_group(self._group, exc, kept=failures)
        try:
            caught = bool(self._scope.__exit__(exc_type, exc, traceback))
        except BaseException as rest:  # without the cancellation
            await exit_group(self._group, rest, kept=failures)
            raise
        if not (caught or exc is None):
            return await exit_group(self._group, exc, kept=failures)
        if end is not None and not isinstance(end, (ConnectionClosedOK, anyio.EndOfStream)):
            end.__suppress_context__ = True  # it isn't from the cancellation
            failures.append(end)
        await exit_group(self._group, None, kept=failures)
        return caught


def _with_cancellation(exc: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(cancelled) is not None
    return isinstance(exc, cancelled)
