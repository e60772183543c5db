"""One message to many connections: `broadcast`, which never waits, and `broadcast_and_wait`.

There is no task and no queue here. A message is encoded once and offered to each connection
(`WebSocket.offer`); what a connection has no room for waits in that connection's own backlog, within bounds,
and is sent from there when its peer reads on. So one that is stalled costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast, get_args

import anyio
from anyio.lowlevel import checkpoint

from .backlog import MAX_BUFFERED, Delivery, Overflow
from .exceptions import ConnectionClosed
from .websocket import BytesLike, PreparedMessage, WebSocket

__all__ = ["BroadcastResult", "PreparedMessage", "broadcast", "broadcast_and_wait"]

Unready: TypeAlias = Literal["disconnect", "drop"]
"""What happens to a client that has no room in time."""

_OVERFLOWS: Final = get_args(Overflow)

_SENT: Final = Delivery.SENT  # an attribute of an enumeration takes as long as a call


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastResult:
    """What became of a message: each connection is in one of these, some in `dropped` as well."""

    sent: int = 0
    """How many were sent it: it is committed, as when `WebSocket.send` has returned."""
    queued: tuple[WebSocket, ...] = ()
    """For these it waits until there is room."""
    dropped: tuple[WebSocket, ...] = ()
    """These miss a message: this one, or an older one if they are in `queued`, too (``"drop_oldest"``)."""
    disconnected: tuple[WebSocket, ...] = ()
    """These had no room, and are being closed with 1008."""
    skipped: tuple[WebSocket, ...] = ()
    """These weren't open, or ended while they were waited for."""
    failed: Mapping[WebSocket, Exception] = field(default_factory=dict[WebSocket, Exception])
    """These couldn't be sent it: the connection is broken, or an extension of yours raised."""

    @property
    def complete(self) -> bool:
        """Whether all of them got it, or will unless they end: none misses a message."""
        return not (self.dropped or self.disconnected or self.skipped or self.failed)


class _Exceptions:
    """The connections that weren't simply sent the message."""

    def __init__(self) -> None:
        self.lists: dict[Delivery, list[WebSocket]] = {}
        self.failed: dict[WebSocket, Exception] = {}

    def add(self, ws: WebSocket, delivery: Delivery) -> None:
        self.lists.setdefault(delivery, []).append(ws)

    def result(self, sent: int) -> BroadcastResult:
        def of(delivery: Delivery) -> list[WebSocket]:
            return self.lists.get(delivery, [])

        displaced = of(Delivery.DISPLACED)
        return BroadcastResult(
            sent=sent,
            queued=(*of(Delivery.QUEUED), *displaced),
            dropped=(*of(Delivery.DROPPED), *displaced),
            disconnected=tuple(of(Delivery.DISCONNECTED)),
            skipped=tuple(of(Delivery.SKIPPED)),
            failed=self.failed,
        )


def broadcast(
    connections: Iterable[WebSocket],
    message: str | BytesLike | PreparedMessage,
    *,
    overflow: Overflow = "disconnect",
    max_buffered: int = MAX_BUFFERED,
    key: Hashable | None = None,
    compress: bool = True,
    raise_exceptions: bool = False,
) -> BroadcastResult:
    """Send *message* to all of *connections*. A plain function, which never waits for any of them.

    It is encoded once, and compressed once, for all connections with the same settings. A connection that
    has room, as for `WebSocket.send`, is sent it at once: it is committed, or has left. For any other it
    waits, in its turn with the tasks that wait in `WebSocket.send`: after a message that is being sent in
    fragments, say. So whoever calls this and then awaits ``ws.send(...)`` has sent in this order.
    *overflow* is for those who don't take what they are sent as fast as it comes, once *max_buffered* is
    reached:

    - ``"disconnect"``: the connection is closed with 1008, and aborted if it hasn't ended ``close_timeout``
      seconds later. What was waiting is dropped. A client that is there has missed nothing.
    - ``"drop"``: it doesn't get this message.
    - ``"drop_oldest"``: it doesn't get the oldest of those that wait and were sent so.
    - ``"coalesce"``: of the messages with equal *key* that wait, also below *max_buffered*, only the newest
      is kept, in the place of the oldest. Where that isn't enough, as ``"disconnect"``.

    What was committed, or waits by another policy, is neither dropped nor replaced; nor is part of a
    message ever.

    Connections that aren't open are skipped. A connection that turns out to be broken doesn't keep the others
    from being sent it.

    :param message: `str` as text, bytes-like as binary; a `PreparedMessage` spares encoding it in each call
    :param max_buffered: bytes that may wait to leave on a connection, each message that isn't committed yet
        counted as 512 more. Up to ``write_limit`` are committed in any case, and one message
    :param key: what messages are told apart by, per connection, for ``"coalesce"``; without one nothing is
        replaced
    :param compress: as for `WebSocket.send`; a `PreparedMessage` says it itself
    :param raise_exceptions: whether to raise what became `BroadcastResult.failed`, after all were sent it
    :raises TypeError: *message* is none of these
    :raises ValueError: *overflow* is something else
    :raises ExceptionGroup: what went wrong with each, if *raise_exceptions*
    """
    if overflow not in _OVERFLOWS:
        raise ValueError(f"overflow must be one of {', '.join(_OVERFLOWS)}, not {overflow!r}")
    if not isinstance(message, PreparedMessage):
        message = PreparedMessage(message, compress=compress)
    sent = 0
    others: _Exceptions | None = None
    for ws in connections:
        try:
            delivery = ws.offer(message, overflow, max_buffered, key)
        except Exception as exc:
            if not isinstance(cast("object", ws), WebSocket):
                raise TypeError(f"broadcast takes connections, not {ws!r}") from exc
            others = others or _Exceptions()
            others.failed[ws] = exc
            continue
        if delivery is _SENT:
            sent += 1
        else:
            others = others or _Exceptions()
            others.add(ws, delivery)
    if others is None:
        return BroadcastResult(sent=sent)
    result = others.result(sent)
    return _raise_failures(result) if raise_exceptions else result


async def broadcast_and_wait(
    connections: Iterable[WebSocket],
    message: str | BytesLike | PreparedMessage,
    *,
    timeout: float,  # noqa: ASYNC109  # what has run out of it is told apart
    overflow: Unready = "disconnect",
    compress: bool = True,
    raise_exceptions: bool = False,
) -> BroadcastResult:
    """Send *message* to all of *connections*, and wait up to *timeout* seconds for those that have no room.

    Those that have room are sent it first, as by `broadcast`. The others are waited for at the same time,
    each in its turn with the tasks that wait in `WebSocket.send`; none holds up another. It returns when
    all were sent it, or when the time is over, with nothing left in `BroadcastResult.queued`.

    Cancelling ends the waiting: some have been sent the whole message, and the others won't be sent anything
    of it. None is disconnected.

    :param message: as for `broadcast`
    :param timeout: in seconds; 0 for those that have room at once
    :param overflow: what happens to those that have no room in time: ``"disconnect"`` closes them with 1008,
        ``"drop"`` leaves it at that they don't get this message
    :param compress: as for `broadcast`
    :param raise_exceptions: as for `broadcast`
    :raises TypeError: as `broadcast`
    :raises ValueError: *overflow* is something else
    :raises ExceptionGroup: as `broadcast`
    """
    if overflow not in get_args(Unready):
        raise ValueError(f"overflow must be disconnect or drop, not {overflow!r}")
    if not isinstance(message, PreparedMessage):
        message = PreparedMessage(message, compress=compress)
    await checkpoint()
    at_once = broadcast(connections, message, overflow="drop", max_buffered=0)
    late = dict.fromkeys(at_once.dropped)
    if not late:
        return _raise_failures(at_once) if raise_exceptions else at_once
    sent = 0
    ended: list[WebSocket] = []
    failed: dict[WebSocket, Exception] = {}

    async def send(ws: WebSocket) -> None:
        nonlocal sent
        try:
            await ws.send(message)
            sent += 1
        except ConnectionClosed:
            ended.append(ws)
        except Exception as exc:
            failed[ws] = exc
        del late[ws]

    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as tasks:
            for ws in tuple(late):
                tasks.start_soon(send, ws)
    too_late = broadcast(late, message, overflow=overflow, max_buffered=0)
    result = BroadcastResult(
        sent=at_once.sent + sent + too_late.sent,
        dropped=too_late.dropped,
        disconnected=too_late.disconnected,
        skipped=(*at_once.skipped, *ended, *too_late.skipped),
        failed={**at_once.failed, **failed, **too_late.failed},
    )
    return _raise_failures(result) if raise_exceptions else result


def _raise_failures(result: BroadcastResult) -> BroadcastResult:
    if result.failed:
        raise ExceptionGroup("broadcast failed", list(result.failed.values()))
    return result
