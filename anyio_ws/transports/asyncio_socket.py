"""A transport over a plain socket on asyncio, uvloop included: pushed, with no task.

The event loop reads and calls us. Writing goes to the socket directly as long as nothing waits, on
every loop alike, so that what the kernel takes has left when `write` returns; only the rest is the
event loop's to send. Its buffer limits are zero: it tells when that rest has left.

When the loop fails at sending that rest, it closes the socket, with whatever is still unread. Hence a
duplicate of it, from which the rest of the input is read as fast as the sink wants it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, cast

from .base import Sink, TypedAttributes
from .sockets import CHUNK, SocketAttributes, read_buffer, unsent_parts

__all__ = ["AsyncioSocketTransport", "over_asyncio"]


async def over_asyncio(sock: socket.socket) -> AsyncioSocketTransport:
    """Make a transport of a connected, non-blocking socket. Cancelling closes it."""
    loop = asyncio.get_running_loop()
    try:
        _, made = await loop.create_connection(
            lambda: AsyncioSocketTransport(sock, loop), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return made


class AsyncioSocketTransport(asyncio.BufferedProtocol):
    """See `anyio_ws.transports.base.Transport`, and `over_asyncio`."""

    has_to_run = False
    reader = None

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = sock
        self._loop = loop
        self.clock: Final = loop.time
        self._buffer = read_buffer()
        self._attributes = SocketAttributes(sock)
        self._transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._paused = False
        self._early = b""
        self._early_eof = False
        self._received = 0
        self._written = 0
        self._waiting = False  # the event loop has output of ours
        self._blocked = False  # and told us so
        self._eof_wanted = False
        self._eof_received = False
        self._failure: Exception | None = None  # of output
        self._failure_told = False
        self._closed = False  # by the event loop, which has called `connection_lost`
        self._remains: socket.socket | None = None
        self._cause: Exception | None = None
        self._over = False  # the sink is only told that the connection was lost
        self._alarm: asyncio.Handle | None = None

    @property
    def unsent(self) -> int:
        if not self._waiting or self._transport is None:
            return 0
        return self._transport.get_write_buffer_size()

    @property
    def sent_total(self) -> int:
        return self._written - self.unsent

    @property
    def received_total(self) -> int:
        return self._received

    @property
    def extra_attributes(self) -> TypedAttributes:
        return self._attributes

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._read_on()

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            if self._is_reading and self._transport is not None:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._read_on()

    def write(self, data: bytes, more: bytes = b"") -> None:
        if not data or self._eof_wanted or self._over or self._failure is not None:
            return
        sent, size = 0, len(data) + len(more)
        if not self._waiting:
            try:
                sent = self._socket.sendmsg((data, more)) if more else self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                self._output_failed(exc)
                return
            if sent == size:
                self._written += sent
                return
        assert self._transport is not None
        self._waiting = True
        self._written += size
        for rest in unsent_parts(data, more, sent):
            self._transport.write(rest)
        if not self._blocked:
            self._loop.call_soon(self._look)

    def call_writable(self) -> None:
        if not self._waiting:
            self._loop.call_soon(self._pass_has_ended)

    def write_eof(self) -> None:
        if self._eof_wanted or self._over:
            return
        self._eof_wanted = True
        self._end_output()

    def set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if when is not None and not self._over:
            self._alarm = self._loop.call_at(when, self._ring, None)

    def abort(self) -> None:
        self._finish(None)

    async def run(self) -> None:
        """There is nothing to run."""

    # The event loop's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's isn't an asyncio.Transport by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._transport.pause_reading()  # until there is a sink; uvloop doesn't listen yet

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        if self._sink is None or self._over:
            self._data_received(data)
        else:
            self._received += nbytes
            self._sink.data_received(data)

    def _data_received(self, data: bytes | memoryview) -> None:
        self._received += len(data)
        if self._sink is None:
            self._early += data
            if self._transport is not None:
                self._transport.pause_reading()
        elif not self._over:
            self._sink.data_received(data)

    def eof_received(self) -> bool:
        if self._sink is None:
            self._early_eof = True
            return True
        self._eof_received = True
        if self._over:
            pass
        elif self._failure is not None:
            self._finish(self._failure)
        else:
            self._sink.eof_received()
            if self._eof_wanted and not self._waiting:
                self._finish(None)
        return True  # closing is up to us

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._output_has_left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._waiting = False
        if exc is None or self._over or self._eof_received:
            if not self._over:
                self._cause = self._failure or exc
            self._tell_end()
            return
        if self._failure is None:
            self._failure = exc
        try:
            self._remains = self._socket.dup()
            self._remains.setblocking(False)
        except OSError:
            pass  # no descriptor is left
        self._read_remains()

    # Input that the event loop isn't asked for: from before there was a sink, and from after its failure.

    @property
    def _is_reading(self) -> bool:
        """Whether the event loop reads, if it wasn't paused."""
        # After the end of the input asyncio would find it again.
        return not (self._eof_received or self._transport is None or self._transport.is_closing())

    def _read_on(self) -> None:
        if self._early or self._early_eof or self._closed:
            self._loop.call_soon(self._catch_up)
        elif self._is_reading and self._transport is not None:
            self._transport.resume_reading()

    def _catch_up(self) -> None:
        if self._early and not self._paused:
            early, self._early = self._early, b""
            self._received -= len(early)
            self._data_received(early)
        if self._paused or self._over:
            return
        if self._early_eof:
            self._early_eof = False
            self.eof_received()
        elif self._closed:
            self._read_remains()
        else:
            self._read_on()

    def _read_remains(self) -> None:
        """Hand over what had arrived before the connection broke; no more will."""
        while self._sink is not None and not self._over:
            if not (self._held_back() or self._remaining(socket.MSG_PEEK)):
                self._finish(self._failure)
                return
            self._tell_failure()
            if self._held_back():
                return
            self._data_received(self._remaining())

    def _held_back(self) -> bool:
        return self._paused or self._over or bool(self._early)

    def _remaining(self, flags: int = 0) -> bytes:
        if self._remains is None:
            return b""
        try:
            return self._remains.recv(CHUNK, flags)
        except OSError:
            return b""

    # The alarm.

    def _ring(self, received: int | None) -> None:
        """Call the sink, after one more look: *received* is what had been read when it began."""
        self._alarm = None
        if self._over or self._sink is None:
            pass
        elif received in (None, self._received) and self._is_readable():
            # The event loop reads first. Once: a peer that never pauses can't put the alarm off.
            self._alarm = self._loop.call_soon(self._ring, self._received)
        else:
            self._sink.alarm()

    def _is_readable(self) -> bool:
        """Whether there is something that the event loop will read as soon as it looks."""
        if self._paused or self._eof_received or self._remains is not None:
            return False
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    # Output.

    def _pass_has_ended(self) -> None:
        if self._sink is None or self._failure is not None:
            return
        if not (self._waiting or self._over):
            self._sink.writable()

    def _look(self) -> None:
        """Notice that output has left where the event loop tells nothing: it never had to wait."""
        if self._waiting and not (self._blocked or self._over or self._has_failed):
            if self.unsent:
                self._loop.call_soon(self._look)  # uvloop writes at the end of its pass
            else:
                self._output_has_left()

    @property
    def _has_failed(self) -> bool:
        """Whether the event loop gave up: it has dropped its output, and `connection_lost` follows."""
        return self._transport is not None and self._transport.is_closing()

    def _output_has_left(self) -> None:
        if not self._waiting or self._over or self._sink is None:
            return
        self._waiting = False
        self._sink.writable()  # may write again, or end it
        self._end_output()

    def _end_output(self) -> None:
        """Half-close, if that is wanted and everything has left."""
        if not self._eof_wanted or self._waiting or self._over or self._failure is not None:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer has gone; reading finds out how
        if self._eof_received:
            self._finish(None)

    def _output_failed(self, exc: OSError) -> None:
        self._failure = exc
        self._loop.call_soon(self._tell_failure)

    def _tell_failure(self) -> None:
        if self._over or self._failure_told or self._sink is None or self._failure is None:
            return
        self._failure_told = True
        if self._eof_received:
            self._finish(self._failure)
        else:
            self._sink.output_lost(self._failure)

    # The end.

    def _finish(self, cause: Exception | None) -> None:
        """Have the event loop end the connection, which calls `connection_lost`."""
        if self._over:
            return
        self._written -= self.unsent
        self._waiting = False
        self._over = True
        self.set_alarm(None)
        self._cause = cause
        if self._closed:
            self._loop.call_soon(self._tell_end)
        elif self._transport is not None:
            # Not from within its own calls: asyncio would call `connection_lost` twice.
            self._loop.call_soon(self._transport.abort)

    def _tell_end(self) -> None:
        self._over = True
        self.set_alarm(None)
        if self._remains is not None:
            self._remains.close()
            self._remains = None
        if self._sink is not None:
            self._sink.connection_lost(self._cause)
