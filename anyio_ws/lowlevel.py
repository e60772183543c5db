"""What goes below messages, on a live connection: for tests, and for protocols beyond RFC 6455."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

from .connection import Connection
from .sansio import Frame
from .waiting import wait_for

__all__ = ["LowLevel"]


class LowLevel:
    """Ways past the rules of the protocol; see `WebSocket.lowlevel`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        """Not for users: it is an attribute of connections."""
        self._connection = connection

    async def send_frame(self, frame: Frame) -> None:
        """Send a frame as it is: with any opcode, any bits, any payload.

        It goes behind everything that was sent before, pings as well. It waits while more than
        ``write_limit`` bytes haven't left, but for nobody's turn: not for others that wait to send, and not
        for the end of a message that is being sent in fragments. When it returns the frame is committed; when
        it is cancelled, nothing of it was or will be sent.

        A client masks it. Nothing else is done to it or because of it: it isn't compressed, not cut, not
        counted, and no rule is checked. What that breaks is the peer's to say, which mostly fails the
        connection with 1002. After a Close frame of yours the connection is as open as before; the peer's
        answer will be taken for one of its own, and answered.

        :param frame: a reserved opcode may stand as ``Opcode(0x3)``
        :raises TypeError: the payload isn't bytes-like
        :raises ValueError: the opcode doesn't have four bits
        :raises ConnectionClosed: the connection is closed
        """
        connection = self._connection
        await checkpoint()
        while not connection.has_room():
            await wait_for(connection, connection.progress)
        connection.commit_frame(frame)
