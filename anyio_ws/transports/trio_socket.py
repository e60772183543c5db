"""A transport over a plain socket on trio.

`TrioSocketTransport.run` reads; or a task that waits for a message does, in `read`, which spares every
message the way through a second task: half of the scheduling. Then `run` is parked, and takes over again
when nobody has read for a moment (`VACANT`). Who waits in ``wait_readable`` is woken with
``notify_closing``, which is the one way to do that to somebody else's task.

Writing goes to the socket directly as long as nothing waits; what the kernel doesn't take wakes the flusher,
a task that lives until everything has left. Every call on the socket is non-blocking: a task waits only
after the kernel said that it has to.

How it ends is as for every transport: when both directions ended, or reading failed. When writing fails,
what the peer had sent before is still there to be read, and reading then meets the end by itself.
"""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from typing import Final

import trio

from .base import Reader, Sink, TypedAttributes
from .sockets import SocketAttributes, read_buffer, unsent_parts

__all__ = ["TrioSocketTransport"]

VACANT: Final = 0.005
"""Seconds, once or twice, that nobody reads after a task has stopped to; what arrives waits in the kernel."""


class _Watch:
    """Over the connections of a run that are lent and not read: who doesn't return loses them to their `run`.

    One of them has a timer for all: one each would go off for every message that comes alone.
    """

    __slots__ = ("_before", "_watcher", "away")

    def __init__(self) -> None:
        self.away: set[TrioSocketTransport] = set()
        """Lent, and nobody reads."""
        # How often they had been read, at the last look.
        self._before: dict[TrioSocketTransport, int] = {}
        self._watcher: TrioSocketTransport | None = None  # whose `run` has the timer

    def begin(self, transport: TrioSocketTransport) -> None:
        """Let *transport* have the timer, if nobody has; its `run` is parked."""
        if self._watcher is None:
            self._watcher = transport
            transport.vacant.deadline = trio.current_time() + VACANT

    def leave(self, transport: TrioSocketTransport) -> None:
        """*transport* is over."""
        self.away.discard(transport)
        self._before.pop(transport, None)

    def end(self, transport: TrioSocketTransport) -> None:
        """*transport* isn't parked any more; if it had the timer, this is the time to look."""
        if self._watcher is not transport:
            return
        self._watcher = None
        before, self._before = self._before, {one: one.reads for one in self.away}
        for one, reads in before.items():
            if self._before.get(one) == reads:
                one.give_back()
        for one in self.away:
            if one.is_parked:
                self.begin(one)
                break


_watch: Final = trio.lowlevel.RunVar[_Watch]("anyio_ws's watch")


def _watch_of_run() -> _Watch:
    try:
        return _watch.get()
    except LookupError:
        watch = _Watch()
        _watch.set(watch)
        return watch


class TrioSocketTransport:
    """See `anyio_ws.transports.base.Transport`. Takes a connected, non-blocking socket over."""

    __slots__ = (  # as many as these, and each instance would have a dictionary of its own
        "_alarm",
        "_attributes",
        "_borrowed",
        "_buffer",
        "_cause",
        "_eof_received",
        "_eof_sent",
        "_eof_wanted",
        "_failure",
        "_failure_told",
        "_flushing",
        "_lent",
        "_nursery",
        "_output",
        "_over",
        "_reads_in_run",
        "_received_total",
        "_resumed",
        "_scope",
        "_sent_total",
        "_sink",
        "_socket",
        "_unsent",
        "_until_alarm",
        "_watch",
        "_writable_wanted",
        "clock",
        "is_parked",
        "reads",
        "vacant",
    )

    has_to_run = True

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = read_buffer()
        self._attributes = SocketAttributes(sock)
        self.clock: Final = trio.lowlevel.current_clock().current_time
        self._sink: Sink | None = None
        self._resumed: trio.Event | None = None  # while reading is paused
        self._alarm = math.inf
        self._until_alarm: trio.CancelScope | None = None
        self._received_total = 0
        self._output: list[memoryview] = []
        self._unsent = 0
        self._sent_total = 0
        self._eof_wanted = False
        self._eof_sent = False
        self._eof_received = False
        self._failure: OSError | None = None  # of output
        self._failure_told = False
        self._flushing = False
        self._writable_wanted = False  # before `run` could see to it
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._cause: Exception | None = None
        self._over = False  # the sink is only told that the connection was lost
        self._reads_in_run = False  # `run` waits for input
        self._lent = False  # a task in `read` is who reads, now or in a moment
        self._borrowed = False  # now
        self._watch = _watch_of_run()
        self.reads: int = 0
        """How often `read` was called."""
        self.is_parked: bool = False
        """Whether `run` waits until the connection isn't lent any more."""
        self.vacant: trio.CancelScope = trio.CancelScope()
        """What `run` is parked in."""

    @property
    def reader(self) -> Reader:
        return self

    @property
    def unsent(self) -> int:
        return self._unsent

    @property
    def sent_total(self) -> int:
        return self._sent_total

    @property
    def received_total(self) -> int:
        return self._received_total

    @property
    def extra_attributes(self) -> TypedAttributes:
        return self._attributes

    def start(self, sink: Sink) -> None:
        self._sink = sink

    def pause_reading(self) -> None:
        if self._resumed is None:
            self._resumed = trio.Event()

    def resume_reading(self) -> None:
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            resumed.set()

    def write(self, data: bytes, more: bytes = b"") -> None:
        if not data or self._eof_wanted or self._over or self._failure is not None:
            return
        sent, size = 0, len(data) + len(more)
        if not self._output:
            try:
                sent = self._socket.sendmsg((data, more)) if more else self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                self._failure = exc
                self._wake_flusher()
                return
            self._sent_total += sent
            if sent == size:
                return
        self._output += unsent_parts(data, more, sent)
        self._unsent += size - sent
        self._wake_flusher()

    def call_writable(self) -> None:
        if self._nursery is None:
            self._writable_wanted = True
        self._wake_flusher()

    def write_eof(self) -> None:
        self._eof_wanted = True
        if not self._output:
            self._shut_down()

    def set_alarm(self, when: float | None) -> None:
        self._alarm = math.inf if when is None else when
        if self._until_alarm is not None:
            self._until_alarm.deadline = self._alarm

    def abort(self) -> None:
        self._finish(None)

    @trio.lowlevel.enable_ki_protection  # a KeyboardInterrupt is for the program
    async def run(self) -> None:
        assert self._sink is not None, "start() wasn't called"
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    try:
                        if self._output or self._failure is not None or self._writable_wanted:
                            self._wake_flusher()
                        await trio.lowlevel.checkpoint()  # aborted before we came to run?
                        while True:  # after reading, too: output may still have to leave
                            await self._wait(self._sink)
                            self._alarm = math.inf
                            if self._resumed is None and not self._eof_received:
                                self._read_chunk(self._sink)
                            if not self._over:
                                self._sink.alarm()
                    finally:
                        self._nursery = None  # it takes no more tasks, and ends in a moment
        finally:
            self._over = True
            self._watch.leave(self)
            self._output.clear()
            self._unsent = 0
            if self._borrowed:
                trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._sink.connection_lost(self._cause)

    async def _wait(self, sink: Sink) -> None:
        """Read, until the alarm."""
        with trio.CancelScope(deadline=self._alarm) as self._until_alarm:
            while not self._eof_received:
                if self._resumed is not None:
                    await self._resumed.wait()
                elif self._lent:
                    await self._wait_while_lent()
                elif self._read_chunk(sink) < len(self._buffer):
                    self._reads_in_run = True
                    with suppress(trio.ClosedResourceError):  # it was lent
                        await trio.lowlevel.wait_readable(self._socket)
                    self._reads_in_run = False
                else:
                    await trio.lowlevel.checkpoint()  # there is probably more
            await trio.sleep_forever()

    async def _wait_while_lent(self) -> None:
        while self._lent:
            with trio.CancelScope() as self.vacant:
                self.is_parked = True
                try:
                    if not self._borrowed:
                        self._watch.away.add(self)
                        self._watch.begin(self)
                    await trio.sleep_forever()
                finally:
                    self.is_parked = False
                    self._watch.end(self)

    # Lending.

    @property
    def ready(self) -> bool:
        return self._nursery is not None and not (
            self._over or self._eof_received or self._resumed is not None
        )

    async def read(self) -> None:
        assert self._sink is not None
        if not self._lent:
            self._lent = True
            if self._reads_in_run:
                trio.lowlevel.notify_closing(self._socket)
        self.reads += 1
        self._borrowed = True
        self._watch.away.discard(self)
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except trio.ClosedResourceError:
            return  # interrupted, or it is over
        finally:
            self._borrowed = False
            if not self._over:
                self._watch.away.add(self)
                if self.is_parked:
                    self._watch.begin(self)
        if self.ready:
            self._read_chunk(self._sink)

    def interrupt(self) -> None:
        if self._borrowed and not self._over:
            trio.lowlevel.notify_closing(self._socket)

    def give_back(self) -> None:
        if self._lent and not self._borrowed:
            self._lent = False
            self._watch.away.discard(self)
            self.vacant.cancel()

    @trio.lowlevel.enable_ki_protection  # it may be called in a task of the program's
    def _read_chunk(self, sink: Sink) -> int:
        """Hand over what can be read now, up to a buffer full, and return how many bytes these were."""
        try:
            size = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            self._finish(self._failure or exc)
            return 0
        if self._over:  # a task that was woken isn't cancelled any more
            return 0
        if size:
            self._received_total += size
            sink.data_received(self._buffer[:size])
            return size
        self._eof_received = True
        if self._failure is not None:
            self._finish(self._failure)
        else:
            sink.eof_received()
            if self._eof_sent:
                self._finish(None)
        return 0

    def _send(self) -> bool:
        """Give the kernel what it takes; whether that was everything."""
        while self._output:
            data = self._output[0]
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as exc:
                self._failure = exc
                self._output.clear()
                self._unsent = 0
                return False
            self._unsent -= sent
            self._sent_total += sent
            if sent == len(data):
                self._output.pop(0)
            else:
                self._output[0] = data[sent:]
        return True

    def _wake_flusher(self) -> None:
        if not self._flushing and self._nursery is not None:
            self._flushing = True
            self._nursery.start_soon(self._flush)

    @trio.lowlevel.enable_ki_protection
    async def _flush(self) -> None:
        """Send what waits, tell the sink of it, and of its failure."""
        assert self._sink is not None
        if not (self._output or self._over or self._failure is not None):
            self._sink.writable()  # may write
        while self._output and not self._over:
            with suppress(trio.ClosedResourceError):  # somebody else was to be woken
                await trio.lowlevel.wait_writable(self._socket)
            if self._over:  # since we were woken
                return
            if self._send():
                self._sink.writable()  # may write again
        self._flushing = False
        if self._over:
            return
        if self._failure is not None:
            self._tell_failure(self._sink, self._failure)
        elif self._eof_wanted:
            self._shut_down()

    def _shut_down(self) -> None:
        if self._eof_sent or self._over or self._failure is not None:
            return
        self._eof_sent = True
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer has gone; reading finds out how
        if self._eof_received:
            self._finish(None)

    def _tell_failure(self, sink: Sink, failure: OSError) -> None:
        if self._failure_told:
            return
        self._failure_told = True
        if self._eof_received:
            self._finish(failure)
        else:
            sink.output_lost(failure)

    def _finish(self, cause: Exception | None) -> None:
        """Have `run` end the connection."""
        if not self._over:
            self._over = True
            self._cause = cause
            self._scope.cancel()
