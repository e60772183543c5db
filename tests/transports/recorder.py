"""A sink that complains about everything the contract of transports rules out, and a test's two ends."""

from __future__ import annotations

import fcntl
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from termios import FIONREAD
from typing import Any, Protocol

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from anyio_ws.transports.base import Reader, Sink, Transport, TypedAttributes

PATIENCE = 10
"""Seconds that anything may take."""


class Peer(Protocol):
    """The other end of the connection, in the hands of the test."""

    async def ready(self) -> None:
        """Do what is its part before bytes can be exchanged; the first of the other calls does it, too."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Return some bytes, or b"" at the end."""
        ...

    async def send_eof(self) -> None: ...

    async def reset(self) -> None: ...

    async def aclose(self) -> None: ...

    async def leave(self) -> None:
        """Close without any ceremony."""
        ...


class Recorder:
    """A sink that writes everything down, and complains about what the contract rules out."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.calls: list[str] = []
        self.received = bytearray()
        self.cause: Exception | None = None
        self.output_cause: Exception | None = None
        self.complaints: list[str] = []
        self.on_data: Callable[[bytes], None] = lambda chunk: None
        self.on_eof: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self.on_output_lost: Callable[[], None] = lambda: None
        # What was asked of the transport, as far as it is told to us: `Watched` tells everything.
        self.paused = False
        self.aborted = False
        self.dropping = False  # a write_eof that closes both directions
        self.owed = True  # a write has left something unsent
        self.armed = False
        self.within: list[str] = []  # calls that haven't returned
        self._changed = anyio.Event()

    @property
    def lost(self) -> bool:
        return "lost" in self.calls

    def data_received(self, chunk: bytes | memoryview) -> None:
        if not chunk or type(chunk) not in (bytes, memoryview):
            self.complaints.append(f"a chunk that is {chunk!r}")
        self.received += chunk
        self._note("data")
        self.on_data(bytes(chunk))

    def eof_received(self) -> None:
        self._note("eof")
        self.on_eof()

    def writable(self) -> None:
        if self.transport.unsent:
            self.complaints.append(f"writable, with {self.transport.unsent} bytes unsent")
        if not self.owed:
            self.complaints.append("writable, and nothing was left unsent")
        if isinstance(self.transport, Watched):
            self.owed = False
        self._note("writable")
        self.on_writable()

    def output_lost(self, cause: Exception) -> None:
        if not isinstance(cause, Exception):
            self.complaints.append(f"a cause that is {cause!r}")
        self.output_cause = cause
        self._note("output_lost")
        self.on_output_lost()

    def alarm(self) -> None:
        if not self.armed:
            self.complaints.append("an alarm that wasn't set, or has rung already")
        self.armed = False
        self._note("alarm")

    def connection_lost(self, cause: Exception | None) -> None:
        if not (cause is None or isinstance(cause, Exception)):
            self.complaints.append(f"a cause that is {cause!r}")
        self.cause = cause
        self._note("lost")

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not condition():
                await self._changed.wait()

    def _note(self, call: str) -> None:
        self.complaints += self._complaints(call)
        self.calls.append(call)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _complaints(self, call: str) -> Iterator[str]:
        if self.lost:
            yield f"{call} after the connection was lost"
        if self.aborted and call != "lost":
            yield f"{call} after abort"
        if "eof" in self.calls and call in ("data", "eof"):
            yield f"{call} after the end of the stream"
        if "output_lost" in self.calls and call in ("writable", "output_lost"):
            yield f"{call} after the output was lost"
        if self.paused and call in ("data", "eof"):
            yield f"{call} while paused"
        if self.paused and call == "lost" and not self._nothing_to_read:
            yield "lost while paused"
        if self.within and self.within[-1] != "resume_reading":
            yield f"{call} from within {self.within[-1]}"

    @property
    def _nothing_to_read(self) -> bool:
        return self.aborted or self.dropping or "eof" in self.calls


class Watched:
    """A transport that tells its recorder what is asked of it."""

    def __init__(self, transport: Transport, *, half_closes: bool) -> None:
        self._transport = transport
        self._half_closes = half_closes
        self._recorder = Recorder(self)

    @property
    def recorder(self) -> Recorder:
        return self._recorder

    @property
    def has_to_run(self) -> bool:
        return self._transport.has_to_run

    @property
    def reader(self) -> Reader | None:
        return self._transport.reader

    @property
    def unsent(self) -> int:
        return self._transport.unsent

    @property
    def sent_total(self) -> int:
        return self._transport.sent_total

    @property
    def received_total(self) -> int:
        return self._transport.received_total

    @property
    def extra_attributes(self) -> TypedAttributes:
        return self._transport.extra_attributes

    def start(self, sink: Sink) -> None:
        self._recorder.owed = False
        with self._within("start"):
            self._transport.start(sink)

    def pause_reading(self) -> None:
        self._recorder.paused = True
        with self._within("pause_reading"):
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._recorder.paused = False
        with self._within("resume_reading"):
            self._transport.resume_reading()

    def write(self, data: bytes, more: bytes = b"") -> None:
        with self._within("write"):
            self._transport.write(data, more)
        if self._transport.unsent:
            self._recorder.owed = True

    def call_writable(self) -> None:
        self._recorder.owed = True
        with self._within("call_writable"):
            self._transport.call_writable()

    def write_eof(self) -> None:
        if not self._half_closes:
            self._recorder.dropping = True
        with self._within("write_eof"):
            self._transport.write_eof()

    def clock(self) -> float:
        return self._transport.clock()

    def set_alarm(self, when: float | None) -> None:
        self._recorder.armed = when is not None
        with self._within("set_alarm"):
            self._transport.set_alarm(when)

    def abort(self) -> None:
        self._recorder.aborted = True
        with self._within("abort"):
            self._transport.abort()

    async def run(self) -> None:
        await self._transport.run()

    @contextmanager
    def _within(self, call: str) -> Iterator[None]:
        self._recorder.within.append(call)
        try:
            yield
        finally:
            self._recorder.within.pop()


class Link:
    """A transport and its sink at one end, a peer at the other."""

    def __init__(
        self, transport: Transport, peer: Peer, ends: list[Any], *, half_closes: bool = True
    ) -> None:
        self.transport = Watched(transport, half_closes=half_closes)
        self.sink = self.transport.recorder
        self.peer = peer
        self.ends = ends
        self.transport.start(self.sink)

    async def run(self) -> None:
        """Run the transport, if it has to, until the connection is lost."""
        with anyio.fail_after(PATIENCE):
            await self.transport.run()
        await self.lost()

    async def received(self, size: int) -> bytes:
        """Wait until the sink has got *size* bytes, and return what it has got."""
        await self.sink.until(lambda: len(self.sink.received) >= size)
        return bytes(self.sink.received)

    async def called(self, call: str) -> None:
        """Wait until the sink was called: "data", "eof", "writable", "output_lost" or "lost"."""
        await self.sink.until(lambda: call in self.sink.calls)

    async def lost(self) -> None:
        await self.called("lost")

    async def arrives(self, size: int) -> None:
        """Wait until the kernel holds *size* bytes for a transport that doesn't read them."""
        end = self.ends[0]
        descriptor = getattr(end, "socket", end).fileno()
        with anyio.fail_after(PATIENCE):
            while int.from_bytes(fcntl.ioctl(descriptor, FIONREAD, bytes(4)), sys.byteorder) < size:
                await checkpoint()

    async def peer_receives(self, size: int) -> bytes:
        """Receive *size* bytes at the peer."""
        found = b""
        with anyio.fail_after(PATIENCE):
            while len(found) < size:
                chunk = await self.peer.receive()
                assert chunk, f"the stream ended after {len(found)} of {size} bytes"
                found += chunk
        return found

    async def peer_receives_all(self) -> bytes:
        """Receive at the peer until the end of the stream, which has to be in order."""
        found = bytearray()
        await self._peer_receives(found)
        return bytes(found)

    async def peer_sees_the_end(self) -> bytes:
        """Receive at the peer until the connection ends, however it does."""
        found = bytearray()
        with suppress(*BROKEN):
            await self._peer_receives(found)
        return bytes(found)

    async def _peer_receives(self, found: bytearray) -> None:
        with anyio.fail_after(PATIENCE):
            while chunk := await self.peer.receive():
                found += chunk

    async def assert_over(self) -> None:
        """The transport told of its end once, nothing after it, and left nothing open."""
        sink = self.sink
        assert sink.complaints == []
        assert sink.calls.count("lost") == 1
        assert sink.calls[-1] == "lost"
        assert self.transport.unsent == 0
        for end in self.ends:
            await assert_closed(end)


BROKEN = (anyio.BrokenResourceError, trio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError)
"""How a peer notices that the connection didn't end in order, perhaps during its TLS handshake."""


async def assert_closed(stream: Any) -> None:
    if isinstance(stream, socket.socket):
        with anyio.fail_after(PATIENCE):
            while stream.fileno() != -1:  # uvloop closes it after telling us
                await checkpoint()
        return
    method = getattr(stream, "receive", None) or getattr(stream, "receive_some", None)
    if method is not None:
        with suppress(anyio.ClosedResourceError, trio.ClosedResourceError):
            await method()  # AnyIO's sockets hand out what they have read before
    with pytest.raises((anyio.ClosedResourceError, trio.ClosedResourceError)):
        await (method() if method is not None else stream.send_all(b"x"))


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await checkpoint()


def pattern(size: int) -> bytes:
    """Bytes of which no part looks like another."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]
