"""Frames on their way out, in two lanes.

Ping and Pong pass at the next frame boundary, so that a long message doesn't make a peer look dead;
data and Close keep their order. At most `MAX_PONGS` Pongs wait: answering the latest Ping answers those
before it (RFC 6455, section 5.5.3), so a peer that floods pings and doesn't read costs nothing. Small
frames that follow each other are held joined: tens of thousands of them fit into ``write_limit``, and an
object for each would take many times that.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from .sansio.protocol import MAX_PONGS

__all__ = ["JOINED", "Outbox"]

JOINED: Final = 2**14
"""Bytes up to which frames are joined."""

_PING: Final = 0x9
_PONG: Final = 0xA


class Outbox:
    """Serialized frames in the order in which they are to leave."""

    __slots__ = ("_lane", "_pings", "_pongs", "count", "size")

    def __init__(self) -> None:
        # An empty deque takes as much memory as all the rest; few connections have anything to hold.
        self._lane: deque[bytes | bytearray] | None = None
        self._pings: list[bytes] = []
        self._pongs: list[bytes] = []
        self.count: int = 0
        """How often `next` has something."""
        self.size: int = 0
        """Bytes in both lanes."""

    @property
    def has_ping(self) -> bool:
        """Whether there is a Ping."""
        return bool(self._pings)

    def add(self, data: bytes) -> None:
        """Add what the protocol gave: a frame, the handshake, or b"" for the end of the stream."""
        opcode = data[0] & 0x0F if data else None  # neither lane's letters: b"G"ET, b"H"TTP
        if opcode == _PONG:
            if len(self._pongs) == MAX_PONGS:
                self.size -= len(self._pongs.pop())
                self.count -= 1
            self._pongs.append(data)
        elif opcode == _PING:
            self._pings.append(data)
        else:
            self.add_in_order(data)
            return
        self.size += len(data)
        self.count += 1

    def add_in_order(self, data: bytes) -> None:
        """Add what passes nothing, whatever it is."""
        self.size += len(data)
        if self._lane is None:
            self._lane = deque([data])
        elif data and len(self._lane[-1]) + len(data) <= JOINED:
            last = self._lane[-1]
            if isinstance(last, bytes):
                last = self._lane[-1] = bytearray(last)
            last += data
            return
        else:
            self._lane.append(data)
        self.count += 1

    def next(self) -> tuple[bytes, bool]:
        """Remove what is to leave next, one frame or several; whether it is a Ping comes with it."""
        ping = False
        if self._pongs:
            data = self._pongs.pop(0)
        elif self._pings:
            data, ping = self._pings.pop(0), True
        else:
            assert self._lane is not None, "the outbox is empty"
            data = bytes(self._lane.popleft())
            if not self._lane:
                self._lane = None
        self.size -= len(data)
        self.count -= 1
        return data, ping

    def clear(self) -> None:
        """Drop everything."""
        self._lane = None
        self._pings.clear()
        self._pongs.clear()
        self.count = self.size = 0
