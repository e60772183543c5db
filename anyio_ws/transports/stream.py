"""A transport over any byte stream that a user brings: AnyIO's or trio's, or a pair of one-way streams.

Three tasks, started by `StreamTransport.run`: one reads, one writes, neither waits for the other; the third
sees to the alarm. How it ends:

* Reading fails: the connection is over.
* Writing fails: what the peer had sent before may still be readable, so reading goes on until it ends
  too, for `LINGER` seconds at most, not counting those that it is paused.
* Both directions ended in order: over, without a cause.
* A stream that can't be half-closed (TLS) is closed as a whole instead, once all output has left. What
  still comes from the peer is dropped then, and not left unread: closing a socket on unread bytes is
  a reset, which may take from the peer what we have just sent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, cast

import anyio
from anyio.abc import AsyncResource, ByteReceiveStream, ByteSendStream, ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from .base import Sink, TypedAttributes
from .interrupts import apply_to_trio, keep_interrupts_out
from .sockets import CHUNK, SocketAttributes, always

__all__ = [
    "AnyByteStream",
    "StreamTransport",
    "TrioReceiveStreamLike",
    "TrioSendStreamLike",
    "TrioStreamLike",
    "close_forcefully",
    "join",
]

LINGER: Final = 1.0
"""Seconds that reading may still take after writing has failed."""


LOOK: Final = 10
"""Scheduling rounds in which what has arrived gets through the streams below to the reading task."""


# trio's kinds of stream by what is needed of them. By their names, where trio isn't installed, type checkers
# wouldn't know what takes one.


class TrioReceiveStreamLike(Protocol):
    """A ``trio.abc.ReceiveStream``."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes | bytearray: ...
    async def aclose(self) -> None: ...


class TrioSendStreamLike(Protocol):
    """A ``trio.abc.SendStream``."""

    async def send_all(self, data: bytes, /) -> None: ...
    async def aclose(self) -> None: ...


class TrioStreamLike(TrioReceiveStreamLike, TrioSendStreamLike, Protocol):
    """A ``trio.abc.Stream``."""


AnyByteStream: TypeAlias = (
    ByteStream
    | TrioStreamLike
    | tuple[ByteReceiveStream, ByteSendStream]
    | tuple[TrioReceiveStreamLike, TrioSendStreamLike]
)
"""A byte stream of AnyIO or trio, or a pair ``(receive, send)`` of one-way streams."""


class StreamTransport:
    """See `anyio_ws.transports.base.Transport`.

    :raises TypeError: *stream* is none of the kinds of `AnyByteStream`
    """

    has_to_run = True
    reader = None

    def __init__(self, stream: AnyByteStream) -> None:
        apply_to_trio()
        joined = join(stream)
        self._stream = (
            _TrioStream(joined) if _is_trio(joined) else _AnyIOStream(cast(ByteStream, joined))
        )
        self._extra_attributes = _pinned(self._stream.extra_attributes)
        self._sink: Sink | None = None
        self._paused = False
        self._resumed = anyio.Event()
        self._output: deque[bytes] = deque()
        self._output_added = anyio.Event()
        self._writable_wanted = False
        self._eof_wanted = False
        self._unsent = 0
        self._sent_total = 0
        self._received_total = 0
        self._alarm = math.inf
        self._alarm_changed = anyio.Event()
        self._scope = anyio.CancelScope()
        self._reading = anyio.CancelScope()
        self._reading_over = anyio.Event()
        self._output_lost = False
        self._linger_left = LINGER
        self._over = False  # aborted, or all over
        self._cause: Exception | None = None

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
        return self._extra_attributes

    def start(self, sink: Sink) -> None:
        self._sink = sink

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._resumed = anyio.Event()
            if self._output_lost:
                self._linger()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._resumed.set()
            if self._output_lost:
                self._linger()

    def write(self, data: bytes, more: bytes = b"") -> None:
        if data and not (self._eof_wanted or self._output_lost or self._over):
            self._output += (data, more) if more else (data,)
            self._unsent += len(data) + len(more)
            self._output_added.set()

    def call_writable(self) -> None:
        self._writable_wanted = True
        self._output_added.set()

    def write_eof(self) -> None:
        self._eof_wanted = True
        self._output_added.set()

    def clock(self) -> float:
        return anyio.current_time()

    def set_alarm(self, when: float | None) -> None:
        self._alarm = math.inf if when is None else when
        self._alarm_changed.set()

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._cause = None  # what it was aborted for came later
        self._scope.cancel()

    @keep_interrupts_out
    async def run(self) -> None:
        assert self._sink is not None, "start() wasn't called"
        try:
            with self._scope:
                await checkpoint()  # aborted already? Not every stream looks before it sends
                async with anyio.create_task_group() as clock:
                    clock.start_soon(self._watch_clock, self._sink)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._write_all)
                        await self._read_all(self._sink)
                    clock.cancel_scope.cancel()
        finally:
            # Whatever ended it, nothing is left open and the sink learns of it.
            try:
                await close_forcefully(self._stream.bottom)
            except Exception as exc:  # a stream of the user's: what it raises is the cause
                self._fail(exc)
            finally:
                self._over = True
                self._output.clear()
                self._unsent = 0
                self._sink.connection_lost(self._cause)

    @keep_interrupts_out
    async def _watch_clock(self, sink: Sink) -> None:
        while True:
            self._alarm_changed = anyio.Event()
            with anyio.CancelScope(deadline=self._alarm):
                await self._alarm_changed.wait()
            if self._alarm_changed.is_set():
                continue
            self._alarm = math.inf
            for _ in range(LOOK):
                await checkpoint()
            if not self._over and self._alarm == math.inf:  # not set again meanwhile
                sink.alarm()

    def _fail(self, cause: Exception) -> None:
        if anyio.current_effective_deadline() == -math.inf:
            self._over = True  # a task that is cancelled may break the stream for the other
        if self._cause is None and not self._over:
            self._cause = cause

    async def _read_all(self, sink: Sink) -> None:
        try:
            with self._reading:
                await self._read_until_end(sink)
        except Exception as exc:  # any error of the stream below ends the connection, as its cause
            self._fail(exc)
            self._scope.cancel()
            return
        finally:
            self._reading_over.set()
        if self._cause is not None:
            self._scope.cancel()  # writing had failed before
        elif not (self._over or self._reading.cancelled_caught):
            sink.eof_received()

    async def _read_until_end(self, sink: Sink) -> None:
        while True:
            await self._until_resumed()
            try:
                chunk = await self._stream.receive()
            except Exception:
                await self._until_resumed()
                raise
            await self._until_resumed()  # it was paused since we asked
            if self._over or not chunk:
                return
            self._received_total += len(chunk)
            sink.data_received(chunk)

    async def _until_resumed(self) -> None:
        while self._paused:
            await self._resumed.wait()

    @keep_interrupts_out
    async def _write_all(self) -> None:
        try:
            while not (self._eof_wanted and not self._output):
                if self._output:
                    await self._write_some()
                elif self._writable_wanted:
                    self._tell_writable()
                else:
                    self._output_added = anyio.Event()
                    await self._output_added.wait()
            if not await self._stream.send_eof():
                self._reading.cancel()  # a stream that is being closed can't be read
                await self._reading_over.wait()
                await self._stream.close()
        except Exception as exc:  # any error of the stream below ends the connection, as its cause
            self._fail(exc)
            self._output_lost = True
            self._output.clear()
            self._unsent = 0
            if self._sink is None or self._over or self._reading_over.is_set():
                return
            self._sink.output_lost(exc)
            self._linger()

    def _linger(self) -> None:
        """Let the time run that reading still has, or stop it while reading is paused."""
        now = anyio.current_time()
        if not self._paused:
            self._reading.deadline = now + self._linger_left
        elif self._reading.deadline < math.inf:
            self._linger_left = self._reading.deadline - now
            self._reading.deadline = math.inf

    async def _write_some(self) -> None:
        """Give the stream up to `CHUNK` bytes: small pieces joined, a large one sliced."""
        piece = self._output.popleft()
        if len(piece) > CHUNK:
            view = memoryview(piece)
            for start in range(0, len(piece), CHUNK):
                await self._send(bytes(view[start : start + CHUNK]))
            return
        pieces = [piece]
        size = len(piece)
        while self._output and size + len(self._output[0]) <= CHUNK:
            pieces.append(self._output.popleft())
            size += len(pieces[-1])
        await self._send(b"".join(pieces) if len(pieces) > 1 else piece)

    async def _send(self, data: bytes) -> None:
        await self._stream.send(data)
        self._unsent -= len(data)
        self._sent_total += len(data)
        if not self._unsent:
            self._tell_writable()

    def _tell_writable(self) -> None:
        self._writable_wanted = False
        if not self._over and self._sink is not None:
            self._sink.writable()


class _AnyIOStream:
    """What the transport needs of a stream, over an AnyIO stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._tls = stream if isinstance(stream, TLSStream) else None
        # Closing TLS may wait for the peer, and complains if that has gone.
        self.bottom: Any = stream if self._tls is None else self._tls.transport_stream

    @property
    def extra_attributes(self) -> TypedAttributes:
        # AnyIO leaves the types of names and values open.
        return cast(TypedAttributes, self._stream.extra_attributes)  # pyright: ignore[reportUnknownMemberType]

    async def receive(self) -> bytes:
        """Return some bytes, or b"" at the end of the stream."""
        try:
            return await self._stream.receive(CHUNK)
        except anyio.EndOfStream:
            return b""

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> bool:
        """Half-close; return False if that isn't possible."""
        if self._tls is not None:
            return False
        try:
            await self._stream.send_eof()
        except NotImplementedError:  # TLS inside a stream of the user's
            return False
        return True

    async def close(self) -> None:
        """Close in order what can't be half-closed."""
        if self._tls is None:
            await self._stream.aclose()
        else:
            await _close_tls(self._tls.unwrap, _AnyIOStream(self.bottom))


class _TrioStream:
    """What the transport needs of a stream, over a trio stream."""

    def __init__(self, stream: TrioStreamLike) -> None:
        self._stream = stream
        self._unwrap: Callable[[], Awaitable[object]] | None = getattr(stream, "unwrap", None)
        self._send_eof: Callable[[], Awaitable[object]] | None = getattr(stream, "send_eof", None)
        self.bottom: Any = getattr(stream, "transport_stream", stream)

    @property
    def extra_attributes(self) -> TypedAttributes:
        attributes: dict[Any, Callable[[], Any]] = {}
        sock = getattr(self.bottom, "socket", None)
        if sock is not None:
            attributes.update(SocketAttributes(sock))
            del attributes[SocketAttribute.raw_socket]  # it's trio's, and not what AnyIO means
        if self._unwrap is not None:
            tls: Any = self._stream
            attributes[TLSAttribute.alpn_protocol] = lambda: tls.selected_alpn_protocol()
            attributes[TLSAttribute.cipher] = lambda: tls.cipher()
            attributes[TLSAttribute.peer_certificate] = lambda: tls.getpeercert()
            attributes[TLSAttribute.peer_certificate_binary] = lambda: tls.getpeercert(True)
            attributes[TLSAttribute.server_side] = lambda: tls.server_side
            attributes[TLSAttribute.tls_version] = lambda: tls.version()
        return attributes

    async def receive(self) -> bytes:
        """Return some bytes, or b"" at the end of the stream."""
        return bytes(await self._stream.receive_some(CHUNK))

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> bool:
        """Half-close; return False if that isn't possible."""
        if self._send_eof is None:
            return False
        await self._send_eof()
        return True

    async def close(self) -> None:
        """Close in order what can't be half-closed."""
        if self._unwrap is None:
            await self._stream.aclose()
        else:
            await _close_tls(self._unwrap, _TrioStream(self.bottom))


async def _close_tls(
    unwrap: Callable[[], Awaitable[object]], below: _AnyIOStream | _TrioStream
) -> None:
    """Tell the peer that this is the end and no truncation, and wait for the same from it.

    A peer which is gone, or goes on sending, makes that impossible, and no difference.
    """
    with suppress(Exception):
        await unwrap()
    with suppress(Exception):
        await below.send_eof()
        while await below.receive():
            pass
    await close_forcefully(below.bottom)


async def close_forcefully(stream: Any) -> None:
    """Close *stream*, both halves of a pair, without waiting; also if that is cancelled."""
    halves: tuple[Any, ...] = (stream,)
    if isinstance(stream, StapledByteStream):
        # AnyIO's pair doesn't close its second half when closing the first fails.
        halves = (stream.send_stream, stream.receive_stream)
    async with AsyncExitStack() as closing:
        for half in halves:
            closing.push_async_callback(anyio.aclose_forcefully, half)


def _pinned(attributes: TypedAttributes) -> TypedAttributes:
    """Look addresses up now: logs want them after the end, when the socket doesn't know them."""
    pinned = dict(attributes)
    names: tuple[Any, ...] = (
        SocketAttribute.local_address,
        SocketAttribute.local_port,
        SocketAttribute.remote_address,
        SocketAttribute.remote_port,
    )
    for name in names:
        if name in pinned:
            try:
                value = pinned[name]()
            except OSError:  # the peer has gone already
                del pinned[name]
            else:
                pinned[name] = always(value)
    return pinned


def _is_trio(stream: ByteStream | TrioStreamLike) -> TypeGuard[TrioStreamLike]:
    """Tell trio's kind of stream from AnyIO's, of what `join` gave."""
    return hasattr(stream, "receive_some")


def join(stream: AnyByteStream) -> ByteStream | TrioStreamLike:
    """Return *stream* itself, or the two halves of a pair as one stream.

    :raises TypeError: it is none of the kinds of `AnyByteStream`
    """
    given: Any = stream
    if isinstance(given, tuple):
        halves = list(cast("Iterable[Any]", given))
        if len(halves) == 2:
            receive, send = halves
            if hasattr(receive, "receive_some") and hasattr(send, "send_all"):
                import trio  # the streams are trio's, so it is installed

                return trio.StapledStream(send, receive)
            if _is_anyio(receive, "receive") and _is_anyio(send, "send"):
                return StapledByteStream(send, receive)
    elif hasattr(given, "receive_some") and hasattr(given, "send_all"):
        return cast("TrioStreamLike", given)
    elif _is_anyio(given, "receive") and _is_anyio(given, "send"):
        return cast(ByteStream, given)
    raise TypeError(
        "a byte stream of AnyIO or trio, or a pair (receive, send) of them, expected; "
        f"got {given!r}"
    )


def _is_anyio(stream: object, method: str) -> bool:
    return isinstance(stream, AsyncResource) and hasattr(stream, method)
