"""Adapters: a WebSocket as a stream of bytes, for what doesn't know WebSockets: TLS, HTTP, a tunnel.

A WebSocket carries messages, is closed with a code and can't be half-closed. A stream of bytes has none of
these; `byte_stream` says what becomes of each. There is no task and no buffer here, but for the rest of one
message, so that what waits is bounded by the connection's own limits, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from .exceptions import ConnectionClosedOK, ProtocolViolation
from .sansio import CloseCode
from .websocket import WebSocket

if TYPE_CHECKING:
    import trio

__all__ = ["byte_stream", "trio_stream"]

MAX_MESSAGE_SIZE: Final = 2**15
"""The default of ``max_message_size``: what the most careful of common implementations accept."""

_OF_TLS: Final = frozenset(
    value for name, value in vars(TLSAttribute).items() if not name.startswith("_")
)


def byte_stream(
    ws: WebSocket,
    *,
    max_message_size: int = MAX_MESSAGE_SIZE,
    half_close: bool = False,
    compress: bool = False,
) -> ByteStream:
    """Use *ws* as a stream of bytes: an `anyio.abc.ByteStream`, for TLS, HTTP or a tunnel inside.

    Bytes go out as binary messages. The boundaries of messages mean nothing, in either direction, and an
    empty one is skipped. A text message closes the connection with 1003: ``receive`` and ``send`` then raise
    ``anyio.BrokenResourceError``.

    ``send`` waits as `WebSocket.send` does. Cancelled, it has sent nothing, or of more than
    *max_message_size* bytes perhaps the first. ``receive`` keeps what it doesn't return of a message for the
    next call; cancelling it loses nothing. One task may send while another receives; two that do the same get
    ``anyio.BusyResourceError``.

    The stream ends, with ``anyio.EndOfStream``, when the peer closes with 1000, or without a code. Any other
    end is ``anyio.BrokenResourceError``, also the 1001 of a peer that goes away: there may have been more to
    come. ``aclose`` is that of the connection: it closes with 1000. Leaving ``async with`` on the stream by
    an exception closes with 1011 or 1001, as leaving `open_websocket` does, and so breaks the peer's stream.

    Typed attributes are those of *ws*, except TLS's: nothing is encrypted between the ends of the stream. As
    long as it is used, *ws* must not be used to send or receive.

    :param max_message_size: bytes beyond which what is sent is cut into several messages: at most the peer's
        ``max_size``, or what it calls that
    :param half_close: let an empty message say that a direction has ended, which makes ``send_eof`` possible:
        both ends must agree on it. Otherwise ``send_eof`` raises `NotImplementedError`: after a Close frame
        the peer couldn't send any more, either (RFC 6455, section 5.5.1)
    :param compress: compress messages, if compression was negotiated; not for what is encrypted already, or
        holds secrets next to what an attacker chooses
    :raises ValueError: *max_message_size* is less than 1
    """
    if max_message_size < 1:
        raise ValueError(f"max_message_size must be at least 1; got {max_message_size!r}")
    return _ByteStream(ws, max_message_size, half_close=half_close, compress=compress)


@overload
def trio_stream(
    ws: WebSocket,
    *,
    max_message_size: int = MAX_MESSAGE_SIZE,
    half_close: Literal[False] = False,
    compress: bool = False,
) -> trio.abc.Stream: ...


@overload
def trio_stream(
    ws: WebSocket,
    *,
    max_message_size: int = MAX_MESSAGE_SIZE,
    half_close: Literal[True],
    compress: bool = False,
) -> trio.abc.HalfCloseableStream: ...


def trio_stream(
    ws: WebSocket,
    *,
    max_message_size: int = MAX_MESSAGE_SIZE,
    half_close: bool = False,
    compress: bool = False,
) -> trio.abc.Stream:
    """Use *ws* as a stream of bytes as trio has them, for ``trio.SSLStream`` and the like.

    It is `byte_stream` with the methods and the errors of ``trio.abc.Stream``; with *half_close*, of
    ``trio.abc.HalfCloseableStream``. ``wait_send_all_might_not_block`` doesn't wait.

    :raises ValueError: as `byte_stream`
    """
    from .trio_adapter import HalfCloseableTrioStream, TrioStream  # imports trio

    stream = byte_stream(
        ws, max_message_size=max_message_size, half_close=half_close, compress=compress
    )
    return HalfCloseableTrioStream(stream) if half_close else TrioStream(stream)


class _ByteStream(ByteStream):
    """See `byte_stream`."""

    def __init__(
        self, ws: WebSocket, max_message_size: int, *, half_close: bool, compress: bool
    ) -> None:
        self._ws = ws
        self._max_message_size = max_message_size
        self._half_close = half_close
        self._compress = compress
        self._rest: bytes | memoryview = b""  # of a message of which a part was received
        self._input_ended = False  # as half_close says it
        self._output_ended = False
        self._violation: ProtocolViolation | None = None
        self._closed = False
        self._receive_guard = anyio.ResourceGuard("receiving from")
        self._send_guard = anyio.ResourceGuard("sending to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1; got {max_bytes!r}")
        with self._receive_guard:
            await checkpoint()
            self._check_not_closed()
            data = self._rest or await self._next_message()
            if len(data) <= max_bytes:
                self._rest = b""
            else:
                data = memoryview(data)
                self._rest = data[max_bytes:]
                data = data[:max_bytes]
            return bytes(data)

    async def send(self, item: bytes | bytearray | memoryview) -> None:
        data = memoryview(item).cast("B")
        size = self._max_message_size
        with self._send_guard:
            await checkpoint()
            self._check_sendable()
            try:
                for start in range(0, len(data), size):
                    await self._ws.send(data[start : start + size], compress=self._compress)
            except anyio.ClosedResourceError:
                self._check_sendable()  # we may have closed for a reason
                raise

    async def send_eof(self) -> None:
        if not self._half_close:
            raise NotImplementedError(
                "a WebSocket can't be half-closed, unless both ends agree on it with half_close=True"
            )
        with self._send_guard:
            await checkpoint()
            self._check_not_closed()
            if not self._output_ended:
                try:
                    await self._ws.send(b"", compress=False)
                except anyio.BrokenResourceError as exc:
                    # A peer that has closed wants to hear no more, and not that either.
                    if not isinstance(exc, ConnectionClosedOK):
                        raise
                self._output_ended = True

    async def aclose(self) -> None:
        self._closed = True
        await self._ws.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._closed = True
        await self._ws.__aexit__(exc_type, exc_val, exc_tb)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        # Who is to put TLS on a stream looks here whether it has that already. It hasn't: the TLS below may
        # end at a proxy, and its certificate is another peer's.
        attributes = self._ws.extra_attributes
        return {name: value for name, value in attributes.items() if name not in _OF_TLS}

    def _check_not_closed(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError

    def _check_sendable(self) -> None:
        self._check_not_closed()
        if self._violation is not None:
            raise _broken(self._violation) from self._violation
        if self._output_ended:
            raise anyio.ClosedResourceError

    async def _next_message(self) -> bytes:
        """Wait for a message that has some bytes."""
        while not self._input_ended and self._violation is None:
            try:
                message = await self._ws.receive()
            except anyio.EndOfStream as exc:
                if self._ws.close_code == CloseCode.GOING_AWAY:
                    raise _broken(exc) from exc
                raise
            if isinstance(message, str):
                self._violation = ProtocolViolation(
                    CloseCode.UNSUPPORTED_DATA, "text in a stream of bytes"
                )
            elif message:
                return message
            else:
                self._input_ended = self._half_close
        if self._violation is None:
            raise anyio.EndOfStream
        # Only sends a Close frame. If that is cancelled the next call does it.
        await self._ws.send_eof(self._violation.code, self._violation.reason)
        raise _broken(self._violation) from self._violation


def _broken(cause: Exception) -> anyio.BrokenResourceError:
    return anyio.BrokenResourceError(str(cause))
