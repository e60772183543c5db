"""Two connected byte streams without a socket, as generous or as stubborn as a test needs.

A connection is two pipes. A send appends all its bytes to its pipe and then waits for as long as
the pipe holds more than its capacity: what exceeds the capacity belongs to that send, and is
withdrawn when the send ends early. Hence one rule for all three variants. Waiting tasks are only
woken, never handed anything: they look at the pipe when they run again, so no kind of
cancellation can lose a byte.
"""

from __future__ import annotations

from typing import Final

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

__all__ = ["MemoryByteStream", "memory_stream_pair"]


class _Pipe:
    """One direction of a connection."""

    __slots__ = ("_waiting", "broken", "capacity", "data", "ended", "unheard")

    def __init__(self, capacity: int | None) -> None:
        self.capacity: Final = capacity
        self.data: bytearray = bytearray()
        self.ended: bool = False  # no bytes follow the ones in data
        self.unheard: bool = False  # the reading end was closed
        self.broken: bool = False
        self._waiting: set[anyio.Event] = set()

    @property
    def overfull(self) -> bool:
        return self.capacity is not None and len(self.data) > self.capacity

    def put(self, item: bytes | bytearray | memoryview) -> None:
        self.data += item
        self.wake()

    def withdraw_excess(self) -> None:
        if self.capacity is not None:
            del self.data[self.capacity :]

    def take(self, max_bytes: int) -> bytes:
        if self.capacity:  # what a waiting send still holds isn't in the buffer yet
            max_bytes = min(max_bytes, self.capacity)
        taken = bytes(self.data[:max_bytes])
        del self.data[:max_bytes]
        self.wake()
        return taken

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        """Wait for a change, of whatever kind."""
        event = anyio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.remove(event)


class MemoryByteStream(anyio.abc.ByteStream):
    """One end of a connection in memory. Get two of them from :func:`memory_stream_pair`.

    Keeps the contract of :class:`anyio.abc.ByteStream`, exceptions included; every async method is
    a checkpoint.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, chunk: int | None) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._chunk = chunk
        self._closed = False
        self._receive_guard = anyio.ResourceGuard("reading from")
        self._send_guard = anyio.ResourceGuard("writing to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return from 1 to *max_bytes* bytes (or the pair's *chunk*) as soon as there are any.

        Cancelling loses nothing.

        :raises EndOfStream: the peer has sent EOF or closed, and everything before that was
            received
        :raises BrokenResourceError: the peer has reset the connection; what it had sent before is
            gone
        :raises ClosedResourceError: this end was closed or reset, before or while we waited
        :raises BusyResourceError: another task is receiving
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._chunk is not None:
            max_bytes = min(max_bytes, self._chunk)
        incoming = self._incoming
        with self._receive_guard:
            await checkpoint()
            while True:
                self._check_connected()
                if incoming.data:
                    return incoming.take(max_bytes)
                if incoming.ended:
                    raise anyio.EndOfStream
                await incoming.wait()

    async def send(self, item: bytes | bytearray | memoryview) -> None:
        """Send *item*. Return at once, or when the pair's *buffer* allows it.

        Cancelling an unbounded send before it returned means that nothing was sent. In the other
        two variants, the peer may by then have got, or still get, a part of *item* or all of it, as
        with a socket.

        :raises BrokenResourceError: the peer has closed or reset the connection, before or while we
            waited
        :raises ClosedResourceError: this end was closed, reset or has sent EOF, before or while we
            waited
        :raises BusyResourceError: another task is sending
        """
        outgoing = self._outgoing
        with self._send_guard:
            await checkpoint()
            self._check_sendable()
            outgoing.put(item)
            try:
                while outgoing.overfull:
                    self._check_sendable()
                    await outgoing.wait()
                    if self._closed:  # aclose() has withdrawn our bytes: the pipe doesn't tell
                        raise anyio.ClosedResourceError
            finally:
                outgoing.withdraw_excess()

    async def send_eof(self) -> None:
        """End this direction: the peer gets EndOfStream after what was sent before.

        Receiving goes on. Does nothing the second time. Cancelled means not sent.

        :raises BrokenResourceError: the peer has reset the connection
        :raises ClosedResourceError: this end was closed or reset
        :raises BusyResourceError: another task is sending
        """
        with self._send_guard:
            await checkpoint()
            self._check_connected()
            self._outgoing.ended = True
            self._outgoing.wake()

    async def aclose(self) -> None:
        """Close both directions.

        The peer can still receive what is buffered, then it gets EndOfStream. What this end hasn't
        received is dropped. Does nothing the second time. Cancelling doesn't prevent the closing.
        """
        if not self._closed:
            self._closed = True
            self._incoming.unheard = True
            self._outgoing.withdraw_excess()
            self._outgoing.ended = True
            self._incoming.wake()
            self._outgoing.wake()
        await checkpoint()

    def reset(self) -> None:
        """Break the connection, as a TCP RST does, and close this end.

        Whatever is on its way in either direction is dropped, and the peer's calls raise
        BrokenResourceError. May follow :meth:`aclose`.
        """
        self._closed = True
        self.sever()

    def sever(self) -> None:
        """Break the connection for both ends, as a network between them does.

        Whatever is on its way is dropped, and the calls of either end that isn't closed raise
        BrokenResourceError.
        """
        for pipe in (self._incoming, self._outgoing):
            pipe.broken = True
            pipe.wake()

    def _check_connected(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._outgoing.broken:  # both are, or none
            raise anyio.BrokenResourceError

    def _check_sendable(self) -> None:
        self._check_connected()
        if self._outgoing.ended:
            raise anyio.ClosedResourceError
        if self._outgoing.unheard:
            raise anyio.BrokenResourceError


def memory_stream_pair(
    *, buffer: int | None = None, chunk: int | None = None
) -> tuple[MemoryByteStream, MemoryByteStream]:
    """Return the two ends of a new connection in memory.

    *buffer* says how many bytes a direction holds between sender and receiver:

    * ``None``: any number, a send never waits;
    * ``0``: none (lock-step), a send returns when the peer has received all its bytes;
    * ``N``: N bytes, a send returns when all its bytes are received or buffered. A peer that stops
      reading is an end that nobody receives from: sending to it blocks at byte N.

    *chunk* is the most that one ``receive``, at either end, returns: 1 cuts at every byte. Needs no
    event loop.
    """
    if buffer is not None and buffer < 0:
        raise ValueError("buffer must not be negative")
    if chunk is not None and chunk < 1:
        raise ValueError("chunk must be at least 1")
    one, other = _Pipe(buffer), _Pipe(buffer)
    return MemoryByteStream(one, other, chunk), MemoryByteStream(other, one, chunk)
