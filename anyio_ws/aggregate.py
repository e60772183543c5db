"""`aggregate`: a handler that is called with several connections, once they are there.

Every connection has a serving task of its own. All but the last to come wait in theirs, first for the group
to be complete and then for its end; the last one's runs the handler. Who waits is told by the connection that
something happened (`WebSocket.attach_reader`): it has no further task, reads nothing, and the messages stay
where they are.

A group is complete in one step, without an await, so nobody can leave in the middle of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeAlias

import anyio

from .options import ProcessRequest
from .sansio import CloseCode
from .service import check_handler, is_end_of_connection
from .waiting import new_signal
from .websocket import WebSocket

__all__ = ["Aggregate", "GroupHandler", "aggregate"]

GroupHandler: TypeAlias = Callable[[set[WebSocket]], Awaitable[object]]
"""Called with as many connections as `aggregate` was told."""


def aggregate(
    n: int,
    handler: GroupHandler,
    *,
    key: Callable[[WebSocket], Hashable] | None = None,
    waiting_timeout: float | None = None,
    max_waiting: int | None = 1000,
) -> Aggregate:
    """Gather *n* clients and call ``handler(connections)`` with the set of their connections.

    What this returns is a connection handler: ``open_server(aggregate(2, play), ...)``, or a route of a
    `Router`. Any number of groups may gather, and be served, at the same time. A ``process_request`` of
    *handler*'s is asked about each client.

    Clients wait until there are enough; pings are answered, and what they send waits in their inboxes,
    within ``read_limit`` and ``max_queue``. One that leaves while waiting frees its place. If its inbox is
    full that isn't noticed, and the handler meets it: it receives what was sent, and then the end. When the
    server begins to shut down, those who wait are closed with 1001.

    *handler* runs in the serving task of the last who came; the serving tasks of the others wait for it. So
    that of the last cancels it, and no other: when another is cancelled, by whoever called an `endpoint`, its
    connection ends as if the client had left. Handlers look at ``ws.shutting_down`` of any of them.

    When the handler ends, all *n* connections are closed, each by its serving task: with 1000 if it returned;
    with 1011 if it raised an `Exception`, which is then treated as that of any handler, logged and given to
    ``on_handler_error`` once, with the connection of the last who came. A `ConnectionClosed` that it raises
    when one of the clients has left is no error: the others are closed with 1001. So they are if it was
    cancelled.

    :param n: how many, at least 1
    :param key: a plain function: only those with the same key are gathered, ``lambda ws: ws.request.path``
    :param waiting_timeout: seconds that a client waits, at most: then it is closed with 1013, try again later
    :param max_waiting: clients that may wait, with all keys; a further one is closed with 1013 at once
    :raises TypeError: *handler* isn't an async function, or *key* isn't a plain one
    :raises ValueError: *n*, *waiting_timeout* or *max_waiting* makes no sense
    """
    return Aggregate(n, handler, key, waiting_timeout, max_waiting)


class _Group:
    """Clients that wait for each other, and then for the end."""

    def __init__(self) -> None:
        self.places: dict[WebSocket, _Place] = {}
        self.ended = anyio.Event()
        self.code = CloseCode.GOING_AWAY
        self.reason = ""
        """What all are closed with in the end."""


class _Place:
    """A client's, while it waits."""

    def __init__(self, ws: WebSocket) -> None:
        self.is_served = False  # and waits no more
        self.changed = new_signal()
        self._reader = ws.attach_reader(self.changed.set)
        self._shutting_down = ws.shutting_down
        self._shutting_down.watch(self.changed.set)

    def leave(self) -> None:
        """Let others receive from the connection. Again, it does nothing."""
        self._reader.detach()
        self._shutting_down.unwatch(self.changed.set)


class Aggregate:
    """A handler for connections, which gathers them; made by `aggregate`."""

    def __init__(
        self,
        n: int,
        handler: GroupHandler,
        key: Callable[[WebSocket], Hashable] | None,
        waiting_timeout: float | None,
        max_waiting: int | None,
    ) -> None:
        """Not for users: `aggregate` makes it."""
        self.process_request: ProcessRequest | None = check_handler(handler)
        """The handler's own, if it has one."""
        if inspect.iscoroutinefunction(key):
            raise TypeError(f"key must be a plain function, not {key!r}")
        _check_amount("n", n)
        if max_waiting is not None:
            _check_amount("max_waiting", max_waiting)
        if waiting_timeout is not None and not waiting_timeout > 0:
            raise ValueError(
                f"waiting_timeout must be None or seconds, more than 0; got {waiting_timeout!r}"
            )
        self._n = n
        self._handler = handler
        self._key = key
        self._timeout = waiting_timeout
        self._most = max_waiting
        self._gathering: dict[Hashable, _Group] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many clients wait now."""
        return self._waiting

    async def __call__(self, /, *arguments: Any, **parameters: str) -> None:
        """Serve the last of *arguments*, a connection; the server does that.

        :param arguments: what comes before the connection isn't handed on: each client has its own
        :param parameters: of a router above; they are in `WebSocket.path_parameters`
        :raises Exception: of the handler, if this was the last who came
        """
        ws: WebSocket = arguments[-1]
        key = None if self._key is None else self._key(ws)
        group = self._gathering.get(key) or _Group()
        is_full = self._most is not None and self._waiting >= self._most
        if is_full and len(group.places) + 1 < self._n:
            await ws.aclose(CloseCode.TRY_AGAIN_LATER, "too many clients wait")
            return
        place = group.places[ws] = _Place(ws)
        self._gathering[key] = group
        self._waiting += 1
        try:
            connections = self._complete(group)
            if connections is None:
                await self._wait(ws, place)
        finally:
            if not place.is_served:
                place.leave()
                del group.places[ws]
                self._waiting -= 1
            if self._gathering.get(key) is group and (place.is_served or not group.places):
                del self._gathering[key]
        if place.is_served:
            await self._serve(group, ws, connections)
        elif ws.close_code is None:
            shuts_down = bool(ws.shutting_down)
            code = CloseCode.GOING_AWAY if shuts_down else CloseCode.TRY_AGAIN_LATER
            await ws.aclose(code, "" if shuts_down else "not enough others have come")

    def _complete(self, group: _Group) -> set[WebSocket] | None:
        """The connections of *group* if there are enough: they wait no more."""
        if len(group.places) < self._n:
            return None
        # One may have left whose task didn't have its turn since.
        connections = {ws for ws in group.places if ws.close_code is None}
        if len(connections) < self._n:
            return None
        for ws in connections:
            place = group.places[ws]
            place.is_served = True
            place.leave()
            place.changed.set()
        self._waiting -= len(connections)
        return connections

    async def _wait(self, ws: WebSocket, place: _Place) -> None:
        """Wait until it is served, or has no reason to wait any more."""
        with anyio.move_on_after(self._timeout):
            while not (place.is_served or ws.close_code is not None or ws.shutting_down):
                await place.changed.wait()

    async def _serve(
        self, group: _Group, ws: WebSocket, connections: set[WebSocket] | None
    ) -> None:
        """Wait for the end, or bring it about with those *connections*."""
        if connections is None:
            await group.ended.wait()
        else:
            await self._handle(group, ws, connections)
        if group.code is not CloseCode.NORMAL_CLOSURE:
            await ws.aclose(group.code, group.reason)

    async def _handle(self, group: _Group, ws: WebSocket, connections: set[WebSocket]) -> None:
        try:
            await self._handler(set(connections))
            group.code = CloseCode.NORMAL_CLOSURE
        except Exception as exc:
            has_lost_one = any(one.close_code is not None for one in connections)
            if not (has_lost_one and is_end_of_connection(exc)):
                group.code = CloseCode.INTERNAL_ERROR
                raise
            group.reason = "another client has left"
            ws.logger.debug("handler ended with one of its %d connections: %s", self._n, exc)
        finally:
            group.ended.set()


def _check_amount(name: str, amount: object) -> None:
    if not isinstance(amount, int) or amount < 1:
        raise ValueError(f"{name} must be an integer, at least 1; got {amount!r}")
