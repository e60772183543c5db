"""Messages that are offered to a connection, by those who send to many and wait for none of them.

What has room is committed at once. What hasn't waits in the connection's backlog, which exists for as long as
there is something in it; or the policy of whoever offers it decides.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable

from .backlog import Backlog, Delivery, Overflow
from .connection import Connection
from .sansio import CloseCode, State
from .sansio.prepared import PreparedMessage

__all__ = ["offer"]


def offer(
    connection: Connection,
    message: PreparedMessage,
    overflow: Overflow,
    max_buffered: int,
    key: Hashable | None,
) -> Delivery:
    """Send *message*, let it wait, or do what *overflow* says; see `WebSocket.offer`."""
    if connection.protocol.state is not State.OPEN:
        return Delivery.SKIPPED
    if connection.turnstile.open:
        connection.commit_prepared(message)
        return Delivery.SENT
    connection.check_open()
    if connection.backlog is None:
        connection.backlog = Backlog(_Outlet(connection))
    limit = max_buffered - connection.committed
    delivery = connection.backlog.add(message, overflow, limit, key)
    if delivery is Delivery.DISCONNECTED:
        _disconnect(connection)
    elif not connection.backlog.count:
        connection.backlog = None
    return delivery


def _disconnect(connection: Connection) -> None:
    """Close the connection of a peer that doesn't take what it is sent as fast as that comes."""
    if connection.backlog is not None:
        connection.backlog.clear()
    connection.name_peer()
    connection.protocol.log(
        logging.INFO,
        "closing, too slow: %d bytes wait to be sent, peer %s",
        connection.committed,
        connection.protocol.remote_address,
    )
    connection.send_close(CloseCode.POLICY_VIOLATION, "too slow")
    # The Close frame waits behind the rest, and nobody may be waiting for the end.
    connection.end_within(connection.config.close_timeout)


class _Outlet:
    """A connection as its backlog knows it; see `anyio_ws.backlog.Outlet`."""

    __slots__ = ("_connection", "turnstile")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.turnstile = connection.turnstile

    def has_room(self) -> bool:
        connection = self._connection
        if connection.protocol.state is not State.OPEN or connection.output_over:
            return False
        return (
            not connection.sending_fragments
            and connection.committed <= connection.config.write_limit
        )

    def take_over(self, message: PreparedMessage) -> None:
        connection = self._connection
        try:
            connection.queue_prepared(message)
        except Exception as exc:  # an extension's; nobody is there to whom it could be raised
            connection.lost_cause = exc
            connection.break_off()

    def moved(self) -> None:
        connection = self._connection
        connection.pump()
        connection.progress.set()
        if connection.backlog is not None and not connection.backlog.count:
            connection.backlog = None

    def call_back(self) -> None:
        self._connection.transport.call_writable()
